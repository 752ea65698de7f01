//! What Prometheus and its Go client make of native histograms, written after their definitions
//! and sharing with the module nothing but the roots and the parts of a number.

use super::super::{NativeHistogram, ROOTS, Side, split};
use std::collections::BTreeMap;

/// Index and count of each bucket of a side, as a reader of the format finds them.
pub(super) fn decode(side: &Side) -> Vec<(i32, i64)> {
    let mut found = Vec::new();
    let mut deltas = side.deltas.iter();
    let (mut index, mut count) = (0_i32, 0_i64);
    for span in &side.spans {
        index += span.offset;
        for _ in 0..span.length {
            count += deltas.next().expect("a delta for each bucket");
            found.push((index, count));
            index += 1;
        }
    }
    assert_eq!(deltas.next(), None, "a bucket for each delta");
    found
}

/// The table of Prometheus for a schema, made of rounded roots the long way.
pub(super) fn table(schema: i32) -> Vec<f64> {
    let mut table = vec![0.5];
    for root in &ROOTS[..usize::try_from(schema).unwrap()] {
        table = table
            .iter()
            .flat_map(|bound| [*bound, bound * root])
            .collect();
    }
    table
}

/// The upper bound of a bucket, after Prometheus' definition.
pub(super) fn upper_bound(index: i32, schema: i32) -> f64 {
    let (fraction, exponent) = if schema < 0 {
        (1.0, index << -schema)
    } else {
        let table = table(schema);
        let place = index & ((1 << schema) - 1);
        (
            table[usize::try_from(place).unwrap()],
            (index >> schema) + 1,
        )
    };
    // In two steps, so that neither passes what a double can hold before the result does.
    let bound = fraction * 2_f64.powi(exponent / 2) * 2_f64.powi(exponent - exponent / 2);
    bound.min(f64::MAX)
}

/// The bucket of a number, after the Go client's definition.
pub(super) fn index_in(number: f64, schema: i32) -> i32 {
    let (fraction, exponent) = split(number);
    if schema > 0 {
        let table = table(schema);
        let below = table.iter().filter(|bound| **bound < fraction).count();
        i32::try_from(below).unwrap() + (exponent - 1) * (1 << schema)
    } else {
        let whole = exponent - i32::from(fraction <= 0.5);
        (whole + (1 << -schema) - 1) >> -schema
    }
}

/// Which release's interpolation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Release {
    /// Linear, from below.
    V2,
    /// Exponential, from the nearer end.
    V3,
}

/// What `histogram_quantile` makes of it.
pub(super) fn quantile(of: &NativeHistogram, q: f64, release: Release) -> f64 {
    let bounds = |index: i32| {
        (
            upper_bound(index - 1, of.schema),
            upper_bound(index, of.schema),
        )
    };
    let mut buckets = Vec::new();
    for (index, count) in decode(&of.negative).into_iter().rev() {
        let (near, far) = bounds(index);
        buckets.push((-far, -near, count as f64));
    }
    if of.zero_count > 0 {
        // A side of zero without samples is left out if the other one has some.
        let (below, above) = (
            !of.negative.deltas.is_empty(),
            !of.positive.deltas.is_empty(),
        );
        let lower = if above && !below {
            0.0
        } else {
            -of.zero_threshold
        };
        let upper = if below && !above {
            0.0
        } else {
            of.zero_threshold
        };
        buckets.push((lower, upper, of.zero_count as f64));
    }
    for (index, count) in decode(&of.positive) {
        let (near, far) = bounds(index);
        buckets.push((near, far, count as f64));
    }
    let total = of.count as f64;
    let reverse = matches!(release, Release::V3) && q >= 0.5;
    let mut rank = q * total;
    if reverse {
        rank = (1.0 - q) * total;
        buckets.reverse();
    }
    let mut seen = 0.0;
    let found = buckets.iter().find(|(_, _, count)| {
        seen += count;
        seen >= rank
    });
    let (lower, upper, count) = *found.expect("a rank up to the count");
    let inside = if reverse {
        seen - rank
    } else {
        rank - (seen - count)
    };
    let part = inside / count;
    match release {
        Release::V3 if lower > 0.0 => (lower.log2() + (upper.log2() - lower.log2()) * part).exp2(),
        Release::V3 if upper < 0.0 => {
            let (low, high) = ((-lower).log2(), (-upper).log2());
            -(high + (low - high) * (1.0 - part)).exp2()
        }
        _ => lower + (upper - lower) * part,
    }
}

/// Whether Prometheus sees a counter reset between two histograms.
pub(super) fn is_reset(before: &NativeHistogram, after: &NativeHistogram) -> bool {
    let shrunk = |before_side: &Side, after_side: &Side| {
        let mut merged = BTreeMap::new();
        for (index, count) in decode(before_side) {
            *merged
                .entry(((index - 1) >> (before.schema - after.schema)) + 1)
                .or_insert(0) += count;
        }
        let after_side: BTreeMap<_, _> = decode(after_side).into_iter().collect();
        merged
            .iter()
            .any(|(index, count)| after_side.get(index).copied().unwrap_or(0) < *count)
    };
    after.count < before.count
        || after.schema > before.schema
        || after.zero_count < before.zero_count
        || shrunk(&before.positive, &after.positive)
        || shrunk(&before.negative, &after.negative)
}
