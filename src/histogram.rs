//! Envoy's histograms: log-linear bins in, count, sum and cumulative buckets out.
//!
//! A bin covers a tenth of a power of ten: 90 bins for each decade of positive numbers, as many of
//! negative ones, and one for zero. Samples are whole numbers; JSON shows for each bin its end
//! nearest to zero, its width and its count. Nothing here compares those decimals: a bin is first
//! brought back to the two whole numbers that it is made of.
//!
//! Envoy changed its maths between 1.37 and 1.38 ([`Generation`]), so that the same samples give
//! other buckets and sums. Which one made a histogram shows in its percentiles ([`recognize`]).
//! The sum is an estimate from the middles of bins in both, within some 5 % of a sample.

pub mod native;
pub mod whole;

/// Bounds that Envoy gives a histogram unless configured otherwise.
pub const DEFAULT_BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Fixed point of Envoy's percent unit.
const PERCENT: f64 = 1e6;

/// A bin as JSON shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// The end nearest to zero.
    pub lower_bound: f64,
    /// Its width; 0 for the bin of zero.
    pub width: f64,
    /// Samples in it.
    pub count: u64,
}

/// Which of Envoy's two ways of computing made a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// Up to 1.37: a bin counts at a bound that its upper edge does not pass; its middle stands
    /// for its samples.
    Legacy,
    /// From 1.38: a bin counts at a bound that lies in it or above it; the harmonic mean of its
    /// edges stands for its samples.
    Current,
}

impl Generation {
    /// The generation of a version as `/server_info` has it:
    /// `c0ffee/1.40.0/Clean/RELEASE/BoringSSL`.
    pub fn of_version(version: &str) -> Option<Self> {
        let number = version.split('/').nth(1)?;
        let mut parts = number.split(['.', '-']).map(str::parse::<u32>);
        let (major, minor) = (parts.next()?.ok()?, parts.next()?.ok()?);
        Some(if (major, minor) < (1, 38) {
            Self::Legacy
        } else {
            Self::Current
        })
    }
}

/// The unit in which Envoy keeps a histogram's samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// As they are.
    #[default]
    Plain,
    /// Percent, times a million.
    Percent,
}

/// How a histogram is to be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maths {
    /// Which of the two ways.
    pub generation: Generation,
    /// The unit of its samples.
    pub scale: Scale,
}

impl Maths {
    /// What divides a sample as it is kept, and by how many powers of ten JSON shows a bin smaller
    /// than it is kept: the current maths shows percent bins in percent, the legacy one as kept.
    fn scaling(self) -> (f64, i32) {
        match (self.scale, self.generation) {
            (Scale::Plain, _) => (1.0, 0),
            (Scale::Percent, Generation::Legacy) => (PERCENT, 0),
            (Scale::Percent, Generation::Current) => (PERCENT, 6),
        }
    }
}

/// What a histogram's data tells of its maths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recognized {
    /// Nothing when nothing in the data tells: no samples but zeros, or no percentiles.
    pub generation: Option<Generation>,
    /// Plain when nothing tells.
    pub scale: Scale,
}

/// Count and sum of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Totals {
    /// Number of samples, which is also the bucket `+Inf`.
    pub count: u64,
    /// Estimated sum of the samples.
    pub sum: f64,
}

/// The two whole numbers that a bin is made of: it starts at `digits / 10 * 10^power`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    digits: i64,
    power: i32,
}

