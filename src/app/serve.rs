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
use warp::http::HeaderValue;
use warp::http::header::{ACCEPT, ACCEPT_ENCODING};

use super::reload::{Basis, Generation, Reloader, Reply};
use super::{own_metrics, reserved};
use crate::cli::Flags;
use crate::config::Overrides;
use crate::exposition::serve::Server;
use crate::exposition::{Selection, Shape};
use crate::files::Watched;
use crate::negotiate::negotiate;
use crate::poll::Handle;
use crate::telemetry::Telemetry;
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
    reloads: mpsc::Sender<Reply>,
    quit: Arc<Notify>,
}

impl Backend {
    fn current(&self) -> Arc<Generation> {
        Arc::clone(&self.current.borrow())
    }

    /// The generation to answer from, polled where that is wanted.
    async fn polled(&self) -> Arc<Generation> {
        loop {
            let generation = self.current();
            let targets = generation.targets.iter();
            let on_demand = targets.filter(|target| target.is_on_demand());
            let polled = join_all(on_demand.map(Handle::polled)).await;
            // A task that is gone was replaced while it was waited for.
            let gone = polled.contains(&false);
            if !gone || Arc::ptr_eq(&generation, &self.current()) {
                return generation;
            }
        }
    }
}

impl web::Backend for Backend {
    fn scrape(&self, request: web::ScrapeRequest) -> BoxFuture<'_, web::ScrapeResponse> {
        Box::pin(async move {
            let generation = self.polled().await;
            let last = generation.targets.iter().filter_map(Handle::fresh);
            let snapshots = last.flat_map(|last| last.snapshots().cloned().collect::<Vec<_>>());
            let snapshots = snapshots.collect();
            let values = |name| {
                let values = request.headers.get_all(name).into_iter();
                values.map(HeaderValue::as_bytes)
            };
            let answer = negotiate(values(ACCEPT), values(ACCEPT_ENCODING));
            let selection = Selection::new(request.families);
            let own = own_metrics(&self.telemetry, &selection, answer.format);
            let shape = Shape {
                format: answer.format,
                histograms: generation.histograms,
                reserved: Arc::clone(&self.reserved),
            };
            let served = self
                .server
                .serve(snapshots, &shape, selection, answer.encoding, own)
                .await;
            web::ScrapeResponse {
                content_type: answer.content_type(),
                encoding: served.encoding,
                size: served.size,
                body: Box::pin(futures_util::stream::iter(served.pieces)),
            }
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

    fn status_page(&self) -> String {
        status::page(&self.current().targets, &self.telemetry_path)
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
pub(super) async fn serve(flags: &Flags, overrides: Overrides) -> anyhow::Result<ExitCode> {
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
    let mut listeners = Vec::new();
    for address in &flags.listen {
        listeners.push(address.bind().await?);
    }
    let telemetry = super::telemetry(loaded.files.hash().as_deref())?;
    let reserved = reserved(&telemetry);
    let tls = live.is_tls();
    let basis = Basis {
        overrides,
        live,
        telemetry: Arc::clone(&telemetry),
        reserved: Arc::clone(&reserved),
        look_every: flags.auto_reload_interval,
    };
    let reloader = Reloader::start(basis, loaded.config, Watched::new(loaded.files))?;
    let (reloads, requests) = mpsc::channel(REQUESTS);
    let quit = Arc::new(Notify::new());
    let backend = Arc::new(Backend {
        current: reloader.current(),
        telemetry,
        telemetry_path: flags.telemetry_path.clone(),
        reserved,
        server: Server::default(),
        reloads,
        quit: Arc::clone(&quit),
    });
    for listener in &listeners {
        tracing::info!(address = %listener, tls, path = flags.telemetry_path, "listening");
    }
    let mut reloading = JoinSet::new();
    reloading.spawn(reloader.run(hangup, requests));
    web::serve(listeners, backend, options, stopped(quit)?).await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
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
