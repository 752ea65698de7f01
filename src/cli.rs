//! The command line: flags, their environment variables, and subcommands.
//!
//! Flags follow the habit of Prometheus exporters. Each has an environment variable,
//! `ENVOY_EXPORTER_` and the flag in upper case with `.` and `-` as `_`. What a flag means is
//! decided in [`crate::config`]; this module only reads text.

mod collectors;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use regex::Regex;

use crate::config::{Overrides, parse_duration, parse_regex};
use crate::histogram::native;
use crate::negotiate;
use crate::transport::AdminAddress;
use crate::web::ListenAddress;

/// Reads Envoy's admin statistics and serves them as typed, described Prometheus metrics.
#[derive(Debug, Parser)]
#[command(name = "envoy-exporter", version, about, long_about = None)]
pub struct Cli {
    /// What to do; `serve` when left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags that every subcommand knows.
    #[command(flatten)]
    pub flags: Flags,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Poll and serve until SIGTERM or SIGINT, then drain and stop (the default)
    Serve,
    /// Poll once and write the exposition to stdout
    Once {
        /// Format of the exposition
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Validate configuration, mapping and web configuration without starting
    Check,
    /// Show how stat names are mapped
    Explain {
        /// Names as Envoy writes them
        #[arg(required = true, value_name = "STAT")]
        stats: Vec<String>,
    },
    /// Show how much of what the target sends is described, dropped or in conflict
    Coverage {
        /// Print entries for what is undescribed instead
        #[arg(long)]
        suggest: bool,
    },
    /// Save the target's admin answers as files, which <file://DIR> reads back
    Capture {
        /// A directory that is empty or not there yet
        dir: PathBuf,
    },
    /// Serve from a capture inside the program, with moving counters; needs no Envoy
    Demo,
    /// Ask a running exporter whether it is healthy
    Healthcheck,
}

/// Format of `once`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The Prometheus text format 0.0.4
    Text,
    /// `OpenMetrics` 1.0.0
    #[value(name = "openmetrics")]
    OpenMetrics,
    /// Messages `MetricFamily`, each with its length before it
    Protobuf,
}

impl From<Format> for negotiate::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::OpenMetrics => Self::OpenMetrics,
            Format::Protobuf => Self::Protobuf,
        }
    }
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// key=value
    #[default]
    Logfmt,
    /// One JSON object a line
    Json,
}