impl Place {
    /// Of a bin; what is none of Envoy's is brought within the range of those.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "both are small: digits below 100, powers within a double's range"
    )]
    fn of(bin: &Bin, shift: i32) -> Self {
        if bin.width == 0.0 || !bin.width.is_finite() {
            return Self {
                digits: 0,
                power: 0,
            };
        }
        Self {
            digits: (bin.lower_bound / bin.width).round().clamp(-99.0, 99.0) as i64,
            power: bin.width.log10().round() as i32 + 1 + shift,
        }
    }

    /// The bin that holds a number.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "both are small: digits below 101, powers within a double's range"
    )]
    fn holding(number: f64) -> Self {
        if number == 0.0 {
            return Self {
                digits: 0,
                power: 0,
            };
        }
        let power = number.abs().log10().floor() as i32;
        // The margin is Envoy's own: it keeps 0.3 in the bin of 30 and not of 29.
        let digits = (number.abs() / ten_to(power) * 10.0 + 1e-13).floor() as i64;
        let (digits, power) = if digits >= 100 {
            (10, power + 1)
        } else {
            (digits, power)
        };
        Self {
            digits: if number < 0.0 { -digits } else { digits },
            power,
        }
    }

    /// Its place on the number line, relative to other bins.
    fn rank(self) -> i64 {
        // Powers stay far within +-1000, so that a larger power always ranks above.
        let size = (i64::from(self.power) + 1000) * 100 + self.digits.abs();
        size * self.digits.signum()
    }

    /// The end nearest to zero.
    #[expect(clippy::cast_precision_loss, reason = "two digits")]
    fn near(self) -> f64 {
        self.digits as f64 / 10.0 * ten_to(self.power)
    }

    /// The other end less the near one.
    fn width(self) -> f64 {
        let width = ten_to(self.power) / 10.0;
        if self.digits < 0 { -width } else { width }
    }

    /// What stands for a sample of the bin. The order of the operations is Envoy's, so that all
    /// digits of a sum come out the same.
    fn middle(self, generation: Generation) -> f64 {
        if self.digits == 0 {
            return 0.0;
        }
        let (near, width) = (self.near(), self.width());
        match generation {
            Generation::Legacy => near + width / 2.0,
            Generation::Current => {
                let far = near + width;
                near + width * (near / (near + far))
            }
        }
    }

    /// Whether the bin's samples count at a bound.
    fn counts_at(self, bound: f64, generation: Generation) -> bool {
        match generation {
            // The end nearest to zero is a negative bin's upper edge.
            Generation::Legacy if self.digits <= 0 => self.near() <= bound,
            Generation::Legacy => self.near() + self.width() <= bound,
            Generation::Current => self.rank() <= Self::holding(bound).rank(),
        }
    }
}

/// Writes the cumulative count at each bound (rising, without `+Inf`) to `out`, which is cleared.
///
/// A count that would pass 2^64-1 stays there. A bound that is no number counts nothing.
pub fn buckets(bins: &[Bin], bounds: &[f64], maths: Maths, out: &mut Vec<u64>) -> Totals {
    let generation = maths.generation;
    let (factor, shift) = maths.scaling();
    out.clear();
    out.resize(bounds.len(), 0);
    let mut totals = Totals { count: 0, sum: 0.0 };
    for bin in bins {
        let place = Place::of(bin, shift);
        #[expect(clippy::cast_precision_loss, reason = "as Envoy computes it")]
        let weight = bin.count as f64;
        totals.sum += place.middle(generation) * weight;
        totals.count = totals.count.saturating_add(bin.count);
        let counts = |bound: &f64| place.counts_at(*bound * factor, generation);
        let first = bounds.iter().position(counts).unwrap_or(bounds.len());
        for count in out.iter_mut().skip(first) {
            *count = count.saturating_add(bin.count);
        }
    }
    totals.sum /= factor;
    totals
}

/// What the data of one histogram tells of its maths; `known` is what another one of the same
/// answer told.
pub fn recognize(
    bins: &[Bin],
    percentiles: &[(f64, Option<f64>)],
    known: Option<Generation>,
) -> Recognized {
    let scaled = bins.iter().any(is_scaled);
    let shown = if scaled { Scale::Percent } else { Scale::Plain };
    if scaled || known == Some(Generation::Current) {
        // Only the current maths shows scaled bins.
        return Recognized {
            generation: known.or(Some(Generation::Current)),
            scale: shown,
        };
    }
    recognize_by_maximum(bins, percentiles).unwrap_or(Recognized {
        generation: known,
        scale: shown,
    })
}

