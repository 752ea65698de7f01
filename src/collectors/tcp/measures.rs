//! What is said of connections: the average, the largest and the smallest of each field, their sum
//! where that means something, and how they are distributed.

use std::collections::BTreeMap;

use super::Finding;
use crate::histogram::whole::{Counted, UpTo};
use crate::sockets::Info;

/// A field of a connection.
pub(super) struct Measure {
    /// A whole number; nothing where the kernel has none.
    sample: fn(&Info) -> Option<u64>,
    /// Such numbers are so many powers of ten larger than what is shown.
    shift: u8,
    /// Last words of the average, the largest and the smallest.
    words: [&'static str; 3],
    /// Last word of the sum.
    sum: Option<&'static str>,
    /// Last word of the histogram.
    histogram: Option<&'static str>,
}

pub(super) const MEASURES: [Measure; 9] = [
    Measure {
        // Before anything was acknowledged there is none.
        sample: |info| Some(info.rtt.into()).filter(|rtt| *rtt > 0),
        shift: 3,
        words: ["rtt_avg_ms", "rtt_max_ms", "rtt_min_ms"],
        sum: None,
        histogram: Some("connection_rtt_ms"),
    },
    Measure {
        sample: |info| Some(info.rto.into()),
        shift: 3,
        words: ["rto_avg_ms", "rto_max_ms", "rto_min_ms"],
        sum: None,
        histogram: Some("connection_rto_ms"),
    },
    Measure {
        sample: retransmit_ratio,
        shift: 6,
        words: [
            "retransmit_ratio_avg",
            "retransmit_ratio_max",
            "retransmit_ratio_min",
        ],
        sum: None,
        histogram: Some("connection_retransmit_ratio"),
    },
    Measure {
        sample: |info| Some(info.retransmits.into()),
        shift: 0,
        words: ["retransmits_avg", "retransmits_max", "retransmits_min"],
        sum: Some("retransmits_all"),
        histogram: None,
    },
    Measure {
        sample: |info| info.bytes_sent,
        shift: 0,
        words: ["bytes_sent_avg", "bytes_sent_max", "bytes_sent_min"],
        sum: Some("bytes_sent_all"),
        histogram: None,
    },
    Measure {
        sample: |info| info.bytes_received,
        shift: 0,
        words: [
            "bytes_received_avg",
            "bytes_received_max",
            "bytes_received_min",
        ],
        sum: Some("bytes_received_all"),
        histogram: None,
    },
    Measure {
        sample: |info| Some(info.unacked.into()),
        shift: 0,
        words: ["unacked_avg", "unacked_max", "unacked_min"],
        sum: Some("unacked_all"),
        histogram: Some("connection_unacked"),
    },
    Measure {
        sample: |info| Some(info.congestion_window.into()),
        shift: 0,
        words: [
            "congestion_window_avg",
            "congestion_window_max",
            "congestion_window_min",
        ],
        sum: Some("congestion_window_all"),
        histogram: Some("connection_congestion_window"),
    },
    Measure {
        sample: |info| info.delivery_rate,
        shift: 0,
        words: [
            "delivery_rate_avg",
            "delivery_rate_max",
            "delivery_rate_min",
        ],
        sum: Some("delivery_rate_all"),
        histogram: Some("connection_delivery_rate"),
    },
];

/// In millionths, to the nearest.
fn retransmit_ratio(info: &Info) -> Option<u64> {
    let sent = info.segments_sent.filter(|sent| *sent > 0)?;
    let sent = u64::from(sent);
    Some((u64::from(info.retransmits) * 1_000_000 + sent / 2) / sent)
}

/// What is known of one field of some connections.
#[derive(Debug, Default)]
pub(super) struct Spread {
    count: u64,
    sum: u128,
    max: u64,
    min: u64,
    /// Of all polls so far.
    bins: BTreeMap<UpTo, u64>,
    seen: f64,
}

impl Spread {
    /// Starts a poll.
    pub(super) fn begin(&mut self) {
        (self.count, self.sum, self.max, self.min) = (0, 0, 0, 0);
    }

    pub(super) fn see(&mut self, measure: &Measure, info: &Info) {
        let Some(sample) = (measure.sample)(info) else {
            return;
        };
        self.max = self.max.max(sample);
        self.min = if self.count == 0 {
            sample
        } else {
            self.min.min(sample)
        };
        self.count += 1;
        self.sum += u128::from(sample);
        if measure.histogram.is_some() {
            *self.bins.entry(UpTo::holding(sample)).or_default() += 1;
            self.seen += shown(sample.into(), measure.shift);
        }
    }

    pub(super) fn tell(&self, measure: &Measure, finding: &mut Finding<'_>) {
        if self.count > 0 {
            let average = shown(self.sum, measure.shift) / shown(self.count.into(), 0);
            let largest = shown(self.max.into(), measure.shift);
            let smallest = shown(self.min.into(), measure.shift);
            for (word, value) in measure.words.into_iter().zip([average, largest, smallest]) {
                finding.double(word, value);
            }
            if let Some(word) = measure.sum {
                finding.double(word, shown(self.sum, measure.shift));
            }
        }
        if let Some(word) = measure.histogram
            && !self.bins.is_empty()
        {
            let bins = self.bins.iter();
            let counted = Counted {
                bins: bins.map(|(bin, count)| (*bin, *count)).collect(),
                shift: measure.shift,
                sum: self.seen,
            };
            finding.histogram(word, counted);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a double is what is shown")]
fn shown(number: u128, shift: u8) -> f64 {
    number as f64 / 10_f64.powi(shift.into())
}
