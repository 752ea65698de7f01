//! The exporter's own metrics, as the `prometheus` crate gathers them, in the formats we serve, and
//! the end of a body where the format has one.
//!
//! The crate's own encoders are not used: the one for text writes `inf`, which not every reader
//! takes, and panics on a type that it does not know.

use std::sync::Arc;

use prometheus::proto::{self, MetricType};
use prost::Message as _;

use super::plan::{Form, is_openmetrics};
use super::{Selection, openmetrics, protobuf, text};
use crate::family::{Factor, FamilyType};
use crate::names::{Labels, number_text};
use crate::negotiate::Format;
use crate::snapshot::{HistogramValue, Parts, Snapshot};

/// Writes the selected families, and the end of the body.
pub fn write(
    out: &mut Vec<u8>,
    families: &[proto::MetricFamily],
    selection: &Selection,
    format: Format,
) {
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
        match format {
            Format::Protobuf => {
                let message = message(family, family_type);
                // Writing to a Vec cannot fail: it grows.
                let _ = message.encode_length_delimited(out);
            }
            Format::Text => {
                text::header(out, family.name(), family_type, family.help());
                samples(out, family, family_type);
            }
            Format::OpenMetrics | Format::OpenMetricsDraft => {
                let form = form(family, family_type);
                let name = form.name(family.name());
                let type_name = openmetrics::type_name(form, family_type);
                let unit = openmetrics::unit_of_name(form, &name);
                openmetrics::header(out, &name, type_name, unit, family.help());
                samples(out, family, family_type);
            }
        }
    }
    if is_openmetrics(format) {
        out.extend_from_slice(openmetrics::EOF.as_bytes());
    }
}

/// Puts the series of families of others to the own families of these names.
pub fn join(own: &mut [proto::MetricFamily], others: &[(Arc<Snapshot>, Arc<[String]>)]) {
    for (snapshot, names) in others {
        let theirs = names.iter().filter_map(|name| snapshot.named(name));
        for family in theirs {
            let same = |own: &&mut proto::MetricFamily| own.name() == family.name();
            let Some(own) = own.iter_mut().find(same) else {
                continue;
            };
            let is_counter = own.get_field_type() == MetricType::COUNTER;
            let series = family.scalars(0);
            own.mut_metric()
                .extend(series.map(|(block, number)| metric(block, number.as_f64(), is_counter)));
        }
    }
}

fn metric(block: &str, value: f64, is_counter: bool) -> proto::Metric {
    let pairs = Labels::from_block(block);
    let pairs = pairs.iter().map(|(name, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    let mut metric = proto::Metric::default();
    metric.set_label(pairs.collect());
    if is_counter {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

/// Every name that own families of these names take in some format: those of samples, and what
/// `OpenMetrics` says no other family may be called.
pub fn reserved<'n>(names: impl IntoIterator<Item = &'n str>) -> impl Iterator<Item = String> {
    const SUFFIXES: [&str; 5] = ["", "_created", "_bucket", "_sum", "_count"];
    names.into_iter().flat_map(|name| {
        let base = name.strip_suffix("_total");
        let base = base.or_else(|| name.strip_suffix("_info"));
        let all = [Some(name), base].into_iter().flatten();
        let taken = all.flat_map(|name| SUFFIXES.map(|suffix| format!("{name}{suffix}")));
        taken.collect::<Vec<_>>()
    })
}

/// Own metrics follow the rules of suffixes by their names, which are ours to choose.
fn form(family: &proto::MetricFamily, family_type: FamilyType) -> Form {
    let is_one =
        |metric: &proto::Metric| metric.get_gauge().get_value().to_bits() == 1_f64.to_bits();
    match family_type {
        FamilyType::Counter if family.name().ends_with("_total") => Form::Counter,
        FamilyType::Counter => Form::Unknown,
        FamilyType::Gauge
            if family.name().ends_with("_info") && family.get_metric().iter().all(is_one) =>
        {
            Form::Info
        }
        FamilyType::Gauge | FamilyType::Histogram | FamilyType::Summary | FamilyType::Unknown => {
            Form::Plain
        }
    }
}

fn samples(out: &mut Vec<u8>, family: &proto::MetricFamily, family_type: FamilyType) {
    let name = family.name();
    for metric in family.get_metric() {
        let block = labels(metric).to_block();
        match family_type {
            FamilyType::Counter => {
                text::float(out, name, &block, metric.get_counter().get_value());
            }
            // The own metrics have no summaries.
            FamilyType::Gauge | FamilyType::Summary | FamilyType::Unknown => {
                text::float(out, name, &block, metric.get_gauge().get_value());
            }
            FamilyType::Histogram => histogram(out, name, &block, metric),
        }
    }
}

fn labels(metric: &proto::Metric) -> Labels {
    let mut labels = Labels::new();
    for pair in metric.get_label() {
        labels.set(pair.name().to_owned(), pair.value().to_owned());
    }
    labels
}

fn histogram(out: &mut Vec<u8>, name: &str, block: &str, metric: &proto::Metric) {
    let histogram = metric.get_histogram();
    let (bounds, counts): (Vec<f64>, Vec<u64>) = finite_buckets(histogram).unzip();
    let le: Vec<Box<str>> = bounds.iter().map(|at| number_text(*at).into()).collect();
    let value = HistogramValue {
        parts: Parts::ALL,
        count: histogram.get_sample_count(),
        sum: histogram.get_sample_sum(),
        bounds: &bounds,
        le: &le,
        buckets: &counts,
        native: None,
        percentiles: &[],
        factor: Factor::ONE,
    };
    text::histogram(out, name, block, &value);
}

fn finite_buckets(histogram: &proto::Histogram) -> impl Iterator<Item = (f64, u64)> {
    let buckets = histogram.get_bucket().iter();
    let buckets = buckets.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
    buckets.filter(|(bound, _)| bound.is_finite())
}

fn message(family: &proto::MetricFamily, family_type: FamilyType) -> protobuf::MetricFamily {
    let base = Form::Counter.name(family.name());
    let unit = openmetrics::unit_of_name(Form::Plain, &base);
    protobuf::MetricFamily {
        name: Some(family.name().to_owned()),
        help: Some(family.help().to_owned()),
        metric_type: Some(protobuf::metric_type(Form::Plain, family_type).into()),
        metric: family
            .get_metric()
            .iter()
            .map(|metric| series(metric, family_type))
            .collect(),
        unit: unit.map(str::to_owned),
    }
}

fn series(metric: &proto::Metric, family_type: FamilyType) -> protobuf::Metric {
    let mut made = protobuf::Metric::default();
    protobuf::set_labels(&mut made.label, &labels(metric).to_block());
    let scalar = |value| {
        Some(protobuf::Scalar {
            value: Some(value),
            created_timestamp: None,
        })
    };
    match family_type {
        FamilyType::Counter => made.counter = scalar(metric.get_counter().get_value()),
        FamilyType::Gauge | FamilyType::Summary | FamilyType::Unknown => {
            made.gauge = scalar(metric.get_gauge().get_value());
        }
        FamilyType::Histogram => {
            let histogram = metric.get_histogram();
            let buckets = finite_buckets(histogram);
            made.histogram = Some(protobuf::Histogram {
                sample_count: Some(histogram.get_sample_count()),
                sample_sum: Some(histogram.get_sample_sum()),
                bucket: buckets
                    .map(|(bound, count)| protobuf::Bucket {
                        cumulative_count: Some(count),
                        upper_bound: Some(bound),
                    })
                    .collect(),
                ..protobuf::Histogram::default()
            });
        }
    }
    made
}
