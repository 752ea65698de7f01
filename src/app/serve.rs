//! `serve`: the program from its sockets to its end.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::{BoxFuture, join_all};
use hashbrown::HashSet;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use warp::http::header::{ACCEPT, ACCEPT_ENCODING};
use warp::http::{HeaderMap, HeaderValue};

use super::push::Pushing;
use super::reload::{Basis, Generation, Reloader, Reply};
use super::{own_metrics, reserved};
use crate::cli::Flags;
use crate::config::Overrides;
use crate::exposition::serve::Server;
use crate::exposition::{Selection, Shape, own};
use crate::files::Watched;
use crate::merge::{self, Admitted, Gate};
use crate::negotiate::negotiate;
use crate::poll::Handle;
use crate::telemetry::{self, Telemetry};
use crate::web::Listener;
use crate::web::systemd::{self, Inherited};
use crate::{status, web};

/// Reload requests that wait; more wait to be one.
const REQUESTS: usize = 16;

/// What scrapes are answered from.
struct Backend {
    current: watch::Receiver<Arc<Generation>>,
    telemetry: Arc<Telemetry>,
    telemetry_path: String,
    reserved: Arc<HashSet<String>>,
    server: Server,
    gate: Arc<Gate>,
    reloads: mpsc::Sender<Reply>,
    quit: Arc<Notify>,
    /// How much earlier than its reader would give up a scrape is answered.
    timeout_offset: Duration,
}

/// The header in which Prometheus says how long it waits.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

impl Backend {
    fn current(&self) -> Arc<Generation> {
        Arc::clone(&self.current.borrow())
    }

    /// When a scrape is to be answered at the latest, where its reader says how long it waits.
    fn deadline(&self, headers: &HeaderMap) -> Option<Instant> {
        let seconds: f64 = headers.get(SCRAPE_TIMEOUT)?.to_str().ok()?.parse().ok()?;
        let timeout = Duration::try_from_secs_f64(seconds).ok()?;
        // An offset above it would leave no time at all.
        let limit = timeout.saturating_sub(self.timeout_offset).max(timeout / 2);
        Instant::now().checked_add(limit)
    }

    /// The generation to answer from, polled where that is wanted, and the targets of which a poll
    /// was not over in time.
    async fn polled(
        &self,
        target: Option<&str>,
        deadline: Option<Instant>,
        with_sources: bool,
    ) -> (Arc<Generation>, Late) {
        loop {
            let generation = self.current();
            let on_demand = generation.of(target).filter(|target| target.is_on_demand());
            let polls = on_demand.map(|target| async move {
                (target.name(), within(deadline, target.polled()).await)
            });
            let sources = generation.merge.iter();
            let sources = sources.filter(|source| with_sources && source.is_on_demand());
            let sources = sources.map(|source| async move {
                (source.name(), within(deadline, source.polled()).await)
            });
            let (polled, merged) = tokio::join!(join_all(polls), join_all(sources));
            // A task that is gone was replaced while it was waited for.
            let mut ended = polled.iter().chain(&merged);
            let gone = ended.any(|(_, polled)| *polled == Some(false));
            if !gone || Arc::ptr_eq(&generation, &self.current()) {
                let late = Late {
                    targets: names_of_late(&polled),
                    sources: names_of_late(&merged),
                };
                return (generation, late);
            }
        }
    }
}

/// Whose poll was not over in time.
struct Late {
    targets: Vec<String>,
    sources: Vec<String>,
}

fn names_of_late(polled: &[(&str, Option<bool>)]) -> Vec<String> {
    let late = polled.iter().filter(|(_, polled)| polled.is_none());
    late.map(|(name, _)| (*name).to_owned()).collect()
}

/// What comes of a poll until then; without a time, whenever it comes.
async fn within(deadline: Option<Instant>, polled: impl Future<Output = bool>) -> Option<bool> {
    match deadline {
        Some(deadline) => timeout_at(deadline, polled).await.ok(),
        None => Some(polled.await),
    }
}