/// Whether a width was multiplied by a millionth: it is then smaller than any bin of whole numbers
/// or misses the power of ten by a rounding.
#[expect(clippy::float_cmp, reason = "the rounding is what tells")]
fn is_scaled(bin: &Bin) -> bool {
    bin.width != 0.0 && {
        let place = Place::of(bin, 0);
        place.power < 0 || bin.width != ten_to(place.power) / 10.0
    }
}

/// The 100th percentile lies in the highest bin: at its end in the legacy maths, short of it in the
/// current one.
fn recognize_by_maximum(bins: &[Bin], percentiles: &[(f64, Option<f64>)]) -> Option<Recognized> {
    let maximum = percentiles
        .iter()
        .find(|(percent, _)| *percent >= 100.0)
        .and_then(|(_, value)| *value)?;
    let used = bins.iter().filter(|bin| bin.count > 0);
    let highest = used.max_by_key(|bin| Place::of(bin, 0).rank())?;
    let place = Place::of(highest, 0);
    if place.digits <= 0 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a ratio near 1")]
    let inside = highest.count as f64 / (highest.count as f64 + 1.0);
    let candidates = [
        (Generation::Legacy, Scale::Plain, 1.0, 1.0),
        (Generation::Legacy, Scale::Percent, 1.0, PERCENT),
        (Generation::Current, Scale::Plain, inside, 1.0),
    ];
    let distance = |part: f64, factor: f64| {
        let expected = (place.near() + place.width() * part) / factor;
        (maximum - expected).abs() / (place.width() / factor)
    };
    let mut best: Option<(f64, Recognized)> = None;
    for (generation, scale, part, factor) in candidates {
        let far = distance(part, factor);
        if best.is_none_or(|(least, _)| far < least) {
            let found = Recognized {
                generation: Some(generation),
                scale,
            };
            best = Some((far, found));
        }
    }
    // Both rules come within a hundredth of a bin of each other above a hundred samples; the right
    // one is met to the last digits.
    best.filter(|(least, _)| *least < (1.0 - inside) / 4.0)
        .map(|(_, found)| found)
}

