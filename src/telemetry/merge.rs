//! Own metrics of merging. They have series for sources that are configured.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashSet;
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec};

use super::registrar::Registrar;
use super::{Outcome, forget, label, set_down};
use crate::snapshot::DropReason;

const UP: &str = "envoy_exporter_merge_up";

/// Shows a source as down in what was gathered: a poll that was waited for has not ended.
pub fn show_source_down(families: &mut [MetricFamily], source: &str) {
    set_down(families, UP, ("source", source));
}

/// Metrics of sources.
#[derive(Debug)]
pub struct Merge {
    up: IntGaugeVec,
    polls: IntCounterVec,
    duration: GaugeVec,
    last: GaugeVec,
    series: IntGaugeVec,
    dropped: IntGaugeVec,
    /// The sources that are shown: a scrape may know one a little longer.
    known: Mutex<HashSet<String>>,
}

/// What a successful poll of a source brought.
#[derive(Clone, Copy, Debug)]
pub struct SourceFigures {
    /// When it ended, in seconds since 1970.
    pub ended_unix: f64,
    /// Series that it has.
    pub series: usize,
    /// Series of families that contradict themselves.
    pub invalid: usize,
    /// Series of families above a limit.
    pub limit: usize,
}

impl Merge {
    /// Why families of a source are left out.
    const REASONS: [DropReason; 3] = [DropReason::Conflict, DropReason::Invalid, DropReason::Limit];

    pub(super) fn new(own: &mut Registrar) -> prometheus::Result<Self> {
        Ok(Self {
            up: own.gauges(
                UP,
                "1 when the last poll of the source succeeded, else 0.",
                &["source"],
            )?,
            polls: own.counters(
                "envoy_exporter_merge_polls_total",
                "Polls of the source, by how they ended.",
                &["source", "outcome"],
            )?,
            duration: own.float_gauges(
                "envoy_exporter_merge_duration_seconds",
                "Time taken by the last poll of the source, reading and decoding.",
                &["source"],
            )?,
            last: own.float_gauges(
                "envoy_exporter_merge_last_success_timestamp_seconds",
                "When the last successful poll of the source ended, in seconds since 1970.",
                &["source"],
            )?,
            series: own.gauges(
                "envoy_exporter_merge_series",
                "Series that could be read of the source in its last successful poll; a histogram is one.",
                &["source"],
            )?,
            dropped: own.gauges(
                "envoy_exporter_merge_dropped_series",
                "Series of families of the source that are left out, by reason.",
                &["source", "reason"],
            )?,
            known: Mutex::default(),
        })
    }

    /// Shows a source that may not have been polled.
    pub fn add(&self, source: &str) {
        self.known().insert(source.to_owned());
        self.up.with_label_values(&[source]);
        for outcome in Outcome::ALL {
            self.polls.with_label_values(&[source, outcome.as_str()]);
        }
        for reason in Self::REASONS {
            self.dropped.with_label_values(&[source, reason.as_str()]);
        }
    }

    /// Takes away the series of a source that is no more.
    pub fn remove(&self, source: &str) {
        let mut known = self.known();
        known.remove(source);
        let is_gone = |metric: &_| label(metric, "source") == Some(source);
        forget(&self.up, is_gone);
        forget(&self.polls, is_gone);
        forget(&self.duration, is_gone);
        forget(&self.last, is_gone);
        forget(&self.series, is_gone);
        forget(&self.dropped, is_gone);
    }

    /// Shows whether the last poll of a source succeeded.
    pub fn show_up(&self, source: &str, is_up: bool) {
        self.up.with_label_values(&[source]).set(i64::from(is_up));
    }

    /// Counts a poll.
    pub fn polled(&self, source: &str, outcome: Outcome, took: Duration) {
        self.show_up(source, outcome == Outcome::Success);
        self.polls
            .with_label_values(&[source, outcome.as_str()])
            .inc();
        self.duration
            .with_label_values(&[source])
            .set(took.as_secs_f64());
    }

    /// Shows what a successful poll brought.
    pub fn brought(&self, source: &str, figures: SourceFigures) {
        self.last
            .with_label_values(&[source])
            .set(figures.ended_unix);
        set(&self.series, &[source], figures.series);
        self.drops(source, DropReason::Invalid, figures.invalid);
        self.drops(source, DropReason::Limit, figures.limit);
    }

    /// Shows how many series would have names of others.
    pub fn conflicts(&self, source: &str, series: usize) {
        let known = self.known();
        if known.contains(source) {
            self.drops(source, DropReason::Conflict, series);
        }
    }

    fn known(&self) -> MutexGuard<'_, HashSet<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drops(&self, source: &str, reason: DropReason, series: usize) {
        set(&self.dropped, &[source, reason.as_str()], series);
    }
}

fn set(gauges: &IntGaugeVec, labels: &[&str], value: usize) {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    gauges.with_label_values(labels).set(value);
}

#[cfg(test)]
mod tests {
    use super::super::Telemetry;
    use super::*;

    #[test]
    fn nothing_of_a_removed_source_stays() {
        let telemetry = Telemetry::new().unwrap();
        let of = |source: &str| {
            let families = telemetry.gather();
            let metrics = families.iter().flat_map(MetricFamily::get_metric);
            metrics
                .filter(|metric| label(metric, "source") == Some(source))
                .count()
        };
        for source in ["app", "node"] {
            telemetry.merge().add(source);
            telemetry
                .merge()
                .polled(source, Outcome::Success, Duration::ZERO);
            let figures = SourceFigures {
                ended_unix: 1.0,
                series: 1,
                invalid: 0,
                limit: 0,
            };
            telemetry.merge().brought(source, figures);
        }
        let all = of("node");
        assert_eq!(all, 1 + Outcome::ALL.len() + 3 + Merge::REASONS.len());
        telemetry.merge().remove("app");
        telemetry.merge().conflicts("app", 3);
        assert_eq!((of("app"), of("node")), (0, all));
    }
}
