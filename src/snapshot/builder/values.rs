//! The values of a snapshot: the numbers of each stat in the place that the layout gives it, and what
//! is counted from the bins of histograms. Runs with every poll.

use super::super::Histograms;
use super::super::layout::{self, HistogramPlace, Layout};
use super::{Builder, Stat};
use crate::family::Factor;
use crate::histogram::native::{self, NativeHistogram};
use crate::histogram::{self, Generation, Maths};
use crate::mapping::table::Join;

impl Histograms {
    /// Adds count, sum and buckets to what stands in a place: several may be joined there.
    pub(super) fn add(
        &mut self,
        at: usize,
        place: &HistogramPlace,
        (more, more_sum): (u64, f64),
        buckets: &[u64],
    ) {
        if let Some((count, sum)) = self.totals.get_mut(at) {
            *count = count.saturating_add(more);
            *sum += more_sum;
        }
        let start = place.first_bucket as usize;
        let target = self.buckets.get_mut(start..start + buckets.len());
        for (target, count) in target.into_iter().flatten().zip(buckets) {
            *target = target.saturating_add(*count);
        }
    }
}

/// A native histogram for each place, also those of summaries, made of what is joined there. What is
/// placed is sorted by its place.
pub(super) fn natives<T>(
    layout: &Layout,
    placed: &[(u32, T)],
    mut joined: impl FnMut(&[(u32, T)], Factor, &native::Options) -> NativeHistogram,
) -> Vec<NativeHistogram> {
    let mut made = Vec::with_capacity(layout.histograms.len());
    for family in &layout.families {
        if !family.family_type.is_distribution() {
            continue;
        }
        let options = native::Options {
            mul: f64::from(family.factor.mul),
            div: f64::from(family.factor.div),
            ..native::Options::default()
        };
        for slot in family.series.clone().map(layout::number) {
            let start = placed.partition_point(|(at, _)| *at < slot);
            let (_, from) = placed.split_at(start);
            let (here, _) = from.split_at(from.partition_point(|(at, _)| *at == slot));
            made.push(joined(here, family.factor, &options));
        }
    }
    made
}

impl Builder {
    pub(super) fn scalars(&self) -> Vec<u64> {
        let mut values = vec![0; self.layout.scalar_labels.len()];
        let stats = self.numbers.iter().flat_map(|group| &group.stats);
        let placed = stats.filter_map(|stat| Some((stat.slot()?, stat.value)));
        if self.layout.joined.is_empty() {
            for (slot, value) in placed {
                if let Some(place) = values.get_mut(slot as usize) {
                    *place = value;
                }
            }
        } else {
            self.join(placed, &mut values);
        }
        let number = self.settings.mapping.text_number();
        for slot in self.texts.stats.iter().filter_map(Stat::slot) {
            if let Some(place) = values.get_mut(slot as usize) {
                *place = number;
            }
        }
        values
    }

    /// Puts numbers in their places, several of which may be in one. The mean is taken where it is
    /// shown: there stands the sum.
    fn join(&self, placed: impl Iterator<Item = (u32, u64)>, values: &mut [u64]) {
        let mut begun = vec![false; values.len()];
        for (slot, value) in placed {
            let at = slot as usize;
            let (Some(place), Some(begun)) = (values.get_mut(at), begun.get_mut(at)) else {
                continue;
            };
            *place = match self.layout.joined.get(&slot).map(|joined| joined.join) {
                Some(Join::Sum | Join::Average) if *begun => place.saturating_add(value),
                Some(Join::Max) if *begun => value.max(*place),
                Some(Join::Min) if *begun => value.min(*place),
                _ => value,
            };
            *begun = true;
        }
    }

    /// A native histogram for each place, also those of summaries, of the bins of every stat that is
    /// joined there.
    fn native_histograms(&self) -> Vec<NativeHistogram> {
        if !self.settings.native_histograms {
            return Vec::new();
        }
        let stats = &self.histograms.stats;
        let mut placed: Vec<_> = stats
            .iter()
            .filter_map(|stat| Some((stat.slot()?, &stat.value)))
            .collect();
        placed.sort_by_key(|(slot, _)| *slot);
        let generation = self.generation.unwrap_or(Generation::Current);
        let mut parts = Vec::new();
        natives(&self.layout, &placed, |here, _, options| {
            parts.clear();
            parts.extend(here.iter().map(|(_, value)| {
                let scale = value.scale;
                (value.bins.as_slice(), Maths { generation, scale })
            }));
            native::joined(&parts, options, None)
        })
    }

    /// The percentiles of each place, where any summary is wanted. None are joined there.
    fn percentiles(&self) -> Vec<Box<[(f64, f64)]>> {
        if !self.settings.mapping.rules().has_summaries() {
            return Vec::new();
        }
        let mut made: Vec<Box<[_]>> = vec![Box::default(); self.layout.histograms.len()];
        for stat in &self.histograms.stats {
            if let Some(place) = stat.slot().and_then(|slot| made.get_mut(slot as usize)) {
                place.clone_from(&stat.value.percentiles);
            }
        }
        made
    }

    pub(super) fn distributions(&self) -> Histograms {
        let places = &self.layout.histograms;
        let mut values = Histograms {
            totals: vec![(0, 0.0); places.len()],
            buckets: vec![0; self.layout.bucket_count()],
            native: self.native_histograms(),
            percentiles: self.percentiles(),
        };
        let generation = self.generation.unwrap_or(Generation::Current);
        let mut buckets = Vec::new();
        for stat in &self.histograms.stats {
            let Some(slot) = stat.slot().map(|slot| slot as usize) else {
                continue;
            };
            let Some(place) = places.get(slot) else {
                continue;
            };
            if stat.value.bins.is_empty() {
                continue;
            }
            let bounds = self.layout.bounds(place.bounds);
            let maths = Maths {
                generation,
                scale: stat.value.scale,
            };
            let totals = histogram::buckets(&stat.value.bins, bounds, maths, &mut buckets);
            values.add(slot, place, (totals.count, totals.sum), &buckets);
        }
        values
    }
}
