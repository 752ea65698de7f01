//! Prometheus native histograms out of Envoy's bins.
//!
//! Bins come in; sparse exponential buckets go out, as `io.prometheus.client.Histogram` encodes
//! them: spans of indices and deltas of whole counts. Bucket `i` of schema `s` holds what lies in
//! `(2^((i-1)/2^s), 2^(i/2^s)]`, the negative side mirrored, and around zero there is one more.
//!
//! A bin goes as a whole into the bucket of its middle. No count is split or rounded, so that the
//! counts of all buckets add up to the count of all bins, and a bucket only grows while bins only
//! grow, which is what Prometheus takes for "no counter reset". Shares of a bin would break that
//! (rounded to the largest remainder, one more sample can take one away from a share), and make
//! more buckets of what Envoy itself does not know.
//!
//! The price is a quantile's distance from Envoy's percentile of the same samples. Both lie in or
//! at the same bin, whose middle is within 1/21 of any number in it, and in a bucket that begins
//! and ends within `growth = 2^(2^-schema)` of that middle. So `histogram_quantile` is off by at
//! most `growth * 22/21 - 1` of Envoy's percentile, 5.4 % in [`FINEST`], however Prometheus
//! interpolates. A rank that falls between two bins is the exception: either bin is right then,
//! and Envoy takes the lower one, Prometheus 3 the higher one from the median up.

use std::f64::consts::SQRT_2;
use std::str::FromStr;

use serde::Deserialize;

use super::{Bin, Generation, Maths, Place, buckets};

#[cfg(test)]
mod tests;

/// The finest schema of use.
///
/// Middles of neighboring bins are at least 1.0101 apart, as those of 98 and 99 are. A bucket of
/// this schema grows by 1.0054, so that each bin has one for itself and keeps it; the next coarser
/// one grows by 1.0109 and loses bins, the next finer one has no more bins to tell apart. What is
/// left of the error is the width of Envoy's bins.
pub const FINEST: i32 = 7;

/// The coarsest schema of Prometheus.
pub const COARSEST: i32 = -4;

/// `2^(1/2^s)` of schemas 1 to [`FINEST`]. The first is the double below the square root of two:
/// the products have to be the bounds that Prometheus has in its table, to the last bit.
const ROOTS: [f64; 7] = [
    SQRT_2.next_down(),
    1.189_207_115_002_721,
    1.090_507_732_665_257_7,
    1.044_273_782_427_413_8,
    1.021_897_148_654_116_6,
    1.010_889_286_051_700_5,
    1.005_429_901_112_802_7,
];

/// In which form histograms are exposed, where a format has both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// With classic buckets.
    #[default]
    Classic,
    /// As native histograms.
    Native,
    /// With both kinds of buckets.
    Both,
}

impl FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "classic" => Ok(Self::Classic),
            "native" => Ok(Self::Native),
            "both" => Ok(Self::Both),
            _ => Err(format!("'{text}' is none of classic, native and both")),
        }
    }
}

/// How a native histogram is to be made.
///
/// All of it is to stay as it is while a series lives: another unit or threshold moves counts,
/// a higher limit refines the schema, and Prometheus takes either for a counter reset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Multiplies a sample on its way to the exposed unit.
    pub mul: f64,
    /// Divides it: 1000 for milliseconds to seconds.
    pub div: f64,
    /// How many buckets there may be, that of zero not counted. Samples of 64 bits need at least
    /// 12 in [`COARSEST`], so that a lower limit may be passed.
    pub max_buckets: usize,
    /// What is no further from zero, in the exposed unit, counts as zero.
    pub zero_threshold: f64,
}

impl Default for Options {
    /// Samples as they are, the bucket limit of OpenTelemetry's SDKs, and the threshold of
    /// Prometheus' Go client: 2^-128, a bound in every schema.
    fn default() -> Self {
        Self {
            mul: 1.0,
            div: 1.0,
            max_buckets: 160,
            zero_threshold: 2_f64.powi(-128),
        }
    }
}

/// A native histogram of whole counts.
#[derive(Clone, Debug, PartialEq)]
pub struct NativeHistogram {
    /// The resolution, [`COARSEST`] to [`FINEST`].
    pub schema: i32,
    /// The half width of the bucket of zero.
    pub zero_threshold: f64,
    /// Samples in the bucket of zero.
    pub zero_count: u64,
    /// Samples in all buckets.
    pub count: u64,
    /// Estimated sum of the samples, that of [`buckets`] in the exposed unit.
    pub sum: f64,
    /// Buckets above zero, lowest first.
    pub positive: Side,
    /// Buckets below zero, nearest to zero first.
    pub negative: Side,
}

/// The buckets on one side of zero; none of them is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Which indices have a bucket.
    pub spans: Vec<Span>,
    /// The count of each bucket less that of the bucket before.
    pub deltas: Vec<i64>,
}

/// A run of indices without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first index of the first span, then the number of indices since the span before.
    pub offset: i32,
    /// How many indices.
    pub length: u32,
}

