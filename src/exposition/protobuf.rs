//! Delimited protobuf: messages `io.prometheus.client.MetricFamily`, each with its length before
//! it.
//!
//! The messages are those of `metrics.proto` of Prometheus' `client_model`, without what we have
//! nothing for (exemplars, timestamps, float counts). A family's length is found by a first pass
//! over its series, so that its series are written one by one from one message that is used again:
//! a family of 200,000 series takes the memory of one. As in Go's library the bucket `+Inf`, which
//! is the count, is not written.

use prost::Message;
use prost::encoding::message;

use super::openmetrics;
use super::plan::{Form, Part};
use crate::family::FamilyType;
use crate::histogram::native::{Form as Histograms, NativeHistogram, Side};
use crate::names::push_unescaped_label_value;
use crate::snapshot::{Family, HistogramValue, Number};

/// A family.
#[derive(Clone, PartialEq, Message)]
pub(super) struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(super) help: Option<String>,
    #[prost(enumeration = "MetricType", optional, tag = "3")]
    pub(super) metric_type: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    pub(super) metric: Vec<Metric>,
    #[prost(string, optional, tag = "5")]
    pub(super) unit: Option<String>,
}

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(super) enum MetricType {
    Counter = 0,
    Gauge = 1,
    Summary = 2,
    Untyped = 3,
    Histogram = 4,
}

/// A series.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub(super) label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    pub(super) gauge: Option<Scalar>,
    #[prost(message, optional, tag = "3")]
    pub(super) counter: Option<Scalar>,
    #[prost(message, optional, tag = "4")]
    pub(super) summary: Option<Summary>,
    #[prost(message, optional, tag = "5")]
    pub(super) untyped: Option<Scalar>,
    #[prost(message, optional, tag = "7")]
    pub(super) histogram: Option<Histogram>,
}

/// A label.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct LabelPair {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(super) value: Option<String>,
}

/// The value of a counter, a gauge or neither.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Scalar {
    #[prost(double, optional, tag = "1")]
    pub(super) value: Option<f64>,
    /// Of a counter alone.
    #[prost(message, optional, tag = "3")]
    pub(super) created_timestamp: Option<Timestamp>,
}

/// A point in time.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Timestamp {
    #[prost(int64, optional, tag = "1")]
    pub(super) seconds: Option<i64>,
    #[prost(int32, optional, tag = "2")]
    pub(super) nanos: Option<i32>,
}

impl Timestamp {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "seconds since 1970 and parts of one"
    )]
    fn from_unix(unix: f64) -> Self {
        Self {
            seconds: Some(unix.floor() as i64),
            nanos: Some((unix.fract() * 1e9) as i32),
        }
    }
}

/// The value of a summary.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Summary {
    #[prost(uint64, optional, tag = "1")]
    pub(super) sample_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub(super) sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    pub(super) quantile: Vec<Quantile>,
    #[prost(message, optional, tag = "4")]
    pub(super) created_timestamp: Option<Timestamp>,
}

/// A quantile of a summary.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Quantile {
    #[prost(double, optional, tag = "1")]
    pub(super) quantile: Option<f64>,
    #[prost(double, optional, tag = "2")]
    pub(super) value: Option<f64>,
}

/// The value of a histogram; it may have classic buckets, native ones, and both.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    pub(super) sample_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub(super) sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    pub(super) bucket: Vec<Bucket>,
    #[prost(sint32, optional, tag = "5")]
    pub(super) schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    pub(super) zero_threshold: Option<f64>,
    #[prost(uint64, optional, tag = "7")]
    pub(super) zero_count: Option<u64>,
    #[prost(message, repeated, tag = "9")]
    pub(super) negative_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, packed = "false", tag = "10")]
    pub(super) negative_delta: Vec<i64>,
    #[prost(message, repeated, tag = "12")]
    pub(super) positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, packed = "false", tag = "13")]
    pub(super) positive_delta: Vec<i64>,
    #[prost(message, optional, tag = "15")]
    pub(super) created_timestamp: Option<Timestamp>,
}

/// A classic bucket.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Bucket {
    #[prost(uint64, optional, tag = "1")]
    pub(super) cumulative_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub(super) upper_bound: Option<f64>,
}

/// A run of native buckets.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct BucketSpan {
    #[prost(sint32, optional, tag = "1")]
    pub(super) offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    pub(super) length: Option<u32>,
}

/// Where the series stand in the message of a family.
const METRIC: u32 = 4;

