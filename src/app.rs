//! Puts the parts together: one function for each subcommand, each from resolved settings to an
//! exit code.

mod merge;
mod push;
mod reload;
mod serve;
mod targets;
mod tools;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use futures_util::future::join_all;
use prometheus::proto::MetricFamily;

use hashbrown::HashSet;

use crate::cli::{Cli, Command, Flags};
use crate::config::{Config, Overrides};

use crate::exposition::{Body, Selection, Shape, own};
use crate::files::Files;
use crate::merge::{Gate, Task};

use crate::negotiate::Format;

use crate::telemetry::Telemetry;
use crate::transport::{AdminAddress, Transport};
use crate::web::LiveConfig;
use crate::web::systemd::Inherited;
use crate::{capture, web};
use targets::Spec;

/// Runs the program, with the sockets that were handed over to it.
pub async fn run(cli: Cli, inherited: Inherited) -> anyhow::Result<ExitCode> {
    let flags = &cli.flags;
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::serve(flags, flags.overrides(), inherited).await,
        Command::Demo => demo(flags, inherited).await,
        Command::Once { format } => once(flags, format.into()).await,
        Command::Check => {
            let loaded = load_both(flags, &flags.overrides())?;
            tools::check(flags, loaded.config, &loaded.live).await
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

/// Everything that was read at the start.
struct Loaded {
    config: Config,
    files: Files,
    live: LiveConfig,
}

/// The configuration and the web configuration, or the mistakes of both.
fn load_both(flags: &Flags, overrides: &Overrides) -> anyhow::Result<Loaded> {
    let live = flags
        .web_config_file
        .as_ref()
        .map_or(Ok(LiveConfig::default()), |path| LiveConfig::open(path));
    let (files, config) = Config::load_with_files(overrides);
    let (config, live) = reload::both(config, live).context(INVALID)?;
    Ok(Loaded {
        config,
        files,
        live,
    })
}

/// What ends a body: the selected of these own metrics.
fn own_metrics(families: &[MetricFamily], selection: &Selection, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    own::write(&mut out, families, selection, format);
    out
}

/// Names that the target's families may not have.
fn reserved(telemetry: &Telemetry) -> Arc<HashSet<String>> {
    Arc::new(own::reserved(telemetry.names()).collect())
}

/// Own metrics, of a configuration that was just loaded; `hash` is that of its files.
fn telemetry(hash: Option<&str>) -> anyhow::Result<Arc<Telemetry>> {
    let telemetry = Telemetry::new().context("own metrics")?;
    telemetry.config_loaded(reload::unix_now(), hash);
    Ok(Arc::new(telemetry))
}

/// Serves from the capture inside the program.
async fn demo(flags: &Flags, inherited: Inherited) -> anyhow::Result<ExitCode> {
    let mut overrides = flags.overrides();
    overrides.admin_address = Some(AdminAddress::Demo);
    tracing::info!("the demo proxy is a capture with moving counters; no Envoy is asked");
    serve::serve(flags, overrides, inherited).await
}

/// Polls every target once and writes what a scrape would get.
async fn once(flags: &Flags, format: Format) -> anyhow::Result<ExitCode> {
    let (files, config) = Config::load_with_files(&flags.overrides());
    let config = config.context(INVALID)?;
    let telemetry = telemetry(files.hash().as_deref())?;
    let shape = Shape {
        format,
        histograms: config.histograms,
        reserved: reserved(&telemetry),
    };
    let mut snapshots = Vec::new();
    for spec in Spec::all(&config, &shape.reserved) {
        let mut task = spec.task(spec.transport()?, &telemetry);
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
    // What else there is: its failure is logged and shown, and harmless.
    let mut sources = Vec::new();
    for options in &config.merge {
        let task = Task::new(options.clone(), &telemetry);
        sources.push(task.map_err(anyhow::Error::msg)?);
    }
    join_all(sources.iter_mut().map(Task::poll)).await;
    let sources: Vec<_> = sources.iter().map(Task::handle).collect();
    let gate = Gate::new(Arc::clone(&shape.reserved), Arc::clone(&telemetry));
    let admitted = gate.admit(&snapshots, &sources);
    snapshots.extend(admitted.snapshots);
    let mut own = telemetry.gather();
    own::join(&mut own, &admitted.with_own);
    let mut stdout = std::io::stdout().lock();
    let selection = Selection::default();
    let own = own_metrics(&own, &selection, format);
    for piece in Body::new(snapshots, &shape, &selection, own) {
        stdout.write_all(&piece).context("stdout")?;
    }
    stdout.flush().context("stdout")?;
    Ok(ExitCode::SUCCESS)
}

/// Saves the first target's answers.
async fn save(config: Config, dir: &Path) -> anyhow::Result<ExitCode> {
    let target = config.targets.first().context("no target")?;
    let mut transport = Transport::open(target.address.clone(), target.transport())?;
    let saved = capture::capture(&mut transport, dir, target.poll.timeout).await?;
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