fn ten_to(power: i32) -> f64 {
    10_f64.powi(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bin of a whole number, as JSON shows it.
    fn bin(sample: f64, count: u64) -> Bin {
        if sample == 0.0 {
            return Bin {
                lower_bound: 0.0,
                width: 0.0,
                count,
            };
        }
        let place = Place::holding(sample);
        Bin {
            lower_bound: place.near(),
            width: place.width().abs(),
            count,
        }
    }

    const LEGACY: Maths = Maths {
        generation: Generation::Legacy,
        scale: Scale::Plain,
    };
    const CURRENT: Maths = Maths {
        generation: Generation::Current,
        scale: Scale::Plain,
    };

    #[track_caller]
    fn check(samples: &[f64], bound: f64, legacy: u64, current: u64) {
        let bins: Vec<_> = samples.iter().map(|sample| bin(*sample, 1)).collect();
        for (maths, want) in [(LEGACY, legacy), (CURRENT, current)] {
            let mut out = Vec::new();
            buckets(&bins, &[bound], maths, &mut out);
            assert_eq!(out, [want], "{samples:?} at {bound}, {maths:?}");
        }
    }

    #[test]
    fn a_bound_counts_what_envoy_counts() {
        check(&[1.0], 1.0, 0, 1);
        check(&[5.0], 5.0, 0, 1);
        check(&[5.0], 10.0, 1, 1);
        check(&[99.0], 100.0, 1, 1);
        check(&[100.0], 100.0, 0, 1);
        check(&[250.0, 259.0, 260.0], 250.0, 0, 2);
        check(&[1000.0, 1099.0, 1100.0], 1000.0, 0, 2);
        check(&[0.0], 0.0, 1, 1);
        check(&[0.0], 0.5, 1, 1);
        check(&[33.0, 34.0], 33.25, 0, 1);
        check(&[-5.0], 0.5, 1, 1);
        check(&[-5.0], -10.0, 0, 0);
        check(&[1.0], f64::NAN, 0, 0);
    }

    #[test]
    fn bounds_fall_into_bins() {
        for (number, digits, power) in [
            (0.5, 50, -1),
            (33.25, 33, 1),
            (0.3, 30, -1),
            (1.0, 10, 0),
            (1000.0, 10, 3),
            (3_600_000.0, 36, 6),
            (-9.2e18, -92, 18),
        ] {
            assert_eq!(Place::holding(number), Place { digits, power }, "{number}");
        }
    }

    #[test]
    fn the_sum_is_envoys() {
        let mut out = Vec::new();
        let totals = buckets(&[bin(1.0, 1)], &[], CURRENT, &mut out);
        assert_eq!(totals.sum.to_string(), "1.0476190476190477");
        let totals = buckets(&[bin(1.0, 2), bin(0.0, 9)], &[], LEGACY, &mut out);
        assert_eq!(
            totals,
            Totals {
                count: 11,
                sum: 2.1
            }
        );
    }

    #[test]
    fn the_highest_percentile_tells_the_generation() {
        let of = |maximum: f64| recognize(&[bin(5.0, 1)], &[(100.0, Some(maximum))], None);
        assert_eq!(of(5.1).generation, Some(Generation::Legacy));
        assert_eq!(of(5.05).generation, Some(Generation::Current));
        assert_eq!(of(7.0).generation, None);
        let zeros = recognize(&[bin(0.0, 3)], &[(100.0, Some(0.0))], None);
        assert_eq!(zeros.generation, None);
        let empty = recognize(&[], &[(100.0, None)], Some(Generation::Legacy));
        assert_eq!(empty.generation, Some(Generation::Legacy));
    }

    #[test]
    fn bins_as_no_envoy_makes_them() {
        let numbers = [0.0, 1.0, -1.0, 1e-300, 1e300, -1e300, 5e-324, f64::MAX];
        let bins: Vec<Bin> = numbers
            .iter()
            .flat_map(|lower_bound| numbers.map(|width| (*lower_bound, width)))
            .map(|(lower_bound, width)| Bin {
                lower_bound,
                width,
                count: u64::MAX,
            })
            .collect();
        let mut out = Vec::new();
        for maths in [CURRENT, LEGACY] {
            let totals = buckets(&bins, &DEFAULT_BOUNDS, maths, &mut out);
            assert_eq!(totals.count, u64::MAX);
            assert!(out.is_sorted());
        }
    }

    #[test]
    fn percent_bins_show_their_scale() {
        let scaled = Bin {
            lower_bound: 5.0,
            width: 1e5 * 1e-6,
            count: 1,
        };
        let found = recognize(&[scaled], &[], None);
        assert_eq!(found.scale, Scale::Percent);
        assert_eq!(found.generation, Some(Generation::Current));
        let kept = bin(5_000_000.0, 1);
        let found = recognize(&[kept], &[(100.0, Some(5.1))], None);
        assert_eq!(found.scale, Scale::Percent);
        assert_eq!(found.generation, Some(Generation::Legacy));
    }

    #[test]
    fn versions() {
        for (version, want) in [
            (
                "c0ffee/1.40.0/Clean/RELEASE/BoringSSL",
                Some(Generation::Current),
            ),
            (
                "c0ffee/1.38.0-dev/Modified/DEBUG/BoringSSL",
                Some(Generation::Current),
            ),
            (
                "c0ffee/1.37.2/Clean/RELEASE/BoringSSL",
                Some(Generation::Legacy),
            ),
            (
                "c0ffee/2.0.0/Clean/RELEASE/BoringSSL",
                Some(Generation::Current),
            ),
            ("1.40.0", None),
            ("", None),
        ] {
            assert_eq!(Generation::of_version(version), want, "{version:?}");
        }
    }
}