/// Writes the families of one name as one message, a series at a time.
#[derive(Debug, Default)]
pub(super) struct Writer {
    metric: Metric,
}

impl Writer {
    /// Writes the length of a family's message and all of it but its series.
    pub(super) fn begin<'f>(
        &mut self,
        out: &mut Vec<u8>,
        members: impl Iterator<Item = (Family<'f>, Form)>,
        histograms: Histograms,
    ) {
        let mut header = MetricFamily::default();
        let mut length = 0;
        for (family, form) in members {
            if header.name.is_none() {
                // A unit stands before `_total`, which is part of the name here.
                let base = Form::Counter.name(family.name());
                let unit = openmetrics::unit_of(form, &base, family.unit());
                header.unit = unit.map(str::to_owned);
                header.name = Some(form.name(family.name()).into_owned());
                header.help = Some(family.help().to_owned());
                header.metric_type = Some(metric_type(form, family.family_type()).into());
            }
            self.each(family, form, histograms, 0, |metric| {
                length += message::encoded_len(METRIC, metric);
                true
            });
        }
        // Writing to a Vec cannot fail: it grows.
        let _ = prost::encode_length_delimiter(length + header.encoded_len(), out);
        let _ = header.encode(out);
    }

    /// Writes series of a family from the `skip`th on until the piece is full; says how many.
    pub(super) fn series(
        &mut self,
        out: &mut Vec<u8>,
        family: Family<'_>,
        form: Form,
        histograms: Histograms,
        skip: usize,
    ) -> usize {
        self.each(family, form, histograms, skip, |metric| {
            message::encode(METRIC, metric, out);
            out.len() < super::PIECE
        })
    }

    /// Hands out the message of each series, until `more` says no; several of a bucket's.
    fn each(
        &mut self,
        family: Family<'_>,
        form: Form,
        histograms: Histograms,
        skip: usize,
        mut more: impl FnMut(&Metric) -> bool,
    ) -> usize {
        let metric = &mut self.metric;
        let mut count = 0;
        let family_type = family.family_type();
        let created = family.started().map(Timestamp::from_unix);
        if family_type == FamilyType::Summary {
            for (block, value) in family.histograms(skip) {
                count += 1;
                set_labels(&mut metric.label, block);
                set_summary(metric, &value, created);
                if !more(metric) {
                    break;
                }
            }
        } else if family_type == FamilyType::Histogram {
            for (block, value) in family.histograms(skip) {
                count += 1;
                let go_on = if let Form::Part(part) = form {
                    part_series(metric, block, &value, part, &mut more)
                } else {
                    set_labels(&mut metric.label, block);
                    clear_value(metric);
                    let histogram = metric.histogram.get_or_insert_default();
                    set_histogram(histogram, &value, histograms);
                    histogram.created_timestamp = created;
                    more(metric)
                };
                if !go_on {
                    break;
                }
            }
        } else {
            for (block, number) in family.scalars(skip) {
                count += 1;
                set_labels(&mut metric.label, block);
                set_scalar(metric, metric_type(form, family_type), number, created);
                if !more(metric) {
                    break;
                }
            }
        }
        count
    }
}

fn part_series(
    metric: &mut Metric,
    block: &str,
    value: &HistogramValue<'_>,
    part: Part,
    more: &mut impl FnMut(&Metric) -> bool,
) -> bool {
    let mut go_on = true;
    part.each(value, |le, sample| {
        set_labels(&mut metric.label, block);
        if let Some(le) = le {
            metric.label.push(LabelPair {
                name: Some("le".to_owned()),
                value: Some(le.to_owned()),
            });
        }
        clear_value(metric);
        metric.histogram = None;
        metric.untyped = Some(Scalar {
            value: Some(sample.as_f64()),
            created_timestamp: None,
        });
        go_on &= more(metric);
    });
    go_on
}

/// The type of a family in this form.
pub(super) const fn metric_type(form: Form, family_type: FamilyType) -> MetricType {
    match (form, family_type) {
        (Form::Unknown | Form::Part(_), _) | (_, FamilyType::Unknown) => MetricType::Untyped,
        (_, FamilyType::Counter) => MetricType::Counter,
        (_, FamilyType::Gauge) => MetricType::Gauge,
        (_, FamilyType::Histogram) => MetricType::Histogram,
        (_, FamilyType::Summary) => MetricType::Summary,
    }
}

