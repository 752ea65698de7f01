//! The program: reads the command line, sets up logging, and turns the outcome into an exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use envoy_exporter::app;
use envoy_exporter::cli::{Cli, Flags, LogFormat};
use envoy_exporter::logfmt::JsonEscapes;
use envoy_exporter::web::systemd::Inherited;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Files, passwords and names of hosts share these; polls and bodies have threads of their own.
const BLOCKING_THREADS: usize = 4;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(&cli.flags);
    let inherited = if cli.flags.systemd_socket {
        Inherited::take()
    } else {
        Inherited::none()
    };
    // One thread drives sockets and timers, long work runs on others beside it: a sidecar is not to
    // take the cores of the proxy.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(app::run(cli, inherited)),
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|error| {
        for line in format!("{error:#}").lines() {
            tracing::error!("{line}");
        }
        ExitCode::FAILURE
    })
}

fn start_logging(flags: &Flags) {
    let level = tracing_subscriber::filter::LevelFilter::from_level(flags.log_level);
    // Libraries only speak up when something is wrong with them.
    let filter = tracing_subscriber::filter::Targets::new()
        .with_target("envoy_exporter", level)
        .with_default(level.min(tracing_subscriber::filter::LevelFilter::WARN));
    let registry = tracing_subscriber::registry().with(filter);
    match flags.log_format {
        LogFormat::Logfmt => registry
            .with(
                tracing_logfmt::builder()
                    .layer()
                    .with_writer(|| JsonEscapes(std::io::stderr())),
            )
            .init(),
        LogFormat::Json => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .with_writer(std::io::stderr),
            )
            .init(),
    }
}
