//! The snapshot: the families and series of one poll of one target, immutable and shared.
//!
//! A snapshot is a [`Layout`] (families, label blocks, which series stands where) and arrays of
//! values beside it. Between two polls of a proxy hardly any stat comes or goes, so the layout is
//! shared by all polls that saw the same stats and only the values are new. [`builder::Builder`]
//! makes snapshots from answers; readers hold an `Arc` and never wait.
//!
//! Invariants: families are sorted by name and no name stands twice; no label block stands twice
//! in a family; series keep the order in which the target sent their stats; `buckets` of a
//! histogram do not fall.

pub mod builder;
mod layout;
mod names;

use std::ops::Range;
use std::sync::Arc;

use crate::family::FamilyType;
use crate::mapping::table::Unit;

pub use layout::{DropReason, Layout, Report};

/// One poll of one target.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) layout: Arc<Layout>,
    pub(crate) scalars: Vec<u64>,
    pub(crate) histograms: Histograms,
}

/// The values of histograms side by side: one count and sum each, as many buckets as bounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histograms {
    pub(crate) totals: Vec<(u64, f64)>,
    pub(crate) buckets: Vec<u64>,
}

/// A family of a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Family<'s> {
    snapshot: &'s Snapshot,
    info: &'s layout::FamilyInfo,
}

/// The value of a histogram series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HistogramValue<'s> {
    /// Number of samples.
    pub count: u64,
    /// Estimated sum of the samples.
    pub sum: f64,
    /// Upper bounds, rising, without `+Inf`.
    pub bounds: &'s [f64],
    /// The bounds as label values.
    pub le: &'s [Box<str>],
    /// Samples at or below each bound.
    pub buckets: &'s [u64],
}

impl Snapshot {
    /// The families, sorted by name.
    pub fn families(&self) -> impl ExactSizeIterator<Item = Family<'_>> {
        self.layout.families.iter().map(|info| Family {
            snapshot: self,
            info,
        })
    }

    /// The family at a place of the sorted list.
    pub fn family(&self, at: usize) -> Option<Family<'_>> {
        let info = self.layout.families.get(at)?;
        Some(Family {
            snapshot: self,
            info,
        })
    }

    /// How many series there are: a histogram counts as one.
    pub fn series(&self) -> usize {
        self.scalars.len() + self.histograms.totals.len()
    }

    /// What was counted while the layout was made.
    pub fn report(&self) -> &Report {
        &self.layout.report
    }
}

impl<'s> Family<'s> {
    /// Its name.
    pub fn name(&self) -> &'s str {
        &self.info.name
    }

    /// Its type.
    pub fn family_type(&self) -> FamilyType {
        self.info.family_type
    }

    /// Its HELP.
    pub fn help(&self) -> &'s str {
        &self.info.help
    }

    /// The table's unit for its values.
    pub fn unit(&self) -> Option<Unit> {
        self.info.unit
    }

    /// How many series it has.
    pub fn len(&self) -> usize {
        self.info.series.len()
    }

    /// Whether it has no series; such a family is never part of a layout.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Label block and value of the scalar series from the `skip`th on.
    pub fn scalars(&self, skip: usize) -> impl Iterator<Item = (&'s str, u64)> + use<'s> {
        let range = match self.info.family_type {
            FamilyType::Histogram => 0..0,
            _ => from(&self.info.series, skip),
        };
        let layout = &self.snapshot.layout;
        let labels = slice(&layout.scalar_labels, &range);
        let values = slice(&self.snapshot.scalars, &range);
        labels
            .iter()
            .zip(values)
            .map(|(block, value)| (layout.block(*block), *value))
    }

    /// Label block and value of the histogram series from the `skip`th on.
    pub fn histograms(
        &self,
        skip: usize,
    ) -> impl Iterator<Item = (&'s str, HistogramValue<'s>)> + use<'s> {
        let range = match self.info.family_type {
            FamilyType::Histogram => from(&self.info.series, skip),
            _ => 0..0,
        };
        let snapshot = self.snapshot;
        let layout = &snapshot.layout;
        let places = slice(&layout.histograms, &range);
        let totals = slice(&snapshot.histograms.totals, &range);
        places.iter().zip(totals).map(|(place, (count, sum))| {
            let bounds = layout.bounds(place.bounds);
            let start = place.first_bucket as usize;
            let value = HistogramValue {
                count: *count,
                sum: *sum,
                bounds,
                le: layout.le(place.bounds),
                buckets: slice(&snapshot.histograms.buckets, &(start..start + bounds.len())),
            };
            (layout.block(place.block), value)
        })
    }
}

fn from(range: &Range<usize>, skip: usize) -> Range<usize> {
    range.start.saturating_add(skip).min(range.end)..range.end
}

fn slice<'v, T>(values: &'v [T], range: &Range<usize>) -> &'v [T] {
    values.get(range.clone()).unwrap_or_default()
}
