//! What a family is: its type as Prometheus knows it. The series of a family are kept by the
//! snapshot; this module only holds the nouns shared by mapping, snapshot and exposition.

use crate::stat::StatType;

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FamilyType {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Count, sum and cumulative buckets.
    Histogram,
    /// A number of which nobody knows what it is.
    Unknown,
}

impl FamilyType {
    /// The type of a family that a stat of this type belongs to. A text readout becomes a gauge
    /// whose label holds the text.
    pub const fn of(stat: StatType) -> Self {
        match stat {
            StatType::Counter => Self::Counter,
            StatType::Gauge | StatType::TextReadout => Self::Gauge,
            StatType::Histogram => Self::Histogram,
        }
    }

    /// The word of the text format 0.0.4.
    pub const fn text_name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Unknown => "untyped",
        }
    }
}
