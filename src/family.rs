//! What a family is: its type as Prometheus knows it, and how its numbers are shown. The series of a family are kept by the
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
    /// Count, sum and quantiles.
    Summary,
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

    /// Whether a series has many samples: a histogram or a summary.
    pub const fn is_distribution(self) -> bool {
        matches!(self, Self::Histogram | Self::Summary)
    }

    /// The word of the text format 0.0.4.
    pub const fn text_name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Unknown => "untyped",
        }
    }
}

/// What a stat's numbers are multiplied by to be shown in the family's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Factor {
    /// Times this.
    pub mul: u32,
    /// Divided by this.
    pub div: u32,
}

impl Factor {
    /// Numbers are shown as they are.
    pub const ONE: Self = Self { mul: 1, div: 1 };

    /// Numbers are divided.
    pub const fn over(div: u32) -> Self {
        Self { mul: 1, div }
    }

    /// The number in the family's unit, exact where the division is.
    pub fn apply(self, value: f64) -> f64 {
        value * f64::from(self.mul) / f64::from(self.div)
    }

    /// The number in the stat's own unit.
    pub fn undo(self, value: f64) -> f64 {
        value * f64::from(self.div) / f64::from(self.mul)
    }
}

impl Default for Factor {
    fn default() -> Self {
        Self::ONE
    }
}
