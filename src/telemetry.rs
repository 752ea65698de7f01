//! The exporter's own metrics, in a registry of their own, through the `prometheus` crate.
//!
//! Label values come from closed enums, from the names of configured targets and from hashes of
//! configuration files, never from requests or answers. The series of a target go with it.

mod merge;
mod parts;
mod push;
mod registrar;

use std::collections::HashMap;
use std::time::Duration;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::proto::{self, Metric, MetricFamily};
use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::snapshot::{Beginning, DropReason, Report};
use crate::stat::StatType;

use parts::{ConfigMetrics, Lives};
use registrar::Registrar;

pub use merge::{Merge, SourceFigures, show_source_down};
pub use push::{Fate, Push, PushOutcome, QueueSize, Way};

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

const UP: &str = "envoy_up";

/// How a reload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The new configuration is in use.
    Success,
    /// Nothing changed.
    Failure,
}

impl Reload {
    /// Every outcome.
    pub const ALL: [Self; 2] = [Self::Success, Self::Failure];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
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
    push: Push,
    merge: Merge,
    config: ConfigMetrics,
}

impl Telemetry {
    /// Registers every metric.
    pub fn new() -> prometheus::Result<Self> {
        let mut own = Registrar::default();
        let telemetry = Self {
            up: own.gauges(UP, "1 when the last poll of the target succeeded, else 0.", &["target"])?,
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
            config: ConfigMetrics::new(&mut own)?,
            push: Push::new(&mut own)?,
            merge: Merge::new(&mut own)?,
            names: Vec::new(),
            registry: Registry::new(),
        };
        own.build_info()?;
        own.process()?;
        for outcome in Reload::ALL {
            telemetry
                .config
                .reloads
                .with_label_values(&[outcome.as_str()]);
        }
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

    /// Those of pushing.
    pub fn push(&self) -> &Push {
        &self.push
    }

    /// Those of merging.
    pub fn merge(&self) -> &Merge {
        &self.merge
    }

    /// What the metrics say now.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// The same of one target alone.
    pub fn gather_target(&self, target: &str) -> Vec<MetricFamily> {
        let mut families = self.gather();
        for family in &mut families {
            let metrics = family.mut_metric();
            metrics.retain(|metric| label(metric, "target") == Some(target));
        }
        families.retain(|family| !family.get_metric().is_empty());
        families
    }

    /// Shows that the configuration read at this time, in seconds since 1970, is in use; `hash` is
    /// that of its files, where there are any.
    pub fn config_loaded(&self, unix: f64, hash: Option<&str>) {
        self.config.successful.set(1);
        self.config.loaded.set(unix);
        if let Some(hash) = hash {
            self.config.info.with_label_values(&[hash]).set(1);
        }
        // The new one is there before the old one goes: no scrape finds neither.
        forget(&self.config.info, |metric| label(metric, "sha256") != hash);
    }

    /// Counts a reload.
    pub fn reloaded(&self, outcome: Reload) {
        self.config
            .reloads
            .with_label_values(&[outcome.as_str()])
            .inc();
        if outcome == Reload::Failure {
            self.config.successful.set(0);
        }
    }

    /// Shows a target that may not have been polled.
    pub fn add_target(&self, target: &str) {
        self.up.with_label_values(&[target]);
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

    /// Takes away the series of a target that is no more.
    pub fn remove_target(&self, target: &str) {
        self.forget(|metric| label(metric, "target") == Some(target));
    }

    /// Takes away the series of the target's collectors but these.
    pub fn keep_collectors(&self, target: &str, collectors: &[&str]) {
        self.forget(|metric| {
            let collector = label(metric, "collector");
            label(metric, "target") == Some(target)
                && collector.is_some_and(|collector| !collectors.contains(&collector))
        });
    }

    /// Takes away such series of targets.
    fn forget(&self, is_gone: impl Fn(&Metric) -> bool) {
        let is_gone = &is_gone;
        forget(&self.poll_duration, is_gone);
        forget(&self.last_poll, is_gone);
        forget(&self.lives.start, is_gone);
        forget(&self.lives.restarts, is_gone);
        forget(&self.collector_duration, is_gone);
        forget(&self.polls, is_gone);
        forget(&self.collector_runs, is_gone);
        for gauges in [
            &self.up,
            &self.body_bytes,
            &self.stats,
            &self.series,
            &self.families,
            &self.undescribed,
            &self.dropped,
            &self.collector_success,
        ] {
            forget(gauges, is_gone);
        }
    }

    /// Shows whether the last poll of a target succeeded.
    pub fn show_up(&self, target: &str, is_up: bool) {
        self.up.with_label_values(&[target]).set(i64::from(is_up));
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
        self.show_up(target, outcome == Outcome::Success);
        self.polls
            .with_label_values(&[target, outcome.as_str()])
            .inc();
        self.poll_duration
            .with_label_values(&[target])
            .observe(took.as_secs_f64());
    }

    /// Shows a collector that may not have run.
    pub fn add_collector(&self, target: &str, collector: &str) {
        let labels = [target, collector];
        self.collector_success.with_label_values(&labels);
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
        (self.config.successful.get() == 1, self.config.loaded.get())
    }

    /// Requests being answered.
    pub fn in_flight(&self) -> &IntGauge {
        &self.in_flight
    }
}

fn label<'m>(metric: &'m Metric, name: &str) -> Option<&'m str> {
    let mut labels = metric.get_label().iter();
    let label = labels.find(|label| label.name() == name)?;
    Some(label.value())
}

