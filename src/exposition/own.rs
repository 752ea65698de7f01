//! The exporter's own metrics, as the `prometheus` crate gathers them, in the formats we serve.
//!
//! The crate's own encoder is not used: it writes `inf`, which not every reader takes, and panics
//! on a type that it does not know.

use prometheus::proto::{MetricFamily, MetricType};

use super::{Selection, text};
use crate::family::FamilyType;
use crate::names::{Labels, number_text};
use crate::snapshot::{HistogramValue, Parts};

/// Writes the selected families as text 0.0.4.
pub fn write(out: &mut Vec<u8>, families: &[MetricFamily], selection: &Selection) {
    for family in families
        .iter()
        .filter(|family| selection.has(family.name()))
    {
        let family_type = match family.get_field_type() {
            MetricType::COUNTER => FamilyType::Counter,
            MetricType::GAUGE => FamilyType::Gauge,
            MetricType::HISTOGRAM => FamilyType::Histogram,
            // We register none of these.
            MetricType::SUMMARY | MetricType::UNTYPED => continue,
        };
        let name = family.name();
        text::header(out, name, family_type, family.help());
        for metric in family.get_metric() {
            let mut labels = Labels::new();
            for pair in metric.get_label() {
                labels.set(pair.name().to_owned(), pair.value().to_owned());
            }
            let block = labels.to_block();
            match family_type {
                FamilyType::Counter => {
                    text::float(out, name, &block, metric.get_counter().get_value());
                }
                FamilyType::Gauge | FamilyType::Unknown => {
                    text::float(out, name, &block, metric.get_gauge().get_value());
                }
                FamilyType::Histogram => histogram(out, name, &block, metric),
            }
        }
    }
}

fn histogram(out: &mut Vec<u8>, name: &str, block: &str, metric: &prometheus::proto::Metric) {
    let histogram = metric.get_histogram();
    let finite = |bound: f64| bound.is_finite();
    let buckets = histogram.get_bucket().iter();
    let buckets = buckets.filter(|bucket| finite(bucket.upper_bound()));
    let (bounds, counts): (Vec<f64>, Vec<u64>) = buckets
        .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
        .unzip();
    let le: Vec<Box<str>> = bounds.iter().map(|at| number_text(*at).into()).collect();
    let value = HistogramValue {
        parts: Parts::ALL,
        count: histogram.get_sample_count(),
        sum: histogram.get_sample_sum(),
        bounds: &bounds,
        le: &le,
        buckets: &counts,
    };
    text::histogram(out, name, block, &value);
}
