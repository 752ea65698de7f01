#![expect(
    clippy::cast_precision_loss,
    reason = "counts of samples are far below 2^52, or compared with a margin"
)]

use super::*;
use crate::histogram::{Scale, recognize};
use proptest::prelude::*;
use std::fs;
use std::path::Path;

use oracle::{Release, decode, index_in, is_reset, quantile, table, upper_bound};

mod oracle;

const CURRENT: Maths = Maths {
    generation: Generation::Current,
    scale: Scale::Plain,
};

/// A bin as JSON shows it: `digits` is 0, or 10 to 99 of either sign.
fn bin(digits: i32, power: i32, count: u64) -> Bin {
    let width = if digits == 0 {
        0.0
    } else {
        10_f64.powi(power) / 10.0
    };
    Bin {
        lower_bound: f64::from(digits) / 10.0 * 10_f64.powi(power),
        width,
        count,
    }
}

fn plain(bins: &[Bin]) -> NativeHistogram {
    native(bins, CURRENT, &Options::default(), None)
}

#[test]
fn several_are_joined_each_in_its_own_scale() {
    let percent = Maths {
        scale: Scale::Percent,
        ..CURRENT
    };
    let shown = Bin {
        lower_bound: 50.0,
        width: 1e6 * 1e-6,
        count: 2,
    };
    let (one, other) = ([bin(50, 1, 3), bin(0, 0, 1)], [shown]);
    let options = Options::default();
    let joined = joined(&[(&one, CURRENT), (&other, percent)], &options, None);
    let whole = plain(&[bin(50, 1, 5), bin(0, 0, 1)]);
    assert!((joined.sum - whole.sum).abs() < 1e-9);
    let joined = NativeHistogram {
        sum: whole.sum,
        ..joined
    };
    assert_eq!(joined, whole);
}

#[test]
fn bounds_are_those_of_prometheus() {
    let finest = table(FINEST);
    // A digest of the table for schema 7 in Prometheus' model/histogram.
    let digest = finest.iter().fold(0_u64, |digest, bound| {
        digest.wrapping_mul(31).wrapping_add(bound.to_bits())
    });
    assert_eq!(digest, 0xbcd4_8cf1_8912_9be2);
    assert!(finest.is_sorted_by(|low, high| low < high));
}

#[test]
fn a_bound_is_the_last_number_of_its_bucket() {
    for schema in COARSEST..=FINEST {
        let coarse = |number: f64| {
            let mut buckets = Buckets(vec![(index(number), 1)]);
            for _ in schema..FINEST {
                buckets.coarsen();
            }
            buckets.0[0].0
        };
        // From the smallest normal number to beyond the largest, in all bounds.
        let per_power = |power: i32| (power * (1 << (schema + 4))) >> 4;
        for at in per_power(-1021)..=per_power(1024) {
            let bound = upper_bound(at, schema);
            assert_eq!(coarse(bound), at, "{bound} in {schema}");
            assert_eq!(coarse(bound.next_down()), at, "below {bound} in {schema}");
            if bound < f64::MAX {
                assert_eq!(coarse(bound.next_up()), at + 1, "above {bound} in {schema}");
            }
        }
        for number in [
            f64::from_bits(1),
            f64::MIN_POSITIVE / 2.0,
            f64::MIN_POSITIVE.next_down(),
            2_f64.powi(-128),
            0.001,
            1.0 / 3.0,
            1.047_619_047_619_047_7,
            9.2e18,
            f64::MAX,
        ] {
            assert_eq!(
                coarse(number),
                index_in(number, schema),
                "{number} in {schema}"
            );
        }
        assert_eq!(coarse(f64::INFINITY), coarse(f64::MAX));
    }
}

#[test]
fn powers_of_two_end_their_buckets() {
    for (number, want) in [
        (1.0, 0),
        (1_f64.next_up(), 1),
        (1_f64.next_down(), 0),
        (2.0, 128),
        (2_f64.next_up(), 129),
        (0.5, -128),
        (0.5_f64.next_up(), -127),
        (4.0, 256),
    ] {
        assert_eq!(index(number), want, "{number}");
    }
}

