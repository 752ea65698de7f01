//! Own metrics of pushing. They have series once something is pushed.

use std::time::Duration;

use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec};

use super::registrar::Registrar;

/// Where to something is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A Pushgateway.
    Pushgateway,
    /// A receiver of remote write.
    RemoteWrite,
}

impl Way {
    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pushgateway => "pushgateway",
            Self::RemoteWrite => "remote_write",
        }
    }
}

/// How a request that pushes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushOutcome {
    /// Taken.
    Success,
    /// No connection.
    Connect,
    /// Not answered in time.
    Timeout,
    /// The connection broke off.
    Read,
    /// A status 3xx; none is followed.
    Redirect,
    /// Refused for good: a status 4xx but 429.
    Rejected,
    /// Too much at a time: status 429.
    Throttled,
    /// A status 5xx.
    Unavailable,
    /// Not sent: series have a label of the grouping key.
    Clash,
}

impl PushOutcome {
    /// Every outcome.
    pub const ALL: [Self; 9] = [
        Self::Success,
        Self::Connect,
        Self::Timeout,
        Self::Read,
        Self::Redirect,
        Self::Rejected,
        Self::Throttled,
        Self::Unavailable,
        Self::Clash,
    ];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Read => "read",
            Self::Redirect => "redirect",
            Self::Rejected => "rejected",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Clash => "clash",
        }
    }
}

/// What became of samples that were to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Taken by the receiver.
    Sent,
    /// Refused by the receiver for good.
    Rejected,
    /// Dropped as the oldest of a full queue.
    QueueFull,
    /// Dropped since the clock did not go on since the poll before.
    Clock,
    /// Not sent in time at the end.
    Stopped,
}

impl Fate {
    /// Every fate.
    pub const ALL: [Self; 5] = [
        Self::Sent,
        Self::Rejected,
        Self::QueueFull,
        Self::Clock,
        Self::Stopped,
    ];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Rejected => "rejected",
            Self::QueueFull => "queue_full",
            Self::Clock => "clock",
            Self::Stopped => "stopped",
        }
    }
}

/// What is in the queue, or may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueSize {
    /// Polls.
    pub polls: usize,
    /// Bytes of memory.
    pub bytes: usize,
}

/// Own metrics of pushing.
#[derive(Debug)]
pub struct Push {
    requests: IntCounterVec,
    duration: HistogramVec,
    bytes: IntCounterVec,
    last_success: GaugeVec,
    samples: IntCounterVec,
    polls: IntGaugeVec,
    queue_bytes: IntGaugeVec,
    polls_limit: IntGaugeVec,
    bytes_limit: IntGaugeVec,
}

impl Push {
    pub(super) fn new(own: &mut Registrar) -> prometheus::Result<Self> {
        let push = ["push"];
        Ok(Self {
            requests: own.counters(
                "envoy_exporter_push_requests_total",
                "Attempts to push, by how they ended.",
                &["push", "outcome"],
            )?,
            duration: own.histograms(
                "envoy_exporter_push_duration_seconds",
                "Time taken by one attempt to push.",
                &push,
                &[
                    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
                    30.0,
                ],
            )?,
            bytes: own.counters(
                "envoy_exporter_push_body_bytes_total",
                "Bytes of the requests that were taken, as they were sent.",
                &push,
            )?,
            last_success: own.float_gauges(
                "envoy_exporter_push_last_success_timestamp_seconds",
                "When a push was last taken, in seconds since 1970.",
                &push,
            )?,
            samples: own.counters(
                "envoy_exporter_push_samples_total",
                "Samples that were to be sent by remote write, by what became of them.",
                &["push", "fate"],
            )?,
            polls: own.gauges(
                "envoy_exporter_push_queue_polls",
                "Polls that wait to be sent or are being sent.",
                &push,
            )?,
            queue_bytes: own.gauges(
                "envoy_exporter_push_queue_bytes",
                "Memory of the polls that wait to be sent or are being sent.",
                &push,
            )?,
            polls_limit: own.gauges(
                "envoy_exporter_push_queue_limit_polls",
                "Polls that may wait; above it the oldest is dropped.",
                &push,
            )?,
            bytes_limit: own.gauges(
                "envoy_exporter_push_queue_limit_bytes",
                "Memory that waiting polls may take; above it the oldest is dropped.",
                &push,
            )?,
        })
    }

