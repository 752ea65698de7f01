//! Puts the parts together: one function for each subcommand, each from resolved settings to an
//! exit code.

mod tools;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use futures_util::future::{BoxFuture, join_all};
use hashbrown::HashSet;
use tokio::task::JoinSet;
use warp::http::HeaderValue;
use warp::http::header::{ACCEPT, ACCEPT_ENCODING};

use crate::cli::{Cli, Command, Flags};
use crate::collectors::Collectors;
use crate::config::{self, Config, Overrides};
use crate::exposition::serve::Server;
use crate::exposition::{Body, Selection, Shape, own};
use crate::histogram::native;
use crate::negotiate::{Format, negotiate};
use crate::poll::{Handle, Poller, Schedule, Task};
use crate::telemetry::Telemetry;
use crate::transport::{AdminAddress, Transport};
use crate::web::systemd::{self, Inherited};
use crate::web::{Listener, LiveConfig};
use crate::{capture, status, web};

/// Runs the program, with the sockets that were handed over to it.
pub async fn run(cli: Cli, inherited: Inherited) -> anyhow::Result<ExitCode> {
    let flags = &cli.flags;
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            let (config, live) = load_both(flags, &flags.overrides())?;
            serve(flags, config, live, inherited).await
        }
        Command::Demo => demo(flags, inherited).await,
        Command::Once { format } => once(load(flags)?, format.into()).await,
        Command::Check => {
            let (config, live) = load_both(flags, &flags.overrides())?;
            tools::check(flags, config, &live).await
        }
        Command::Explain { stats } => tools::explain(flags, load(flags)?, &stats).await,
        Command::Coverage { suggest } => tools::coverage(load(flags)?, suggest).await,
        Command::Capture { dir } => save(load(flags)?, &dir).await,
        Command::Healthcheck => healthcheck(flags).await,
    }
}

fn load(flags: &Flags) -> anyhow::Result<Config> {
    Config::load(&flags.overrides()).context(INVALID)
}

/// Said before every mistake in it.
const INVALID: &str = "the configuration is not valid";

/// The configuration and the web configuration, with the mistakes of both.
fn load_both(flags: &Flags, overrides: &Overrides) -> anyhow::Result<(Config, LiveConfig)> {
    let open = |path: &PathBuf| LiveConfig::open(path).map_err(|error| error.0);
    let live = flags
        .web_config_file
        .as_ref()
        .map_or(Ok(LiveConfig::default()), open);
    match (Config::load(overrides), live) {
        (Ok(config), Ok(live)) => Ok((config, live)),
        (config, live) => {
            let mut errors = config.err().map(|error| error.0).unwrap_or_default();
            errors.extend(live.err().unwrap_or_default());
            Err(config::Error(errors)).context(INVALID)
        }
    }
}

/// What scrapes are answered from.
struct Backend {
    targets: Vec<Handle>,
    telemetry: Arc<Telemetry>,
    telemetry_path: String,
    histograms: native::Form,
    reserved: Arc<HashSet<String>>,
    server: Server,
}