#[test]
fn spans_and_deltas() {
    let none = plain(&[]);
    assert_eq!((none.count, none.schema), (0, FINEST));
    assert_eq!(none.positive, Side::default());

    // Middles are 1.05, -5.05 and -105 in current maths, a bit less.
    let made = plain(&[bin(-10, 2, 2), bin(-50, 0, 7), bin(0, 0, 3), bin(10, 0, 5)]);
    assert_eq!((made.count, made.zero_count), (17, 3));
    assert_eq!(decode(&made.positive), [(index(22.0 / 21.0), 5)]);
    let want = [(index(5.0495), 7), (index(104.76), 2)];
    assert_eq!(decode(&made.negative), want);
    assert_eq!(made.negative.deltas, [7, -5]);

    // Neighbors share a span; where a schema has room, they never share a bucket.
    let all: Vec<_> = (10..100).map(|digits| bin(digits, 1, 1)).collect();
    let made = plain(&all);
    assert_eq!((made.schema, made.positive.deltas.len()), (FINEST, 90));
    let sum = buckets(&all, &[], CURRENT, &mut Vec::new()).sum;
    assert_eq!(made.sum.to_bits(), sum.to_bits());
    let options = Options {
        max_buckets: 89,
        ..Options::default()
    };
    assert_eq!(native(&all, CURRENT, &options, None).schema, FINEST - 1);
    assert_eq!(
        native(&all, CURRENT, &Options::default(), Some(2)).schema,
        2
    );
    assert_eq!(
        native(&all, CURRENT, &Options::default(), Some(9)).schema,
        FINEST
    );
}

#[test]
fn units() {
    let seconds = Options {
        div: 1000.0,
        ..Options::default()
    };
    let made = native(&[bin(25, 2, 4)], CURRENT, &seconds, None);
    assert_eq!(
        decode(&made.positive),
        [(index(0.254_901_960_784_313_7), 4)]
    );
    assert!((made.sum - 4.0 * 0.254_901_960_784_313_7).abs() < 1e-12);

    // Percent bins: as shown by the current maths, as kept by the legacy one.
    let percent = |generation| Maths {
        generation,
        scale: Scale::Percent,
    };
    let shown = Bin {
        lower_bound: 5.0,
        width: 1e5 * 1e-6,
        count: 1,
    };
    let options = Options::default();
    let new = native(&[shown], percent(Generation::Current), &options, None);
    let old = native(
        &[bin(50, 6, 1)],
        percent(Generation::Legacy),
        &options,
        None,
    );
    assert_eq!(new.positive, old.positive);
    assert_eq!(decode(&new.positive), [(index(5.0495), 1)]);
}

#[test]
fn what_is_no_sample_is_counted_all_the_same() {
    let strange = |lower_bound, width| Bin {
        lower_bound,
        width,
        count: 1,
    };
    let bins = [
        strange(f64::NAN, 1.0),
        strange(f64::INFINITY, 1.0),
        strange(-1.0, f64::NAN),
        strange(1.0, f64::from_bits(1)),
        strange(1.0, -1.0),
        strange(f64::MAX, f64::MAX),
    ];
    for (mul, zero_threshold) in [(1.0, 0.0), (f64::NAN, -1.0), (f64::INFINITY, f64::NAN)] {
        let options = Options {
            mul,
            zero_threshold,
            ..Options::default()
        };
        check(&bins, &native(&bins, CURRENT, &options, None));
    }
    let huge = [bin(10, 1, u64::MAX), bin(20, 1, 5)];
    let made = plain(&huge);
    assert_eq!(made.count, i64::MAX.unsigned_abs());
    assert_eq!(decode(&made.positive), [(index(10.476), i64::MAX)]);

    // A reader takes what has neither a threshold nor a span for a classic histogram.
    let options = Options {
        zero_threshold: 0.0,
        ..Options::default()
    };
    let none = native(&[], CURRENT, &options, None);
    assert_eq!(
        none.positive.spans,
        [Span {
            offset: 0,
            length: 0
        }]
    );
}

