//! Snapshots of what others exposed: families that are whole already, put into the form that every
//! reader of snapshots knows.
//!
//! Who hands them in has settled what an exposition must not have: no name stands twice, no series
//! stands twice in a family, buckets do not fall. Here they are only laid out, sorted by name.

use std::sync::Arc;

use super::layout::{Bounds, FamilyInfo, HistogramPlace, Layout, Parts, number};
use super::names::Interner;
use super::{Histograms, Snapshot};
use crate::family::{Factor, FamilyType};
use crate::mapping::table::Unit;

/// A family as somebody else exposed it.
#[derive(Clone, Debug, PartialEq)]
pub struct MadeFamily {
    /// Its name.
    pub name: String,
    /// Its type.
    pub family_type: FamilyType,
    /// Its HELP.
    pub help: String,
    /// What its values are measured in, where that was said.
    pub unit: Option<Unit>,
    /// Its series, of the kind that the type has.
    pub series: MadeSeries,
}

/// The series of a family: label blocks and values.
#[derive(Clone, Debug, PartialEq)]
pub enum MadeSeries {
    /// Of a counter, a gauge, or nobody knows what.
    Numbers(Vec<(String, Amount)>),
    /// Of a histogram or a summary.
    Distributions(Vec<(String, Distribution)>),
}

/// A number as it was said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// To the last digit.
    Whole(u64),
    /// Any other.
    Double(f64),
}

/// The value of a histogram or a summary.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// Number of samples.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Bound, its text and the samples at or below it, rising and without `+Inf`.
    pub buckets: Vec<(f64, Box<str>, u64)>,
    /// Percents and their values.
    pub percentiles: Vec<(f64, f64)>,
}

impl MadeSeries {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(series) => series.len(),
            Self::Distributions(series) => series.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is being laid out.
#[derive(Default)]
struct Assembly {
    layout: Layout,
    blocks: Interner,
    scalars: Vec<u64>,
    histograms: Histograms,
    /// Where the bounds of the last series stand: those of a family are mostly the same.
    bounds: Vec<Arc<Bounds>>,
}

impl Snapshot {
    /// Lays families out. Those without series are left out.
    pub fn assembled(mut families: Vec<MadeFamily>) -> Self {
        families.retain(|family| !family.series.is_empty());
        families.sort_by(|one, other| one.name.cmp(&other.name));
        let mut assembly = Assembly::default();
        for family in families {
            assembly.push(family);
        }
        let Assembly {
            mut layout,
            blocks,
            scalars,
            histograms,
            bounds,
        } = assembly;
        layout.blocks = blocks.texts();
        layout.bounds = bounds;
        Self {
            layout: Arc::new(layout),
            scalars,
            histograms,
            beginning: None,
            start: None,
            shows_start: false,
        }
    }

    /// The same without some families. Their values stay where they are, and nobody reads them.
    #[must_use]
    pub fn without(&self, is_gone: impl Fn(&str) -> bool) -> Self {
        let mut layout = Layout::clone(&self.layout);
        layout.families.retain(|family| !is_gone(&family.name));
        Self {
            layout: Arc::new(layout),
            scalars: self.scalars.clone(),
            histograms: self.histograms.clone(),
            beginning: self.beginning,
            start: self.start,
            shows_start: self.shows_start,
        }
    }
}

impl Assembly {
    fn push(&mut self, family: MadeFamily) {
        let mut double = false;
        let series = match family.series {
            MadeSeries::Numbers(series) => {
                let start = self.scalars.len();
                // One form for the whole family: doubles hold whole numbers to 2^53.
                double = series
                    .iter()
                    .any(|(_, amount)| matches!(amount, Amount::Double(_)));
                for (block, amount) in series {
                    let block = self.blocks.intern(&block);
                    self.layout.scalar_labels.push(block);
                    self.scalars.push(amount.raw(double));
                }
                start..self.scalars.len()
            }
            MadeSeries::Distributions(series) => {
                let start = self.layout.histograms.len();
                for (block, value) in series {
                    self.distribution(&block, value);
                }
                start..self.layout.histograms.len()
            }
        };
        self.layout.families.push(FamilyInfo {
            name: family.name.into(),
            family_type: family.family_type,
            help: family.help.into(),
            unit: family.unit,
            factor: Factor::ONE,
            double,
            series,
        });
    }

