//! The snapshot: the families and series of one poll of one target, immutable and shared.
//!
//! A snapshot is a [`Layout`] (families, label blocks, which series stands where) and arrays of
//! values beside it. Between two polls of a proxy hardly any stat comes or goes, so the layout is
//! shared by all polls that saw the same stats and only the values are new. [`builder::Builder`]
//! makes snapshots from answers; readers hold an `Arc` and never wait.
//!
//! What collectors ask for besides the stats becomes a second snapshot of the target
//! ([`builder::collected::Collected`]), laid out so that no series and no name is in both.
//!
//! Invariants: families are sorted by name and no name stands twice; no label block stands twice
//! in a family; series keep the order in which the target sent their stats; `buckets` of a
//! histogram do not fall.

mod assembly;
pub mod builder;
mod layout;
mod names;
mod outline;
mod report;

use std::ops::Range;
use std::sync::Arc;

use crate::family::{Factor, FamilyType};
use crate::histogram::native::NativeHistogram;
use crate::mapping::table::Unit;

pub use assembly::{Amount, Distribution, MadeFamily, MadeSeries};
pub use builder::{Beginning, Start};
pub use layout::{Layout, Parts};
pub use outline::Outline;
pub use report::{DropReason, Limits, Names, Report, Undescribed};

/// One poll of one target.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) layout: Arc<Layout>,
    pub(crate) scalars: Vec<u64>,
    pub(crate) histograms: Histograms,
    /// What began anew since the poll before.
    pub(crate) beginning: Option<Beginning>,
    /// Since when stats count, where that is known.
    pub(crate) start: Option<Start>,
    /// Whether that is wanted in expositions.
    pub(crate) shows_start: bool,
}

/// The values of histograms side by side: one count and sum each, as many buckets as bounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histograms {
    pub(crate) totals: Vec<(u64, f64)>,
    pub(crate) buckets: Vec<u64>,
    /// The same as native histograms; none unless they are wanted.
    pub(crate) native: Vec<NativeHistogram>,
    /// Envoy's own percentiles, of each place; none unless summaries are wanted.
    pub(crate) percentiles: Vec<Box<[(f64, f64)]>>,
}

/// A family of a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Family<'s> {
    snapshot: &'s Snapshot,
    info: &'s layout::FamilyInfo,
}

/// The value of a scalar series: `raw`, times and over the factor's parts, over `over`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// As Envoy said it, or the sum of what it said.
    pub raw: u64,
    /// Whether `raw` holds the bits of a double.
    pub double: bool,
    /// What leads to the unit that is shown.
    pub factor: Factor,
    /// How many stats a mean is taken of, else 1.
    pub over: u32,
}

impl Number {
    /// A number that is shown as it is.
    pub const fn whole(raw: u64) -> Self {
        Self {
            raw,
            double: false,
            factor: Factor::ONE,
            over: 1,
        }
    }

    /// The nearest double.
    #[expect(clippy::cast_precision_loss, reason = "a double is what is asked for")]
    pub fn as_f64(self) -> f64 {
        if self.double {
            return self.factor.apply(f64::from_bits(self.raw)) / f64::from(self.over);
        }
        let times = u128::from(self.raw) * u128::from(self.factor.mul);
        let over = u64::from(self.factor.div) * u64::from(self.over);
        times as f64 / over as f64
    }
}

/// The value of a histogram series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HistogramValue<'s> {
    /// Number of samples.
    pub count: u64,
    /// Estimated sum of the samples.
    pub sum: f64,
    /// Which samples are written besides the buckets below.
    pub parts: Parts,
    /// Upper bounds, rising, without `+Inf`.
    pub bounds: &'s [f64],
    /// The bounds as label values.
    pub le: &'s [Box<str>],
    /// Samples at or below each bound.
    pub buckets: &'s [u64],
    /// The same as a native histogram, where those are made.
    pub native: Option<&'s NativeHistogram>,
    /// Percents and values of a summary, in Envoy's unit.
    pub percentiles: &'s [(f64, f64)],
    /// What leads to the unit that is shown.
    pub factor: Factor,
}