/// What holds of any native histogram.
#[track_caller]
fn check(bins: &[Bin], made: &NativeHistogram) {
    let mut total = made.zero_count;
    for side in [&made.positive, &made.negative] {
        let found = decode(side);
        assert!(found.is_sorted_by(|low, high| low.0 < high.0));
        assert!(found.iter().all(|(_, count)| *count > 0));
        assert!(side.spans.iter().skip(1).all(|span| span.offset > 0));
        total += found
            .iter()
            .map(|(_, count)| count.unsigned_abs())
            .sum::<u64>();
    }
    assert_eq!(total, made.count);
    assert_eq!(total, bins.iter().map(|bin| bin.count).sum::<u64>());
}

/// How far a quantile is from Envoy's percentile at most.
fn bound(schema: i32) -> f64 {
    2_f64.powf(2_f64.powi(-schema)) * 22.0 / 21.0 - 1.0 + 1e-9
}

/// Compares with each percentile that a detailed answer holds.
#[track_caller]
fn compare(body: &str, options: &Options) -> usize {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let list = body["stats"].as_array().unwrap();
    let Some(found) = list.iter().find_map(|stat| stat.get("histograms")) else {
        return 0;
    };
    let percents = found["supported_percentiles"].as_array().unwrap();
    let mut compared = 0;
    for one in found["details"].as_array().unwrap() {
        let bins: Vec<_> = one["totals"]
            .as_array()
            .unwrap()
            .iter()
            .map(|bin| Bin {
                lower_bound: bin["lower_bound"].as_f64().unwrap(),
                width: bin["width"].as_f64().unwrap(),
                count: bin["count"].as_u64().unwrap(),
            })
            .collect();
        let percentiles: Vec<_> = percents
            .iter()
            .zip(one["percentiles"].as_array().unwrap())
            .map(|(percent, value)| (percent.as_f64().unwrap(), value["cumulative"].as_f64()))
            .collect();
        let recognized = recognize(&bins, &percentiles, None);
        let maths = Maths {
            generation: recognized.generation.unwrap_or(Generation::Current),
            scale: recognized.scale,
        };
        let made = native(&bins, maths, options, None);
        check(&bins, &made);
        for (percent, value) in percentiles {
            let Some(envoys) = value else { continue };
            let envoys = envoys * options.mul / options.div;
            let total = made.count as f64;
            let mut q = percent / 100.0;
            if percent > 0.0 && percent < 100.0 && (q * total).fract() < 1e-9 {
                // Both bins are right for this rank; half a rank less is in Envoy's for certain.
                q = (q * total - 0.5) / total;
            }
            for release in [Release::V2, Release::V3] {
                let ours = quantile(&made, q, release);
                let off = (ours - envoys).abs();
                let allowed = bound(made.schema) * envoys.abs() + options.zero_threshold;
                assert!(off <= allowed, "{one} at {percent}: {ours}, {made:?}");
                compared += 1;
            }
        }
    }
    compared
}

#[test]
fn quantiles_are_envoys_percentiles() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    // Golden cases are left out: their bins were written by hand, and their percentiles are not of
    // those bins.
    let files = [
        root.join("captures/1.40.0/idle/histograms.json"),
        root.join("demo/histograms.json"),
    ];
    let mut compared = 0;
    for file in &files {
        let body = fs::read_to_string(file).unwrap();
        for (div, max_buckets) in [(1.0, 160), (1000.0, 20), (1.0, 5)] {
            let options = Options {
                div,
                max_buckets,
                ..Options::default()
            };
            compared += compare(&body, &options);
        }
    }
    assert!(compared > 1000, "only {compared} percentiles");
}