    fn distribution(&mut self, block: &str, value: Distribution) {
        let first_bucket = number(self.histograms.buckets.len());
        let mut values = Vec::with_capacity(value.buckets.len());
        let mut texts = Vec::with_capacity(value.buckets.len());
        for (bound, text, count) in value.buckets {
            values.push(bound);
            texts.push(text);
            self.histograms.buckets.push(count);
        }
        let bounds = Bounds::as_written(values.into(), texts.into());
        if self.bounds.last().is_none_or(|last| **last != bounds) {
            self.bounds.push(Arc::new(bounds));
        }
        self.layout.histograms.push(HistogramPlace {
            block: self.blocks.intern(block),
            bounds: number(self.bounds.len() - 1),
            first_bucket,
            parts: Parts::ALL,
        });
        self.histograms.totals.push((value.count, value.sum));
        self.histograms.percentiles.push(value.percentiles.into());
    }
}

impl Amount {
    /// The nearest double.
    #[expect(clippy::cast_precision_loss, reason = "a double is what is asked for")]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Double(double) => double,
        }
    }

    fn raw(self, double: bool) -> u64 {
        match self {
            Self::Whole(whole) if !double => whole,
            other => other.as_f64().to_bits(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauge(name: &str, series: &[(&str, Amount)]) -> MadeFamily {
        let series = series
            .iter()
            .map(|(block, amount)| ((*block).to_owned(), *amount));
        MadeFamily {
            name: name.to_owned(),
            family_type: FamilyType::Gauge,
            help: format!("{name}."),
            unit: None,
            series: MadeSeries::Numbers(series.collect()),
        }
    }

    #[test]
    fn families_are_sorted_and_numbers_kept() {
        let buckets = vec![(1.0, "1.0".into(), 2), (2.5, "2.5".into(), 3)];
        let histogram = MadeFamily {
            name: "h".to_owned(),
            family_type: FamilyType::Histogram,
            help: "H.".to_owned(),
            unit: Some(Unit::Seconds),
            series: MadeSeries::Distributions(vec![(
                "a=\"1\"".to_owned(),
                Distribution {
                    count: 4,
                    sum: 1.5,
                    buckets,
                    percentiles: Vec::new(),
                },
            )]),
        };
        let whole = Amount::Whole(u64::MAX);
        let snapshot = Snapshot::assembled(vec![
            gauge("z", &[("", whole)]),
            histogram,
            gauge("e", &[]),
            gauge(
                "b",
                &[("x=\"1\"", Amount::Whole(3)), ("", Amount::Double(0.5))],
            ),
        ]);
        let names: Vec<_> = snapshot.families().map(|family| family.name()).collect();
        assert_eq!(names, ["b", "h", "z"]);
        assert_eq!(snapshot.series(), 4);
        let mixed = snapshot.family(0).unwrap();
        let numbers: Vec<_> = mixed
            .scalars(0)
            .map(|(block, number)| (block, number.as_f64()))
            .collect();
        assert_eq!(numbers, [("x=\"1\"", 3.0), ("", 0.5)]);
        let (_, value) = snapshot.family(1).unwrap().histograms(0).next().unwrap();
        assert_eq!((value.count, value.buckets), (4, &[2, 3][..]));
        assert_eq!(&*value.le[0], "1.0", "the text stays");
        let (_, number) = snapshot.family(2).unwrap().scalars(0).next().unwrap();
        assert_eq!(number.raw, u64::MAX);
        let less = snapshot.without(|name| name == "h");
        assert!(!less.has("h") && less.has("b") && less.has("z"));
    }
}