    /// Shows a way before anything is pushed on it.
    pub fn add(&self, way: Way) {
        for outcome in PushOutcome::ALL {
            let labels = [way.as_str(), outcome.as_str()];
            self.requests.with_label_values(&labels);
        }
        self.duration.with_label_values(&[way.as_str()]);
        self.bytes.with_label_values(&[way.as_str()]);
    }

    /// Shows the limits of the queue, and samples, of which none was sent.
    pub fn add_queue(&self, way: Way, limit: QueueSize) {
        for fate in Fate::ALL {
            self.samples
                .with_label_values(&[way.as_str(), fate.as_str()]);
        }
        let set = |gauge: &IntGaugeVec, value: usize| set(gauge, way, value);
        set(&self.polls_limit, limit.polls);
        set(&self.bytes_limit, limit.bytes);
    }

    /// No longer shows a way on which nothing is pushed.
    pub fn remove(&self, way: Way) {
        let way = way.as_str();
        for outcome in PushOutcome::ALL {
            let _ = self.requests.remove_label_values(&[way, outcome.as_str()]);
        }
        for fate in Fate::ALL {
            let _ = self.samples.remove_label_values(&[way, fate.as_str()]);
        }
        let _ = self.duration.remove_label_values(&[way]);
        let _ = self.bytes.remove_label_values(&[way]);
        let _ = self.last_success.remove_label_values(&[way]);
        for gauge in [
            &self.polls,
            &self.queue_bytes,
            &self.polls_limit,
            &self.bytes_limit,
        ] {
            let _ = gauge.remove_label_values(&[way]);
        }
    }

    /// Counts an attempt.
    pub fn attempted(&self, way: Way, outcome: PushOutcome, took: Duration) {
        let labels = [way.as_str(), outcome.as_str()];
        self.requests.with_label_values(&labels).inc();
        self.duration
            .with_label_values(&[way.as_str()])
            .observe(took.as_secs_f64());
    }

    /// Counts what was taken with the request that ended at this time, in seconds since 1970.
    pub fn taken(&self, way: Way, bytes: usize, unix: f64) {
        self.bytes
            .with_label_values(&[way.as_str()])
            .inc_by(bytes as u64);
        self.last_success
            .with_label_values(&[way.as_str()])
            .set(unix);
    }

    /// Counts samples.
    pub fn samples(&self, way: Way, fate: Fate, count: usize) {
        self.samples
            .with_label_values(&[way.as_str(), fate.as_str()])
            .inc_by(count as u64);
    }

    /// Shows what is in the queue.
    pub fn queued(&self, way: Way, size: QueueSize) {
        set(&self.polls, way, size.polls);
        set(&self.queue_bytes, way, size.bytes);
    }
}

fn set(gauge: &IntGaugeVec, way: Way, value: usize) {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    gauge.with_label_values(&[way.as_str()]).set(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_closed_sets() {
        let outcomes = PushOutcome::ALL.map(PushOutcome::as_str);
        assert_eq!(
            outcomes,
            [
                "success",
                "connect",
                "timeout",
                "read",
                "redirect",
                "rejected",
                "throttled",
                "unavailable",
                "clash"
            ]
        );
        let fates = Fate::ALL.map(Fate::as_str);
        assert_eq!(
            fates,
            ["sent", "rejected", "queue_full", "clock", "stopped"]
        );
        let ways = [Way::Pushgateway, Way::RemoteWrite].map(Way::as_str);
        assert_eq!(ways, ["pushgateway", "remote_write"]);
    }
}
