//! What readers may know of a layout without its values: for those that prepare something once for
//! all polls that share it.

use super::layout::{FamilyInfo, HistogramPlace, Layout, Parts, number};
use super::{Family, HistogramValue, Histograms, Number, Snapshot};
use crate::family::FamilyType;
use crate::histogram::native::{NativeHistogram, Span};
use crate::mapping::table::Unit;

/// A family of a layout.
#[derive(Clone, Copy, Debug)]
pub struct Outline<'l> {
    layout: &'l Layout,
    info: &'l FamilyInfo,
}

impl Layout {
    /// The label blocks that series share, by number.
    pub fn label_blocks(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.blocks.len()).map(|at| self.blocks.get(number(at)))
    }

    /// The families in the order of those of every snapshot with this layout.
    pub fn outlines(&self) -> impl ExactSizeIterator<Item = Outline<'_>> {
        let layout = self;
        self.families.iter().map(|info| Outline { layout, info })
    }

    /// About how many bytes of memory it takes.
    pub fn memory(&self) -> usize {
        let families = self.families.iter();
        let families: usize = families
            .map(|info| size_of_val(info) + info.name.len())
            .sum();
        self.blocks.memory()
            + families
            + size_of_val(self.scalar_labels.as_slice())
            + size_of_val(self.histograms.as_slice())
    }
}

impl<'l> Outline<'l> {
    /// Its name.
    pub fn name(&self) -> &'l str {
        &self.info.name
    }

    /// Its type.
    pub fn family_type(&self) -> FamilyType {
        self.info.family_type
    }

    /// Its HELP.
    pub fn help(&self) -> &'l str {
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

    /// The number of a series' label block.
    pub fn block(&self, series: usize) -> usize {
        let at = self.info.series.start + series;
        let block = if self.info.family_type.is_distribution() {
            self.layout.histograms.get(at).map(|place| place.block)
        } else {
            self.layout.scalar_labels.get(at).copied()
        };
        block.unwrap_or_default() as usize
    }

    /// The bounds of a histogram series as label values, without `+Inf`.
    pub fn le(&self, series: usize) -> &'l [Box<str>] {
        self.place(series)
            .map_or(&[], |place| self.layout.le(place.bounds))
    }

    /// What is written of a histogram series besides its buckets with a bound.
    pub fn parts(&self, series: usize) -> Parts {
        self.place(series).map_or(Parts::ALL, |place| place.parts)
    }

    fn place(&self, series: usize) -> Option<&'l HistogramPlace> {
        self.layout.histograms.get(self.info.series.start + series)
    }
}

impl Snapshot {
    /// About how many bytes of memory it takes besides its layout.
    pub fn memory(&self) -> usize {
        size_of_val(self.scalars.as_slice()) + self.histograms.memory()
    }
}

impl Histograms {
    fn memory(&self) -> usize {
        let percentiles = self.percentiles.iter();
        size_of_val(self.totals.as_slice())
            + size_of_val(self.buckets.as_slice())
            + self.native.iter().map(memory_of).sum::<usize>()
            + percentiles
                .map(|values| size_of_val(values) + size_of_val(&**values))
                .sum::<usize>()
    }
}

fn memory_of(native: &NativeHistogram) -> usize {
    let sides = [&native.positive, &native.negative];
    let side = |side: &&crate::histogram::native::Side| {
        side.spans.capacity() * size_of::<Span>() + side.deltas.capacity() * size_of::<i64>()
    };
    size_of_val(native) + sides.iter().map(side).sum::<usize>()
}

impl<'s> Family<'s> {
    /// The value of a scalar series.
    pub fn scalar(&self, series: usize) -> Option<Number> {
        let at = self.info.series.start + series;
        Some(Number {
            raw: *self.snapshot.scalars.get(at)?,
            double: self.info.double,
            factor: self.info.factor,
            over: self.snapshot.layout.averaged(at),
        })
    }

    /// The value of a histogram series.
    pub fn histogram(&self, series: usize) -> Option<HistogramValue<'s>> {
        self.histograms(series).next().map(|(_, value)| value)
    }
}
