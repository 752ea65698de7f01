//! The histograms that collectors found: what stands in each place of the layout.
//!
//! Their bins are the proxy's own kind but hold their upper ends, so that the counts at bounds of two
//! digits are exact, which all bounds of the shipped tables are. Sums are those of the samples.

use super::{Collected, Form};
use crate::histogram::native::{self, NativeHistogram};
use crate::histogram::{self, Bin, Generation, Maths, Scale};
use crate::snapshot::{Histograms, layout};

/// Samples in bins.
#[derive(Clone, Debug, Default)]
pub(super) struct Distribution {
    pub(super) bins: Vec<Bin>,
    pub(super) sum: f64,
}

/// A bin counts at a bound that its upper end does not pass.
const MATHS: Maths = Maths {
    generation: Generation::Legacy,
    scale: Scale::Plain,
};

impl Collected {
    /// Each histogram by the place of its series.
    fn placed(&self) -> Vec<(u32, &Distribution)> {
        let mut placed = Vec::new();
        for findings in &self.findings {
            let stats = findings.group.stats.iter();
            placed.extend(
                stats
                    .filter(|stat| stat.value.form == Form::Distribution)
                    .filter_map(|stat| {
                        let at = usize::try_from(stat.value.raw).ok()?;
                        Some((stat.slot()?, findings.distributions.get(at)?))
                    }),
            );
        }
        placed.sort_by_key(|(slot, _)| *slot);
        placed
    }

    pub(super) fn histograms(&self) -> Histograms {
        let places = &self.layout.histograms;
        let placed = self.placed();
        let mut values = Histograms {
            totals: vec![(0, 0.0); places.len()],
            buckets: vec![0; self.layout.bucket_count()],
            native: self.native(&placed),
            percentiles: Vec::new(),
        };
        let mut buckets = Vec::new();
        for (slot, distribution) in &placed {
            let at = *slot as usize;
            let Some(place) = places.get(at) else {
                continue;
            };
            let bounds = self.layout.bounds(place.bounds);
            let totals = histogram::buckets(&distribution.bins, bounds, MATHS, &mut buckets);
            // Several may be joined in one place.
            if let Some((count, sum)) = values.totals.get_mut(at) {
                *count = count.saturating_add(totals.count);
                *sum += distribution.sum;
            }
            let start = place.first_bucket as usize;
            let target = values.buckets.get_mut(start..start + bounds.len());
            for (target, count) in target.into_iter().flatten().zip(&buckets) {
                *target = target.saturating_add(*count);
            }
        }
        values
    }

    /// A native histogram for each place, also those of summaries.
    fn native(&self, placed: &[(u32, &Distribution)]) -> Vec<NativeHistogram> {
        if !self.settings.native_histograms {
            return Vec::new();
        }
        let mut made = Vec::with_capacity(self.layout.histograms.len());
        for family in &self.layout.families {
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
                let here = placed.iter().skip(start);
                let here = here.take_while(|(at, _)| *at == slot);
                let here = here.map(|(_, distribution)| *distribution);
                let parts: Vec<_> = here
                    .clone()
                    .map(|of| (of.bins.as_slice(), MATHS))
                    .collect();
                let sum = here.fold(0.0, |sum, of| sum + of.sum);
                let mut native = native::joined(&parts, &options, None);
                native.sum = family.factor.apply(sum);
                made.push(native);
            }
        }
        made
    }
}