/// Makes a native histogram in the finest schema that keeps the limit and is not finer than `last`.
///
/// A coarser schema is no counter reset to Prometheus, which merges the old buckets to compare; a
/// finer one is, even if nothing else changed. While bins only grow, so does the number of buckets
/// in each schema, so that what is chosen without `last` never gets finer: nothing has to be
/// remembered, nor is anything lost by a restart of the exporter. A restart of Envoy is a reset
/// anyway. `last`, the schema of the series so far, holds it steady over that too.
///
/// The middle is the current maths' own in both generations: nearest to all of a bin by relative
/// distance, and the buckets do not move when a proxy is recognized late. Only the sum is of
/// `maths`. Samples beyond 2^63-1 of them are left out, since a delta could not tell them.
pub fn native(bins: &[Bin], maths: Maths, options: &Options, last: Option<i32>) -> NativeHistogram {
    joined(&[(bins, maths)], options, last)
}

/// The same of several histograms as one.
pub fn joined(parts: &[(&[Bin], Maths)], options: &Options, last: Option<i32>) -> NativeHistogram {
    let exposed = |number: f64| number * options.mul / options.div;
    let mut made = NativeHistogram {
        schema: FINEST,
        // What is no number, or negative, is no threshold.
        zero_threshold: options.zero_threshold.max(0.0),
        zero_count: 0,
        count: 0,
        sum: 0.0,
        positive: Side::default(),
        negative: Side::default(),
    };
    let (mut positive, mut negative) = (Buckets::default(), Buckets::default());
    let places = parts.iter().flat_map(|(bins, maths)| {
        let scaling = maths.scaling();
        bins.iter().map(move |bin| (bin, scaling))
    });
    for (bin, (factor, shift)) in places {
        let count = bin.count.min(i64::MAX.unsigned_abs() - made.count);
        let middle = Place::of(bin, shift).middle(Generation::Current);
        let middle = exposed(middle / factor);
        made.count += count;
        if middle > made.zero_threshold {
            positive.add(index(middle), count);
        } else if middle < -made.zero_threshold {
            negative.add(index(-middle), count);
        } else {
            made.zero_count += count;
        }
    }
    let sums = parts
        .iter()
        .map(|(bins, maths)| buckets(bins, &[], *maths, &mut Vec::new()).sum);
    // Not sum(), which begins at -0.
    made.sum = exposed(sums.fold(0.0, |sum, one| sum + one));
    positive.sort();
    negative.sort();
    let finest = last.unwrap_or(FINEST).clamp(COARSEST, FINEST);
    while made.schema > finest
        || (made.schema > COARSEST && positive.len() + negative.len() > options.max_buckets)
    {
        made.schema -= 1;
        positive.coarsen();
        negative.coarsen();
    }
    made.positive = positive.encode();
    made.negative = negative.encode();
    if made.count == 0 && made.zero_threshold <= 0.0 {
        // Without a span, Prometheus would take it for a classic histogram.
        made.positive.spans.push(Span {
            offset: 0,
            length: 0,
        });
    }
    made
}

/// Indices and counts of buckets on one side of zero.
#[derive(Debug, Default)]
struct Buckets(Vec<(i32, u64)>);

impl Buckets {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn add(&mut self, index: i32, count: u64) {
        if count > 0 {
            self.0.push((index, count));
        }
    }

    fn sort(&mut self) {
        self.0.sort_unstable_by_key(|(index, _)| *index);
        self.merge();
    }

    /// Goes to the next coarser schema, where each bucket is two of this one.
    fn coarsen(&mut self) {
        for (index, _) in &mut self.0 {
            *index = (*index + 1) >> 1;
        }
        self.merge();
    }

    fn merge(&mut self) {
        self.0.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
    }

    /// Gaps of any size begin a new span. The Go client fills small ones with empty buckets, but
    /// those would be stored with each sample and count towards the limits that Prometheus sets,
    /// while spans are stored once a chunk.
    fn encode(&self) -> Side {
        let mut side = Side::default();
        let (mut free, mut before) = (0, 0);
        for (index, count) in &self.0 {
            match side.spans.last_mut() {
                Some(span) if *index == free => span.length += 1,
                _ => side.spans.push(Span {
                    offset: index - free,
                    length: 1,
                }),
            }
            // No count passes 2^63-1, nor does their distance then.
            side.deltas.push(count.wrapping_sub(before).cast_signed());
            (free, before) = (index + 1, *count);
        }
        side
    }
}

/// The bucket of a positive number in the finest schema; infinity is in that of the largest one.
///
/// A bound is the one before it of the next coarser schema, or that times a root. Going down the
/// schemas is therefore a binary search in the table of Prometheus without having the table.
fn index(number: f64) -> i32 {
    let (fraction, exponent) = split(number);
    let (mut bound, mut below) = (0.5, 0);
    for root in ROOTS {
        below *= 2;
        if bound * root < fraction {
            bound *= root;
            below += 1;
        }
    }
    // A number on a bound belongs below it.
    below += i32::from(bound < fraction);
    (exponent - 1) * (1 << FINEST) + below
}

/// The two parts of a positive number that is `fraction * 2^exponent`, the fraction in `[0.5, 1)`.
fn split(number: f64) -> (f64, i32) {
    const MANTISSA: u32 = f64::MANTISSA_DIGITS - 1;
    if number < f64::MIN_POSITIVE {
        let (fraction, exponent) = split(number.max(f64::from_bits(1)) * 2_f64.powi(64));
        return (fraction, exponent - 64);
    }
    let bits = number.to_bits();
    let exponent = i32::try_from(bits >> MANTISSA).unwrap_or(i32::MAX);
    let fraction = bits & ((1 << MANTISSA) - 1) | 0.5_f64.to_bits();
    (f64::from_bits(fraction), exponent - 1022)
}
