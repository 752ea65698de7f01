//! The exporter's own metrics, in a registry of their own, through the `prometheus` crate.
//!
//! Label values come from closed enums and from the names of configured targets, never from
//! requests or answers.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use crate::snapshot::{Beginning, DropReason, Report};
use crate::stat::StatType;

/// How a poll ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was read and understood.
    Success,
    /// No connection.
    Connect,
    /// Not done within the time for one poll.
    Timeout,
    /// An answer with another status than 200.
    Status,
    /// An answer above the limit.
    TooLarge,
    /// An answer that broke off, or a file that could not be read.
    Read,
    /// An answer that is not what Envoy sends.
    Decode,
    /// A fault of the exporter's own.
    Internal,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 8] = [
        Self::Success,
        Self::Connect,
        Self::Timeout,
        Self::Status,
        Self::TooLarge,
        Self::Read,
        Self::Decode,
        Self::Internal,
    ];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::TooLarge => "too_large",
            Self::Read => "read",
            Self::Decode => "decode",
            Self::Internal => "internal",
        }
    }
}

/// All own metrics.
#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    names: Vec<String>,
    up: IntGaugeVec,
    polls: IntCounterVec,
    poll_duration: HistogramVec,
    last_poll: GaugeVec,
    lives: Lives,
    body_bytes: IntGaugeVec,
    stats: IntGaugeVec,
    series: IntGaugeVec,
    families: IntGaugeVec,
    undescribed: IntGaugeVec,
    dropped: IntGaugeVec,
    collector_success: IntGaugeVec,
    collector_duration: GaugeVec,
    collector_runs: IntCounterVec,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    in_flight: IntGauge,
    reload_successful: IntGauge,
    reload_time: Gauge,
}

/// When targets started, and how often they began to count anew.
#[derive(Debug)]
struct Lives {
    start: GaugeVec,
    restarts: IntCounterVec,
}

impl Lives {
    fn new(own: &mut Registrar) -> prometheus::Result<Self> {
        Ok(Self {
            start: own.float_gauges(
                "envoy_exporter_target_start_timestamp_seconds",
                "When the target started, by its uptime, in seconds since 1970; a hot restart goes on.",
                &["target"],
            )?,
            restarts: own.counters(
                "envoy_exporter_target_restarts_total",
                "Times that the target began to count anew, by kind: restart, hot_restart, counters_reset.",
                &["target", "kind"],
            )?,
        })
    }
}

impl Telemetry {
    /// Registers every metric.
    pub fn new() -> prometheus::Result<Self> {
        let mut own = Registrar::default();
        let telemetry = Self {
            up: own.gauges("envoy_up", "1 when the last poll of the target succeeded, else 0.", &["target"])?,
            polls: own.counters(
                "envoy_exporter_polls_total",
                "Polls of the target, by how they ended.",
                &["target", "outcome"],
            )?,
            poll_duration: own.histograms(
                "envoy_exporter_poll_duration_seconds",
                "Time taken by one whole poll of the target, reading and decoding.",
                &["target"],
                &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
            )?,
            last_poll: own.float_gauges(
                "envoy_exporter_last_poll_timestamp_seconds",
                "When the last successful poll of the target ended, in seconds since 1970.",
                &["target"],
            )?,
            lives: Lives::new(&mut own)?,
            body_bytes: own.gauges(
                "envoy_exporter_poll_body_bytes",
                "Bytes of the target's answers in the last successful poll.",
                &["target"],
            )?,
            stats: own.gauges(
                "envoy_exporter_stats",
                "Stats that the target sent in the last successful poll, by type.",
                &["target", "type"],
            )?,
            series: own.gauges(
                "envoy_exporter_series",
                "Series of the target after the last successful poll; a histogram is one.",
                &["target"],
            )?,
            families: own.gauges(
                "envoy_exporter_families",
                "Families of the target after the last successful poll.",
                &["target"],
            )?,
            undescribed: own.gauges(
                "envoy_exporter_undescribed_stats",
                "Stats of the last successful poll, and findings of collectors, that no entry of the mapping table describes.",
                &["target"],
            )?,
            dropped: own.gauges(
                "envoy_exporter_dropped_series",
                "Stats of the last successful poll, and findings of collectors, that have no series, by reason.",
                &["target", "reason"],
            )?,
            collector_success: own.gauges(
                "envoy_exporter_collector_success",
                "1 when the last run of the collector succeeded, else 0.",
                &["target", "collector"],
            )?,
            collector_duration: own.float_gauges(
                "envoy_exporter_collector_duration_seconds",
                "Time taken by the last run of the collector, asking and decoding.",
                &["target", "collector"],
            )?,
            collector_runs: own.counters(
                "envoy_exporter_collector_runs_total",
                "Runs of the collector, by how they ended.",
                &["target", "collector", "outcome"],
            )?,
            requests: own.counters(
                "envoy_exporter_http_requests_total",
                "HTTP requests answered, by handler and status code.",
                &["handler", "code"],
            )?,
            request_duration: own.histograms(
                "envoy_exporter_http_request_duration_seconds",
                "Time from an HTTP request to its response head, by handler.",
                &["handler"],
                &[0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0],
            )?,
            in_flight: own.gauge(
                "envoy_exporter_http_requests_in_flight",
                "HTTP requests being answered now.",
            )?,
            reload_successful: own.gauge(
                "envoy_exporter_config_last_reload_successful",
                "1 when the configuration that was last read is in use, else 0.",
            )?,
            reload_time: own.float_gauge(
                "envoy_exporter_config_last_reload_success_timestamp_seconds",
                "When the configuration in use was read, in seconds since 1970.",
            )?,
            names: Vec::new(),
            registry: Registry::new(),
        };
        own.build_info()?;
        own.process()?;
        Ok(Self {
            registry: own.registry,
            names: own.names,
            ..telemetry
        })
    }