fn clear_value(metric: &mut Metric) {
    (metric.gauge, metric.counter, metric.untyped) = (None, None, None);
    metric.summary = None;
}

fn set_summary(metric: &mut Metric, value: &HistogramValue<'_>, created: Option<Timestamp>) {
    clear_value(metric);
    metric.histogram = None;
    let quantiles = value.quantiles().map(|(quantile, value)| Quantile {
        quantile: Some(quantile),
        value: Some(value),
    });
    metric.summary = Some(Summary {
        sample_count: Some(value.count),
        sample_sum: Some(value.sum),
        quantile: quantiles.collect(),
        created_timestamp: created,
    });
}

fn set_scalar(
    metric: &mut Metric,
    metric_type: MetricType,
    number: Number,
    created: Option<Timestamp>,
) {
    clear_value(metric);
    metric.histogram = None;
    let scalar = Some(Scalar {
        value: Some(number.as_f64()),
        created_timestamp: created.filter(|_| metric_type == MetricType::Counter),
    });
    match metric_type {
        MetricType::Counter => metric.counter = scalar,
        MetricType::Gauge => metric.gauge = scalar,
        MetricType::Untyped | MetricType::Histogram | MetricType::Summary => {
            metric.untyped = scalar;
        }
    }
}

fn set_histogram(histogram: &mut Histogram, value: &HistogramValue<'_>, form: Histograms) {
    histogram.sample_count = Some(value.count);
    histogram.sample_sum = Some(value.sum);
    histogram.bucket.clear();
    let native = value.native.filter(|_| form != Histograms::Classic);
    if native.is_none() || form == Histograms::Both {
        let buckets = value.bounds.iter().zip(value.buckets);
        histogram
            .bucket
            .extend(buckets.map(|(bound, count)| Bucket {
                cumulative_count: Some(*count),
                upper_bound: Some(*bound),
            }));
    }
    if let Some(native) = native {
        set_native(histogram, native);
    }
}

fn set_native(histogram: &mut Histogram, native: &NativeHistogram) {
    // The same but where counts pass 2^63: the buckets have to add up to it.
    histogram.sample_count = Some(native.count);
    histogram.sample_sum = Some(native.sum);
    histogram.schema = Some(native.schema);
    histogram.zero_threshold = Some(native.zero_threshold);
    histogram.zero_count = Some(native.zero_count);
    let set = |side: &Side, spans: &mut Vec<BucketSpan>, deltas: &mut Vec<i64>| {
        spans.clear();
        spans.extend(side.spans.iter().map(|span| BucketSpan {
            offset: Some(span.offset),
            length: Some(span.length),
        }));
        deltas.clear();
        deltas.extend_from_slice(&side.deltas);
    };
    set(
        &native.positive,
        &mut histogram.positive_span,
        &mut histogram.positive_delta,
    );
    set(
        &native.negative,
        &mut histogram.negative_span,
        &mut histogram.negative_delta,
    );
}

/// Reads a label block back into pairs, in the memory of those that were there.
pub(super) fn set_labels(pairs: &mut Vec<LabelPair>, block: &str) {
    let mut used = 0;
    let mut rest = block;
    while let Some((name, after)) = rest.split_once("=\"") {
        if used == pairs.len() {
            pairs.push(LabelPair::default());
        }
        let Some(pair) = pairs.get_mut(used) else {
            break;
        };
        used += 1;
        let held = pair.name.get_or_insert_default();
        held.clear();
        held.push_str(name.strip_prefix(',').unwrap_or(name));
        let value = pair.value.get_or_insert_default();
        value.clear();
        rest = push_unescaped_label_value(value, after);
    }
    pairs.truncate(used);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Labels;

    #[test]
    fn label_blocks_are_read_back() {
        let mut pairs = Vec::new();
        for values in [
            &[("a", "1")][..],
            &[],
            &[("a", "q\"\\\n"), ("b", ""), ("c", "x=\"y\",z=\"")],
            &[("a", "\\n\\\\"), ("b", "{}\u{65e5}")],
        ] {
            let mut labels = Labels::new();
            for (name, value) in values {
                labels.set((*name).to_owned(), (*value).to_owned());
            }
            set_labels(&mut pairs, &labels.to_block());
            let got: Vec<_> = pairs
                .iter()
                .map(|pair| {
                    (
                        pair.name.as_deref().unwrap(),
                        pair.value.as_deref().unwrap(),
                    )
                })
                .collect();
            assert_eq!(got, values);
        }
    }
}