impl web::Backend for Backend {
    fn scrape(&self, request: web::ScrapeRequest) -> BoxFuture<'_, Option<web::ScrapeResponse>> {
        Box::pin(async move {
            let target = request.target.as_deref();
            let deadline = self.deadline(&request.headers);
            // One target is asked for, or who asks merges us: what we merge is not ours to hand on.
            let with_sources = target.is_none() && !request.headers.contains_key(merge::HEADER);
            let (generation, late) = self.polled(target, deadline, with_sources).await;
            if target.is_some() && generation.of(target).next().is_none() {
                return None;
            }
            let last = generation.of(target).filter_map(Handle::fresh);
            let snapshots = last.flat_map(|last| last.snapshots().cloned().collect::<Vec<_>>());
            let mut snapshots: Vec<_> = snapshots.collect();
            let admitted = if with_sources && !generation.merge.is_empty() {
                self.gate.admit(&snapshots, &generation.merge)
            } else {
                Admitted::default()
            };
            snapshots.extend(admitted.snapshots);
            let values = |name| {
                let values = request.headers.get_all(name).into_iter();
                values.map(HeaderValue::as_bytes)
            };
            let answer = negotiate(values(ACCEPT), values(ACCEPT_ENCODING));
            let mut own = match target {
                Some(target) => self.telemetry.gather_target(target),
                None => self.telemetry.gather(),
            };
            for target in late.targets {
                telemetry::show_down(&mut own, &target);
            }
            for source in late.sources {
                telemetry::show_source_down(&mut own, &source);
            }
            own::join(&mut own, &admitted.with_own);
            let selection = Selection::new(request.families);
            let own = own_metrics(&own, &selection, answer.format);
            let shape = Shape {
                format: answer.format,
                histograms: generation.histograms,
                reserved: Arc::clone(&self.reserved),
            };
            let served = self
                .server
                .serve(snapshots, &shape, selection, answer.encoding, own)
                .await;
            Some(web::ScrapeResponse {
                content_type: answer.content_type(),
                encoding: served.encoding,
                size: served.size,
                body: Box::pin(futures_util::stream::iter(served.pieces)),
            })
        })
    }

    fn readiness(&self) -> Result<(), String> {
        let generation = self.current();
        let unready: Vec<_> = generation
            .targets
            .iter()
            .filter(|target| target.fresh().is_none())
            .map(|target| {
                let view = target.view();
                let reason = match (&view.error, &view.last) {
                    (Some(error), _) => error,
                    (None, Some(_)) => "its data is stale",
                    (None, None) => "no poll has ended yet",
                };
                format!("{}: {reason}", target.name())
            })
            .collect();
        if unready.is_empty() {
            Ok(())
        } else {
            Err(unready.join("\n"))
        }
    }

    fn status_page(&self, query: &str) -> String {
        let (in_use, read_unix) = self.telemetry.config_state();
        let generation = self.current();
        let site = status::Site {
            targets: &generation.targets,
            sources: &generation.merge,
            conflicts: &self.gate.refused(),
            telemetry_path: &self.telemetry_path,
            config: status::ConfigState { in_use, read_unix },
        };
        status::page(&site, query)
    }

    fn reload(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let stopping = || "the program is stopping".to_owned();
            let (reply, outcome) = oneshot::channel();
            self.reloads.send(reply).await.map_err(|_| stopping())?;
            outcome.await.map_err(|_| stopping())?
        })
    }

    fn quit(&self) {
        self.quit.notify_one();
    }

    fn begin(&self) {
        self.telemetry.in_flight().inc();
    }

    fn end(&self, handler: web::Handler, code: u16, took: Duration) {
        self.telemetry.in_flight().dec();
        self.telemetry.answered(handler.as_str(), code, took);
    }
}

/// Polls and serves until it is told to stop.
pub(super) async fn serve(
    flags: &Flags,
    overrides: Overrides,
    inherited: Inherited,
) -> anyhow::Result<ExitCode> {
    // From here on a signal to reload does not end the program.
    let hangup = signal(SignalKind::hangup()).context("SIGHUP")?;
    let loaded = super::load_both(flags, &overrides)?;
    let mut options = web::Options::new(&flags.telemetry_path, flags.max_requests)?;
    let live = Arc::new(loaded.live);
    for warning in live.warnings() {
        tracing::warn!("{warning}");
    }
    options.lifecycle = flags.lifecycle;
    options.web_config = Arc::clone(&live);
    let listeners = listen(flags, inherited).await?;
    let telemetry = super::telemetry(loaded.files.hash().as_deref())?;
    let reserved = reserved(&telemetry);
    let tls = live.is_tls();
    let places: Vec<_> = listeners.iter().map(ToString::to_string).collect();
    let serving = format!("serving on {}", places.join(", "));
    let basis = Basis {
        overrides,
        live,
        telemetry: Arc::clone(&telemetry),
        reserved: Arc::clone(&reserved),
        look_every: flags.auto_reload_interval,
        serving: serving.clone(),
    };
    let reloader = Reloader::start(basis, loaded.config, Watched::new(loaded.files))?;
    let gate = Gate::new(Arc::clone(&reserved), Arc::clone(&telemetry));
    let gate = Arc::new(gate);
    let pushing = Pushing::start(reloader.current(), &telemetry, &reserved, &gate)?;
    let (reloads, requests) = mpsc::channel(REQUESTS);
    let quit = Arc::new(Notify::new());
    let backend = Arc::new(Backend {
        current: reloader.current(),
        telemetry,
        telemetry_path: flags.telemetry_path.clone(),
        reserved,
        server: Server::default(),
        gate,
        reloads,
        quit: Arc::clone(&quit),
        timeout_offset: flags.timeout_offset,
    });
    for listener in &listeners {
        tracing::info!(address = %listener, tls, path = flags.telemetry_path, "listening");
    }
    let mut reloading = JoinSet::new();
    reloading.spawn(reloader.run(hangup, requests));
    reloading.spawn(systemd::show_life());
    let stopped = stopped(quit)?;
    systemd::ready(&serving);
    let stopped = async {
        stopped.await;
        systemd::stopping();
    };
    let pushing = tokio::spawn(pushing.run());
    web::serve(listeners, backend, options, stopped).await;
    // Nothing is polled any more: what pushes comes to its end.
    reloading.shutdown().await;
    let _ = pushing.await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// The sockets to serve on.
async fn listen(flags: &Flags, inherited: Inherited) -> anyhow::Result<Vec<Listener>> {
    if flags.systemd_socket {
        return Ok(inherited.listeners()?);
    }
    let mut listeners = Vec::new();
    for address in &flags.listen {
        listeners.push(address.bind().await?);
    }
    Ok(listeners)
}

/// Resolves at SIGTERM, SIGINT, or a request to quit.
fn stopped(quit: Arc<Notify>) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    Ok(async move {
        let cause = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            () = quit.notified() => "request",
        };
        tracing::info!(cause, "stopping");
    })
}