impl web::Backend for Backend {
    fn scrape(&self, request: web::ScrapeRequest) -> BoxFuture<'_, web::ScrapeResponse> {
        Box::pin(async move {
            let on_demand = self.targets.iter().filter(|target| target.is_on_demand());
            join_all(on_demand.map(Handle::polled)).await;
            let last = self.targets.iter().filter_map(Handle::fresh);
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
                histograms: self.histograms,
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
        let unready: Vec<_> = self
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
        let site = status::Site {
            targets: &self.targets,
            telemetry_path: &self.telemetry_path,
            config: status::ConfigState { in_use, read_unix },
        };
        status::page(&site, query)
    }

    fn begin(&self) {
        self.telemetry.in_flight().inc();
    }

    fn end(&self, handler: web::Handler, code: u16, took: Duration) {
        self.telemetry.in_flight().dec();
        self.telemetry.answered(handler.as_str(), code, took);
    }
}

/// What ends a body: the selected own metrics.
fn own_metrics(telemetry: &Telemetry, selection: &Selection, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    own::write(&mut out, &telemetry.gather(), selection, format);
    out
}

/// Names that the target's families may not have.
fn reserved(telemetry: &Telemetry) -> Arc<HashSet<String>> {
    Arc::new(own::reserved(telemetry.names()).collect())
}

async fn serve(
    flags: &Flags,
    config: Config,
    live: LiveConfig,
    inherited: Inherited,
) -> anyhow::Result<ExitCode> {
    let mut options = web::Options::new(&flags.telemetry_path, flags.max_requests)?;
    for warning in live.warnings() {
        tracing::warn!("{warning}");
    }
    let tls = live.is_tls();
    options.web_config = Arc::new(live);
    let listeners = listen(flags, inherited).await?;
    let telemetry = telemetry()?;
    let histograms = config.histograms;
    let tasks = tasks(&config, &telemetry)?;
    let backend = Arc::new(Backend {
        targets: tasks.iter().map(Task::handle).collect(),
        histograms,
        reserved: reserved(&telemetry),
        server: Server::default(),
        telemetry,
        telemetry_path: flags.telemetry_path.clone(),
    });
    for listener in &listeners {
        tracing::info!(address = %listener, tls, path = flags.telemetry_path, "listening");
    }
    let mut polling = JoinSet::new();
    for task in tasks {
        polling.spawn(task.run());
    }
    polling.spawn(systemd::show_life());
    let places: Vec<_> = listeners.iter().map(ToString::to_string).collect();
    let stopped = stopped()?;
    systemd::ready(&format!("serving on {}", places.join(", ")));
    let stopped = async {
        stopped.await;
        systemd::stopping();
    };
    web::serve(listeners, backend, options, stopped).await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Own metrics, of a configuration that was just loaded.
fn telemetry() -> anyhow::Result<Arc<Telemetry>> {
    let telemetry = Telemetry::new().context("own metrics")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    telemetry.config_loaded(now.unwrap_or_default().as_secs_f64());
    Ok(Arc::new(telemetry))
}

/// Serves from the capture inside the program.
async fn demo(flags: &Flags, inherited: Inherited) -> anyhow::Result<ExitCode> {
    let mut overrides = flags.overrides();
    overrides.admin_address = Some(AdminAddress::Demo);
    let (config, live) = load_both(flags, &overrides)?;
    tracing::info!("the demo proxy is a capture with moving counters; no Envoy is asked");
    serve(flags, config, live, inherited).await
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

fn tasks(config: &Config, telemetry: &Arc<Telemetry>) -> anyhow::Result<Vec<Task>> {
    let schedule = Schedule {
        interval: config.poll.interval,
        stale_after: config.poll.stale_after,
    };
    let reserved = reserved(telemetry);
    let mut tasks = Vec::new();
    for target in &config.targets {
        let transport = Transport::open(target.address.clone(), config.transport())?;
        let settings = config.settings(target, &reserved);
        let collectors = Collectors::new(&config.collectors, settings.clone());
        let poller = Poller::new(transport, config.poll.timeout, settings);
        let poller = poller.with_collectors(collectors);
        let address = target.address.to_string();
        let telemetry = Arc::clone(telemetry);
        let task = Task::new(&target.name, &address, schedule, poller, telemetry);
        tasks.push(task);
    }
    Ok(tasks)
}

/// Resolves at SIGTERM or SIGINT.
fn stopped() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    })
}

/// Polls every target once and writes what a scrape would get.
async fn once(config: Config, format: Format) -> anyhow::Result<ExitCode> {
    let telemetry = telemetry()?;
    let shape = Shape {
        format,
        histograms: config.histograms,
        reserved: reserved(&telemetry),
    };
    let tasks = tasks(&config, &telemetry)?;
    let mut snapshots = Vec::new();
    for mut task in tasks {
        task.poll().await;
        let view = task.handle().view();
        match (view.last, view.error) {
            (Some(last), _) => snapshots.extend(last.snapshots().cloned()),
            (None, error) => {
                let target = task.handle();
                bail!("{}: {}", target.name(), error.unwrap_or_default());
            }
        }
    }
    let mut stdout = std::io::stdout().lock();
    let selection = Selection::default();
    let own = own_metrics(&telemetry, &selection, format);
    for piece in Body::new(snapshots, &shape, &selection, own) {
        stdout.write_all(&piece).context("stdout")?;
    }
    stdout.flush().context("stdout")?;
    Ok(ExitCode::SUCCESS)
}

/// Saves the first target's answers.
async fn save(config: Config, dir: &Path) -> anyhow::Result<ExitCode> {
    let target = config.targets.first().context("no target")?;
    let mut transport = Transport::open(target.address.clone(), config.transport())?;
    let saved = capture::capture(&mut transport, dir, config.poll.timeout).await?;
    let mut stdout = std::io::stdout().lock();
    for file in &saved {
        match &file.result {
            Ok(bytes) => writeln!(stdout, "{:<24} {bytes} bytes", file.name)?,
            Err(reason) => writeln!(stdout, "{:<24} not saved: {reason}", file.name)?,
        }
    }
    writeln!(
        stdout,
        "Nothing was left out of these answers: they hold the names and addresses that your \
         configuration gave. The configuration itself was not asked for."
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the exporter that these flags would have started.
async fn healthcheck(flags: &Flags) -> anyhow::Result<ExitCode> {
    let address = flags.listen.first().context("no address")?;
    web::healthcheck(address, flags.web_config_file.is_some()).await?;
    Ok(ExitCode::SUCCESS)
}