impl HistogramValue<'_> {
    /// Quantiles from 0 to 1 and their values, in the unit that is shown.
    pub fn quantiles(&self) -> impl Iterator<Item = (f64, f64)> {
        let factor = self.factor;
        let percentiles = self.percentiles.iter();
        // So that 99.9 percent are 0.999, which a plain division misses by a bit.
        let quantile = |percent: f64| (percent * 1e6).round() / 1e8;
        percentiles.map(move |(percent, value)| (quantile(*percent), factor.apply(*value)))
    }
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

    /// Its families and series, without their values.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Whether there is a family of this name.
    pub fn has(&self, name: &str) -> bool {
        let families = &self.layout.families;
        families
            .binary_search_by(|family| (*family.name).cmp(name))
            .is_ok()
    }

    /// The family of this name.
    pub fn named(&self, name: &str) -> Option<Family<'_>> {
        let families = &self.layout.families;
        let at = families.binary_search_by(|family| (*family.name).cmp(name));
        self.family(at.ok()?)
    }

    /// How many series there are: a histogram counts as one.
    pub fn series(&self) -> usize {
        self.scalars.len() + self.histograms.totals.len()
    }

    /// Families with their number of series, the largest first.
    pub fn largest(&self) -> Vec<(usize, &str)> {
        let families = self.layout.families.iter();
        let mut sizes: Vec<_> = families
            .map(|info| (info.series.len(), &*info.name))
            .collect();
        sizes.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        sizes
    }

    /// What of the target began anew since the poll before.
    pub fn beginning(&self) -> Option<Beginning> {
        self.beginning
    }

    /// Since when its stats count, where that is known.
    pub fn start(&self) -> Option<Start> {
        self.start
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

    /// Since when its series count, in seconds since 1970, where that is known and wanted.
    pub fn started(&self) -> Option<f64> {
        let start = self.snapshot.start.filter(|_| self.snapshot.shows_start)?;
        Some(if self.info.family_type.is_distribution() {
            start.histograms
        } else {
            start.counters
        })
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
    pub fn scalars(&self, skip: usize) -> impl Iterator<Item = (&'s str, Number)> + use<'s> {
        let range = match self.info.family_type {
            FamilyType::Histogram | FamilyType::Summary => 0..0,
            _ => from(&self.info.series, skip),
        };
        let layout = &self.snapshot.layout;
        let labels = slice(&layout.scalar_labels, &range);
        let values = slice(&self.snapshot.scalars, &range);
        let (factor, double) = (self.info.factor, self.info.double);
        (range.start..)
            .zip(labels.iter().zip(values))
            .map(move |(at, (block, value))| {
                let number = Number {
                    raw: *value,
                    double,
                    factor,
                    over: layout.averaged(at),
                };
                (layout.block(*block), number)
            })
    }

    /// Label block and value of the histogram series from the `skip`th on.
    pub fn histograms(
        &self,
        skip: usize,
    ) -> impl Iterator<Item = (&'s str, HistogramValue<'s>)> + use<'s> {
        let range = match self.info.family_type {
            FamilyType::Histogram | FamilyType::Summary => from(&self.info.series, skip),
            _ => 0..0,
        };
        let snapshot = self.snapshot;
        let layout = &snapshot.layout;
        let places = slice(&layout.histograms, &range);
        let totals = slice(&snapshot.histograms.totals, &range);
        let factor = self.info.factor;
        let percentiles = slice(&snapshot.histograms.percentiles, &range);
        let percentiles = percentiles.iter().map(|values| &**values);
        let percentiles = percentiles.chain(std::iter::repeat(&[][..]));
        let native = snapshot.histograms.native.get(range);
        let native = native.unwrap_or_default().iter().map(Some);
        let native = native.chain(std::iter::repeat(None));
        let series = places.iter().zip(totals).zip(native).zip(percentiles);
        series.map(move |(((place, (count, sum)), native), percentiles)| {
            let bounds = layout.bounds(place.bounds);
            let start = place.first_bucket as usize;
            let value = HistogramValue {
                count: *count,
                sum: factor.apply(*sum),
                bounds: layout.shown_bounds(place.bounds),
                parts: place.parts,
                le: layout.le(place.bounds),
                buckets: slice(&snapshot.histograms.buckets, &(start..start + bounds.len())),
                native,
                percentiles,
                factor,
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