/// Shows a target as down in what was gathered: a poll that was waited for has not ended.
pub fn show_down(families: &mut [MetricFamily], target: &str) {
    set_down(families, UP, ("target", target));
}

fn set_down(families: &mut [MetricFamily], name: &str, (key, value): (&str, &str)) {
    let up = families.iter_mut().filter(|family| family.name() == name);
    for metric in up.flat_map(MetricFamily::mut_metric) {
        if label(metric, key) == Some(value) {
            metric.set_gauge(proto::Gauge::default());
        }
    }
}

fn forget<T: MetricVecBuilder>(metrics: &MetricVec<T>, is_gone: impl Fn(&Metric) -> bool) {
    for family in metrics.collect() {
        for metric in family.get_metric().iter().filter(|metric| is_gone(metric)) {
            let labels = metric.get_label().iter();
            let labels: HashMap<_, _> = labels.map(|label| (label.name(), label.value())).collect();
            // It was there a moment ago; if it is not any more, all is well.
            let _ = metrics.remove(&labels);
        }
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
        assert_eq!(Reload::ALL.map(Reload::as_str), ["success", "failure"]);
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
    fn nothing_of_a_removed_target_stays() {
        let telemetry = Telemetry::new().unwrap();
        let labelled = |target: &str| {
            let families = telemetry.gather();
            let metrics = families.iter().flat_map(MetricFamily::get_metric);
            metrics
                .filter(|metric| {
                    metric
                        .get_label()
                        .iter()
                        .any(|label| label.value() == target)
                })
                .count()
        };
        for target in ["edge", "other"] {
            telemetry.add_target(target);
            telemetry.polled(target, Outcome::Success, Duration::ZERO);
            for collector in ["memory", "listeners"] {
                telemetry.collected(target, collector, Outcome::Success, Duration::ZERO);
            }
            telemetry.brought(
                target,
                &PollFigures {
                    ended_unix: 1.0,
                    start: Some(1.0),
                    body_bytes: 1,
                    stats: [1; 4],
                    unknown_stats: 1,
                    series: 1,
                    families: 1,
                    report: &Report::default(),
                },
            );
        }
        let before = labelled("other");
        assert!(before > 20, "{before}");
        let all = labelled("edge");
        telemetry.keep_collectors("edge", &["memory"]);
        assert_eq!(labelled("listeners"), 3, "those of the other");
        assert_eq!(labelled("edge"), all - 3);
        telemetry.remove_target("edge");
        assert_eq!(labelled("edge"), 0);
        assert_eq!(labelled("other"), before);
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