    /// The names of all own families, with or without series.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// What the metrics say now.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// Shows that the configuration read at this time, in seconds since 1970, is in use.
    pub fn config_loaded(&self, unix: f64) {
        self.reload_successful.set(1);
        self.reload_time.set(unix);
    }

    /// Shows a target that has not been polled.
    pub fn add_target(&self, target: &str) {
        self.up.with_label_values(&[target]).set(0);
        for outcome in Outcome::ALL {
            self.polls.with_label_values(&[target, outcome.as_str()]);
        }
        for kind in Beginning::ALL {
            self.lives
                .restarts
                .with_label_values(&[target, kind.as_str()]);
        }
        self.poll_duration.with_label_values(&[target]);
    }

    /// Counts a new beginning of a target.
    pub fn began(&self, target: &str, kind: Beginning) {
        self.lives
            .restarts
            .with_label_values(&[target, kind.as_str()])
            .inc();
    }

    /// Counts a poll.
    pub fn polled(&self, target: &str, outcome: Outcome, took: Duration) {
        let up = i64::from(outcome == Outcome::Success);
        self.up.with_label_values(&[target]).set(up);
        self.polls
            .with_label_values(&[target, outcome.as_str()])
            .inc();
        self.poll_duration
            .with_label_values(&[target])
            .observe(took.as_secs_f64());
    }

    /// Shows a collector that has not run.
    pub fn add_collector(&self, target: &str, collector: &str) {
        let labels = [target, collector];
        self.collector_success.with_label_values(&labels).set(0);
        for outcome in Outcome::ALL {
            self.collector_runs
                .with_label_values(&[target, collector, outcome.as_str()]);
        }
    }

    /// Counts a run of a collector.
    pub fn collected(&self, target: &str, collector: &str, outcome: Outcome, took: Duration) {
        let labels = [target, collector];
        let success = i64::from(outcome == Outcome::Success);
        self.collector_success
            .with_label_values(&labels)
            .set(success);
        self.collector_duration
            .with_label_values(&labels)
            .set(took.as_secs_f64());
        self.collector_runs
            .with_label_values(&[target, collector, outcome.as_str()])
            .inc();
    }

    /// Shows what a successful poll brought.
    pub fn brought(&self, target: &str, poll: &PollFigures<'_>) {
        self.last_poll
            .with_label_values(&[target])
            .set(poll.ended_unix);
        match poll.start {
            Some(start) => self.lives.start.with_label_values(&[target]).set(start),
            // It may never have been shown.
            None => drop(self.lives.start.remove_label_values(&[target])),
        }
        let set = |gauge: &IntGaugeVec, labels: &[&str], value: usize| {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            gauge.with_label_values(labels).set(value);
        };
        set(&self.body_bytes, &[target], poll.body_bytes);
        for stat_type in StatType::ALL {
            let at = StatType::ALL.iter().position(|have| *have == stat_type);
            let count = at.and_then(|at| poll.stats.get(at)).copied();
            set(
                &self.stats,
                &[target, stat_type.as_str()],
                count.unwrap_or_default(),
            );
        }
        set(&self.stats, &[target, "unknown"], poll.unknown_stats);
        set(&self.series, &[target], poll.series);
        set(&self.families, &[target], poll.families);
        set(&self.undescribed, &[target], poll.report.undescribed);
        for reason in DropReason::ALL {
            set(
                &self.dropped,
                &[target, reason.as_str()],
                poll.report.dropped(reason),
            );
        }
    }

