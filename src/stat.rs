//! The nouns of the input side: what a stat of Envoy's admin interface is before any rule has
//! looked at it.
//!
//! Envoy's JSON holds names and values only; the type of a stat is known because each type is
//! asked for on its own (`type=Counters` and so on). No I/O, no logging, no policy here.

use std::fmt;

/// The four kinds of stat that Envoy keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StatType {
    /// A number that only grows while the proxy lives.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// A string.
    TextReadout,
    /// A distribution of samples, kept in log-linear bins.
    Histogram,
}

impl StatType {
    /// Every type, in the order in which a poll asks for them.
    pub const ALL: [Self; 4] = [
        Self::Counter,
        Self::Gauge,
        Self::TextReadout,
        Self::Histogram,
    ];

    /// The word used in tables, labels and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::TextReadout => "text_readout",
            Self::Histogram => "histogram",
        }
    }
}

impl fmt::Display for StatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
