//! The histograms that collectors found: what stands in each place of the layout.
//!
//! Their sums are exact, as are their counts at the bounds that the shipped tables have.

use super::{Collected, Form};
use crate::histogram::native::{self, NativeHistogram};
use crate::histogram::whole::Counted;
use crate::histogram::{Generation, Maths, Scale};
use crate::snapshot::Histograms;
use crate::snapshot::builder::values::natives;

/// By which the bins of a native histogram are taken; its sum is not made of them.
const MATHS: Maths = Maths {
    generation: Generation::Current,
    scale: Scale::Plain,
};

impl Collected {
    /// Each histogram by the place of its series.
    fn by_place(&self) -> Vec<(u32, &Counted)> {
        let mut found = Vec::new();
        for findings in &self.findings {
            let stats = findings.group.stats.iter();
            found.extend(
                stats
                    .filter(|stat| stat.value.form == Form::Distribution)
                    .filter_map(|stat| {
                        let at = usize::try_from(stat.value.raw).ok()?;
                        Some((stat.slot()?, findings.distributions.get(at)?))
                    }),
            );
        }
        found.sort_by_key(|(slot, _)| *slot);
        found
    }

    pub(super) fn histograms(&self) -> Histograms {
        let places = &self.layout.histograms;
        let found = self.by_place();
        let mut values = Histograms {
            totals: vec![(0, 0.0); places.len()],
            buckets: vec![0; self.layout.bucket_count()],
            native: self.native(&found),
            percentiles: Vec::new(),
        };
        let mut buckets = Vec::new();
        for (slot, counted) in &found {
            let at = *slot as usize;
            let Some(place) = places.get(at) else {
                continue;
            };
            let bounds = self.layout.bounds(place.bounds);
            let total = counted.buckets(bounds, &mut buckets);
            values.add(at, place, (total, counted.sum), &buckets);
        }
        values
    }

    /// A native histogram for each place, also those of summaries.
    fn native(&self, placed: &[(u32, &Counted)]) -> Vec<NativeHistogram> {
        if !self.settings.native_histograms {
            return Vec::new();
        }
        natives(&self.layout, placed, |here, factor, options| {
            let here = here.iter().map(|(_, of)| of);
            let bins: Vec<_> = here.clone().map(|of| of.as_bins()).collect();
            let parts: Vec<_> = bins.iter().map(|bins| (bins.as_slice(), MATHS)).collect();
            let mut native = native::joined(&parts, options, None);
            native.sum = factor.apply(here.fold(0.0, |sum, of| sum + of.sum));
            native
        })
    }
}