    /// Counts an answered HTTP request.
    pub fn answered(&self, handler: &str, code: u16, took: Duration) {
        self.requests
            .with_label_values(&[handler, &code.to_string()])
            .inc();
        self.request_duration
            .with_label_values(&[handler])
            .observe(took.as_secs_f64());
    }

    /// Whether the configuration read last is in use, and when the one in use was read, in seconds
    /// since 1970.
    pub fn config_state(&self) -> (bool, f64) {
        (self.reload_successful.get() == 1, self.reload_time.get())
    }

    /// Requests being answered.
    pub fn in_flight(&self) -> &IntGauge {
        &self.in_flight
    }
}

/// What a successful poll brought.
#[derive(Debug)]
pub struct PollFigures<'p> {
    /// When it ended, in seconds since 1970.
    pub ended_unix: f64,
    /// When the target started, likewise, where that is known.
    pub start: Option<f64>,
    /// Size of all answers.
    pub body_bytes: usize,
    /// Stats in the order of [`StatType::ALL`].
    pub stats: [usize; 4],
    /// Numbers of which the target did not say what they are.
    pub unknown_stats: usize,
    /// Series made of them.
    pub series: usize,
    /// Families made of them.
    pub families: usize,
    /// What was undescribed or dropped.
    pub report: &'p Report,
}

/// Makes metrics, registers them, and remembers their names.
#[derive(Default)]
struct Registrar {
    registry: Registry,
    names: Vec<String>,
}

impl Registrar {
    fn register<C: Collector + Clone + 'static>(&mut self, metric: C) -> prometheus::Result<C> {
        let names = metric.desc().into_iter().map(|desc| desc.fq_name.clone());
        self.names.extend(names);
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauge(&mut self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.register(IntGauge::new(name, help)?)
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn float_gauge(&mut self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.register(Gauge::new(name, help)?)
    }

    fn float_gauges(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<GaugeVec> {
        self.register(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn histograms(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        bounds: &[f64],
    ) -> prometheus::Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.register(HistogramVec::new(options, labels)?)
    }

    fn build_info(&mut self) -> prometheus::Result<()> {
        let options = Opts::new(
            "envoy_exporter_build_info",
            "1, with what the exporter was built from as labels.",
        )
        .const_label("version", env!("CARGO_PKG_VERSION"))
        .const_label("revision", env!("ENVOY_EXPORTER_REVISION"))
        .const_label("rustc_version", env!("ENVOY_EXPORTER_RUSTC"));
        self.register(Gauge::with_opts(options)?)?.set(1.0);
        Ok(())
    }

    fn process(&mut self) -> prometheus::Result<()> {
        let process = prometheus::process_collector::ProcessCollector::for_self();
        let names = process.desc().into_iter().map(|desc| desc.fq_name.clone());
        self.names.extend(names);
        self.registry.register(Box::new(process))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_closed_sets() {
        let outcomes: Vec<_> = Outcome::ALL
            .iter()
            .map(|outcome| outcome.as_str())
            .collect();
        assert_eq!(
            outcomes,
            [
                "success",
                "connect",
                "timeout",
                "status",
                "too_large",
                "read",
                "decode",
                "internal"
            ]
        );
        let reasons: Vec<_> = DropReason::ALL
            .iter()
            .map(|reason| reason.as_str())
            .collect();
        assert_eq!(reasons, ["conflict", "invalid", "limit", "relabel", "rule"]);
        assert_eq!(
            Beginning::ALL.map(Beginning::as_str),
            ["restart", "hot_restart", "counters_reset"]
        );
    }

    #[test]
    fn a_target_shows_before_its_first_poll() {
        let telemetry = Telemetry::new().unwrap();
        telemetry.add_target("edge");
        let families = telemetry.gather();
        let names: Vec<_> = families.iter().map(MetricFamily::name).collect();
        for name in [
            "envoy_up",
            "envoy_exporter_build_info",
            "envoy_exporter_polls_total",
            "process_resident_memory_bytes",
        ] {
            assert!(names.contains(&name), "{name} of {names:?}");
            assert!(telemetry.names().any(|have| have == name), "{name}");
        }
    }
}