/// Flags that every subcommand knows.
#[derive(Debug, Args)]
pub struct Flags {
    /// Configuration file (YAML)
    #[arg(
        long = "config.file",
        env = "ENVOY_EXPORTER_CONFIG_FILE",
        value_name = "FILE",
        global = true
    )]
    pub config_file: Option<PathBuf>,

    /// Time between looks at the configuration file and mapping tables, which are read again when they have changed; 0s: never [default: 0s]
    #[arg(long = "config.auto-reload-interval", env = "ENVOY_EXPORTER_CONFIG_AUTO_RELOAD_INTERVAL", value_name = "DURATION", value_parser = parse_duration, default_value = "0s", hide_default_value = true, global = true)]
    pub auto_reload_interval: Duration,

    /// Envoy's admin interface: `http://HOST:PORT`, `https://HOST:PORT`, `unix:///SOCKET`, or `file:///DIR` for a saved capture [default: `http://127.0.0.1:9901`]
    #[arg(
        long = "envoy.admin-address",
        env = "ENVOY_EXPORTER_ENVOY_ADMIN_ADDRESS",
        value_name = "ADDRESS",
        global = true
    )]
    pub admin_address: Option<AdminAddress>,

    /// Time between polls; 0s polls when scraped [default: 5s]
    #[arg(long = "envoy.poll-interval", env = "ENVOY_EXPORTER_ENVOY_POLL_INTERVAL", value_name = "DURATION", value_parser = parse_duration, global = true)]
    pub poll_interval: Option<Duration>,

    /// Time for one whole poll [default: 3s]
    #[arg(long = "envoy.timeout", env = "ENVOY_EXPORTER_ENVOY_TIMEOUT", value_name = "DURATION", value_parser = parse_timeout, global = true)]
    pub timeout: Option<Duration>,

    /// Age above which data is no longer served [default: 3 poll intervals, at least 15s]
    #[arg(long = "envoy.stale-after", env = "ENVOY_EXPORTER_ENVOY_STALE_AFTER", value_name = "DURATION", value_parser = parse_duration, global = true)]
    pub stale_after: Option<Duration>,

    /// Read only stats that were ever written (Envoy's usedonly)
    #[arg(long = "envoy.used-only", env = "ENVOY_EXPORTER_ENVOY_USED_ONLY", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", global = true)]
    pub used_only: Option<bool>,

    /// Ask Envoy only for stats that tables keep, where it is known which (`--mapping basic`) [default: true]
    #[arg(long = "envoy.push-down", env = "ENVOY_EXPORTER_ENVOY_PUSH_DOWN", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", global = true)]
    pub push_down: Option<bool>,

    /// Regex handed to Envoy: only stats with a matching name are read
    #[arg(
        long = "envoy.filter",
        env = "ENVOY_EXPORTER_ENVOY_FILTER",
        value_name = "REGEX",
        global = true
    )]
    pub filter: Option<String>,

    /// Profile (`native`, `standard`, `basic`, `kuscia`) or mapping table; may be repeated, later ones override earlier ones [default: native]
    #[arg(
        long = "mapping",
        env = "ENVOY_EXPORTER_MAPPING",
        value_name = "PROFILE|FILE",
        value_delimiter = ',',
        global = true
    )]
    pub mapping: Vec<String>,

    /// Form of histograms in protobuf: classic, native or both; text formats have classic buckets [default: classic]
    #[arg(
        long = "histograms",
        env = "ENVOY_EXPORTER_HISTOGRAMS",
        value_name = "FORM",
        global = true
    )]
    pub histograms: Option<native::Form>,

    /// Say since when series count, in formats that can (`OpenMetrics`, protobuf): since the start of the proxy
    #[arg(long = "created-timestamps", env = "ENVOY_EXPORTER_CREATED_TIMESTAMPS", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", global = true)]
    pub created_timestamps: Option<bool>,

    /// Which collectors run
    #[command(flatten)]
    pub collectors: collectors::Flags,

    /// Show only endpoints of clusters in whose name the regex is found; handed to Envoy
    #[arg(long = "collector.endpoints.include", env = "ENVOY_EXPORTER_COLLECTOR_ENDPOINTS_INCLUDE", value_name = "REGEX", value_parser = parse_regex, global = true)]
    pub endpoints_include: Option<Regex>,

    /// Where to serve: `HOST:PORT`, `:PORT` for every address, or `unix:///SOCKET`, with `?mode=0660` behind it for the mode of its file; may be repeated
    #[arg(
        long = "web.listen-address",
        env = "ENVOY_EXPORTER_WEB_LISTEN_ADDRESS",
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = ":9091",
        global = true
    )]
    pub listen: Vec<ListenAddress>,

    /// Serve on the sockets that systemd hands over, all of them, and not on listen addresses
    #[arg(long = "web.systemd-socket", env = "ENVOY_EXPORTER_WEB_SYSTEMD_SOCKET", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set, global = true)]
    pub systemd_socket: bool,

    /// Path of the metrics
    #[arg(
        long = "web.telemetry-path",
        env = "ENVOY_EXPORTER_WEB_TELEMETRY_PATH",
        value_name = "PATH",
        default_value = "/metrics",
        global = true
    )]
    pub telemetry_path: String,

    /// Web configuration file of the Prometheus exporter-toolkit: TLS, users, headers, rate limit
    #[arg(
        long = "web.config.file",
        env = "ENVOY_EXPORTER_WEB_CONFIG_FILE",
        value_name = "FILE",
        global = true
    )]
    pub web_config_file: Option<PathBuf>,

    /// Allow POST and PUT on `/-/reload` and `/-/quit`
    #[arg(long = "web.enable-lifecycle", env = "ENVOY_EXPORTER_WEB_ENABLE_LIFECYCLE", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, action = clap::ArgAction::Set, global = true)]
    pub lifecycle: bool,

    /// Scrapes served at the same time; more get 503
    #[arg(long = "web.max-requests", env = "ENVOY_EXPORTER_WEB_MAX_REQUESTS", value_name = "COUNT", default_value_t = 40, value_parser = parse_count, global = true)]
    pub max_requests: usize,

    /// How much earlier than a scraper gives up (`X-Prometheus-Scrape-Timeout-Seconds`) a scrape that waits for a poll is answered [default: 500ms]
    #[arg(long = "web.timeout-offset", env = "ENVOY_EXPORTER_WEB_TIMEOUT_OFFSET", value_name = "DURATION", value_parser = parse_duration, default_value = "500ms", hide_default_value = true, global = true)]
    pub timeout_offset: Duration,

    /// Least severe messages to log: error, warn, info, debug, trace
    #[arg(
        long = "log.level",
        env = "ENVOY_EXPORTER_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info",
        global = true
    )]
    pub log_level: tracing::Level,

    /// Format of log lines on stderr
    #[arg(
        long = "log.format",
        env = "ENVOY_EXPORTER_LOG_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value = "logfmt",
        global = true
    )]
    pub log_format: LogFormat,
}

impl Flags {
    /// The part that the configuration file may say too.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            config_file: self.config_file.clone(),
            admin_address: self.admin_address.clone(),
            interval: self.poll_interval,
            timeout: self.timeout,
            stale_after: self.stale_after,
            used_only: self.used_only,
            push_down: self.push_down,
            filter: self.filter.clone(),
            mapping: self.mapping.clone(),
            histograms: self.histograms,
            created_timestamps: self.created_timestamps,
            collectors: self.collectors.said.clone(),
            endpoints_include: self.endpoints_include.clone(),
        }
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = parse_duration(text)?;
    if timeout.is_zero() {
        Err("must be more than 0s".to_owned())
    } else {
        Ok(timeout)
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| "must be a whole number above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_flag_has_the_environment_variable_of_its_name() {
        for argument in Cli::command().get_arguments() {
            let Some(flag) = argument
                .get_long()
                .filter(|flag| *flag != "help" && *flag != "version")
            else {
                continue;
            };
            let want = format!(
                "ENVOY_EXPORTER_{}",
                flag.to_uppercase().replace(['.', '-'], "_")
            );
            let have = argument.get_env().and_then(|name| name.to_str());
            assert_eq!(have, Some(want.as_str()), "--{flag}");
        }
    }
}