/// Bins as Envoy lists them: of whole numbers below 2^63 of either sign.
fn any_bins() -> impl Strategy<Value = Vec<Bin>> {
    let place = (10..100_i32, 0..19_i32, -1..=1_i32)
        .prop_map(|(digits, power, sign)| (digits * sign, if sign == 0 { 0 } else { power }));
    let counts = prop_oneof![0..5_u64, 0..1_000_000_000_u64];
    prop::collection::btree_map(place, counts, 0..400).prop_map(|bins| {
        bins.iter()
            .map(|((digits, power), count)| bin(*digits, *power, *count))
            .collect()
    })
}

fn any_options() -> impl Strategy<Value = Options> {
    let divisors = prop::sample::select(vec![1.0, 1e3, 1e6]);
    (
        divisors,
        12..200_usize,
        prop::sample::select(vec![2_f64.powi(-128), 0.0, 3.0]),
    )
        .prop_map(|(div, max_buckets, zero_threshold)| Options {
            div,
            max_buckets,
            zero_threshold,
            ..Options::default()
        })
}

proptest! {
    #[test]
    fn counts_are_conserved_within_the_limit(bins in any_bins(), options in any_options()) {
        let made = native(&bins, CURRENT, &options, None);
        check(&bins, &made);
        let buckets = made.positive.deltas.len() + made.negative.deltas.len();
        prop_assert!(buckets <= options.max_buckets);
        if made.schema < FINEST {
            // A schema finer, it would not have kept the limit.
            let wide = Options { max_buckets: usize::MAX, ..options };
            let finer = native(&bins, CURRENT, &wide, Some(made.schema + 1));
            let buckets = finer.positive.deltas.len() + finer.negative.deltas.len();
            prop_assert!(buckets > options.max_buckets);
        }
    }

    #[test]
    fn growing_bins_are_no_counter_reset(
        bins in any_bins(),
        growth in prop::collection::vec(prop_oneof![Just(0), 0..3_u64, 0..100_000_u64], 400),
        begun in 0..400_usize,
        options in any_options(),
    ) {
        let mut before = bins.clone();
        before.truncate(begun);
        let mut after = bins;
        for (bin, more) in after.iter_mut().zip(growth) {
            bin.count += more;
        }
        let before = native(&before, CURRENT, &options, None);
        let anew = native(&after, CURRENT, &options, None);
        prop_assert!(!is_reset(&before, &anew));
        // Bins that only grow need no memory of the schema; a recognized generation moves nothing.
        let legacy = Maths { generation: Generation::Legacy, ..CURRENT };
        let steady = native(&after, legacy, &options, Some(before.schema));
        prop_assert_eq!(&steady.positive, &anew.positive);
        prop_assert_eq!(&steady.negative, &anew.negative);
        prop_assert!(is_reset(&anew, &before) || anew.count == before.count);
    }

    #[test]
    fn a_quantile_lies_at_its_bin(
        digits in 10..100_i32,
        power in 0..19_i32,
        sign in prop::sample::select(vec![-1, 1]),
        last in COARSEST..=FINEST,
        q in 0.0..=1.0_f64,
    ) {
        let bin = bin(digits * sign, power, 10);
        let made = native(&[bin], CURRENT, &Options::default(), Some(last));
        prop_assert_eq!(made.schema, last);
        for release in [Release::V2, Release::V3] {
            let ours = quantile(&made, q, release).abs();
            for edge in [bin.lower_bound.abs(), bin.lower_bound.abs() + bin.width] {
                prop_assert!((ours - edge).abs() <= bound(last) * edge);
            }
        }
    }

    #[test]
    fn every_number_is_in_its_bucket(bits in 1..f64::MAX.to_bits(), schema in COARSEST..=FINEST) {
        let number = f64::from_bits(bits);
        let coarse = ((index(number) - 1) >> (FINEST - schema)) + 1;
        prop_assert_eq!(coarse, index_in(number, schema));
        prop_assert!(number <= upper_bound(coarse, schema));
        prop_assert!(number > upper_bound(coarse - 1, schema));
    }
}
