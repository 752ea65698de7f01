//! Histograms and summaries: samples put together, series by series.

use hashbrown::HashMap;

use super::group::{Group, Taken, Wrong, described, loose};
use super::line::{Kind, amount};
use crate::family::FamilyType;
use crate::names::Labels;
use crate::snapshot::{Amount, Distribution, MadeFamily, MadeSeries};

/// The samples of one series.
#[derive(Default)]
struct Series {
    block: String,
    /// Bounds or quantiles with their text.
    steps: Vec<(f64, String, Amount)>,
    sum: Option<Amount>,
    count: Option<Amount>,
}

/// What a series comes to.
enum Made {
    Value(Distribution),
    /// Its numbers are right, and fit no form of ours.
    Loose,
}

/// The family, or families of its samples where not all of it fits.
pub(super) fn made(group: Group) -> Result<Vec<MadeFamily>, Wrong> {
    let is_histogram = group.kind == Some(Kind::Histogram);
    let (step_label, family_type) = if is_histogram {
        ("le", FamilyType::Histogram)
    } else {
        ("quantile", FamilyType::Summary)
    };
    let mut values = Vec::new();
    for series in collected(&group.samples, step_label)? {
        let block = series.block.clone();
        let made = if is_histogram {
            histogram(series)?
        } else {
            summary(&series)?
        };
        match made {
            Made::Value(value) => values.push((block, value)),
            Made::Loose => return loose(group),
        }
    }
    Ok(vec![MadeFamily {
        name: group.name,
        family_type,
        help: described(group.help),
        unit: group.unit,
        series: MadeSeries::Distributions(values),
    }])
}

/// Samples by the labels that they share, in the order in which these came first.
fn collected(samples: &[Taken], step_label: &str) -> Result<Vec<Series>, Wrong> {
    let mut found: Vec<Series> = Vec::new();
    let mut index: HashMap<Labels, usize> = HashMap::new();
    for sample in samples {
        let mut labels = sample.labels.clone();
        let step = labels.remove(step_label);
        let known = index.get(&labels).copied();
        let at = known.unwrap_or(found.len());
        if known.is_none() {
            found.push(Series {
                block: labels.to_block(),
                ..Series::default()
            });
            index.insert(labels, at);
        }
        let Some(series) = found.get_mut(at) else {
            continue;
        };
        let before = match (sample.suffix, step) {
            ("_sum", None) => series.sum.replace(sample.amount),
            ("_count", None) => series.count.replace(sample.amount),
            ("_sum" | "_count", Some(_)) => {
                return Err(format!("a sum or count with the label '{step_label}'"));
            }
            (_, None) => return Err(format!("a sample without the label '{step_label}'")),
            (_, Some(text)) => {
                let value = amount(&text).map(Amount::as_f64);
                let value = value.filter(|value| !value.is_nan());
                let value = value.ok_or_else(|| format!("{step_label}=\"{text}\" is no number"))?;
                series.steps.push((value, text, sample.amount));
                None
            }
        };
        if before.is_some() {
            let suffix = sample.suffix;
            return Err(format!("the {suffix} of {{{}}} twice", series.block));
        }
    }
    for series in &mut found {
        series.steps.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut pairs = series.steps.windows(2);
        if pairs.any(|pair| matches!(pair, [one, other] if one.0.total_cmp(&other.0).is_eq())) {
            return Err(format!("a {step_label} of {{{}}} twice", series.block));
        }
    }
    Ok(found)
}

fn histogram(mut series: Series) -> Result<Made, Wrong> {
    let of = |what: &str| format!("{what} in {{{}}}", series.block);
    let infinity = series
        .steps
        .pop()
        .filter(|(bound, ..)| *bound == f64::INFINITY);
    let Some((_, _, infinity)) = infinity else {
        return Err(of("no bucket +Inf"));
    };
    if series.steps.iter().any(|(bound, ..)| bound.is_infinite()) {
        return Err(of("a bucket -Inf"));
    }
    let counts = series.steps.iter().map(|(_, _, count)| *count);
    let counts: Vec<_> = counts.chain([infinity]).collect();
    let is_count = |count: &Amount| count.as_f64() >= 0.0;
    if !counts.iter().all(is_count) {
        return Err(of("a bucket below zero"));
    }
    let falls = |pair: &[Amount]| matches!(pair, [one, other] if other.as_f64() < one.as_f64());
    if counts.windows(2).any(falls) {
        return Err(of("buckets that fall"));
    }
    if series.count.is_some_and(|count| count != infinity) {
        return Err(of("a count that is not that of the bucket +Inf"));
    }
    // OpenMetrics has histograms without these, and other readers take none for one.
    let (Some(sum), Some(_)) = (series.sum, series.count) else {
        return Ok(Made::Loose);
    };
    let Amount::Whole(count) = infinity else {
        return Ok(Made::Loose);
    };
    let mut buckets = Vec::with_capacity(series.steps.len());
    for (bound, text, count) in series.steps {
        let Amount::Whole(count) = count else {
            return Ok(Made::Loose);
        };
        buckets.push((bound, text.into(), count));
    }
    Ok(Made::Value(Distribution {
        count,
        sum: sum.as_f64(),
        buckets,
        percentiles: Vec::new(),
    }))
}

fn summary(series: &Series) -> Result<Made, Wrong> {
    let of = |what: &str| format!("{what} in {{{}}}", series.block);
    let mut percentiles = Vec::with_capacity(series.steps.len());
    for (quantile, _, value) in &series.steps {
        if !(0.0..=1.0).contains(quantile) {
            return Err(of("a quantile that is not between 0 and 1"));
        }
        // Kept as percents of six places.
        let percent = (quantile * 1e8).round() / 1e6;
        let back = (percent * 1e6).round() / 1e8;
        if back.to_bits() != quantile.abs().to_bits() {
            return Ok(Made::Loose);
        }
        percentiles.push((percent, value.as_f64()));
    }
    let (Some(sum), Some(count)) = (series.sum, series.count) else {
        return Ok(Made::Loose);
    };
    let Amount::Whole(count) = count else {
        return if count.as_f64() >= 0.0 {
            Ok(Made::Loose)
        } else {
            Err(of("a count below zero"))
        };
    };
    Ok(Made::Value(Distribution {
        count,
        sum: sum.as_f64(),
        buckets: Vec::new(),
        percentiles,
    }))
}
