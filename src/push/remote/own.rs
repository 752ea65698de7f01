//! The exporter's own metrics as series of remote write.

use std::sync::Arc;

use prometheus::proto::{Histogram, Metric, MetricFamily, MetricType};

use super::labels::{LE, Labeling, encode, relabeled, with_external};
use super::shape::find_missing;
use super::wire::Metadata;
use crate::family::FamilyType;
use crate::names::{Labels, number_text};

/// The own series of one time, without their values.
#[derive(Debug, Default)]
pub(super) struct OwnShape {
    /// The message of each series' labels, and its key.
    series: Vec<(Box<[u8]>, u64)>,
    metadata: Vec<Metadata>,
}

impl OwnShape {
    pub(super) fn series(&self) -> impl Iterator<Item = &[u8]> {
        self.series.iter().map(|(labels, _)| &**labels)
    }

    pub(super) fn len(&self) -> usize {
        self.series.len()
    }

    pub(super) fn metadata(&self) -> impl Iterator<Item = Metadata> {
        self.metadata.iter().cloned()
    }

    /// The numbers of series that another shape has not.
    pub(super) fn missing_in(&self, other: &Self) -> Vec<usize> {
        let keys = |shape: &Self| -> Vec<_> {
            let keys = shape.series.iter().map(|(_, key)| *key);
            keys.enumerate().collect()
        };
        let mut missing = Vec::new();
        find_missing(&keys(self), &keys(other), &mut missing);
        missing
    }

    fn is_same(&self, other: &Self) -> bool {
        let keys = |shape: &'_ Self| -> Vec<u64> {
            let series = shape.series.iter();
            series.map(|(_, key)| *key).collect()
        };
        keys(self) == keys(other)
    }
}

/// The own metrics of one time.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) shape: Arc<OwnShape>,
    pub(super) values: Arc<[f64]>,
}

impl Own {
    /// Reads what was gathered; the shape of the last time is used again where it is the same.
    pub(super) fn new(
        families: &[MetricFamily],
        labeling: &Labeling,
        last: Option<&Arc<OwnShape>>,
    ) -> Self {
        let mut made = Making {
            labeling,
            shape: OwnShape::default(),
            values: Vec::new(),
        };
        for family in families {
            made.family(family);
        }
        let shape = match last.filter(|last| last.is_same(&made.shape)) {
            Some(last) => Arc::clone(last),
            None => Arc::new(made.shape),
        };
        Self {
            shape,
            values: made.values.into(),
        }
    }
}

struct Making<'m> {
    labeling: &'m Labeling,
    shape: OwnShape,
    values: Vec<f64>,
}

impl Making<'_> {
    fn family(&mut self, family: &MetricFamily) {
        let name = family.name();
        let family_type = match family.get_field_type() {
            MetricType::COUNTER => FamilyType::Counter,
            MetricType::GAUGE => FamilyType::Gauge,
            MetricType::HISTOGRAM => FamilyType::Histogram,
            // We register none of these.
            MetricType::SUMMARY | MetricType::UNTYPED => return,
        };
        let metadata = Metadata::new(name, family_type, family.help());
        self.shape.metadata.push(metadata);
        for metric in family.get_metric() {
            let labels = labels(metric, &self.labeling.external);
            match family_type {
                FamilyType::Counter => {
                    self.sample(name, &labels, None, metric.get_counter().get_value());
                }
                FamilyType::Histogram => self.histogram(name, &labels, metric.get_histogram()),
                _ => self.sample(name, &labels, None, metric.get_gauge().get_value()),
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a double is what is asked for")]
    fn histogram(&mut self, name: &str, labels: &Labels, histogram: &Histogram) {
        let count = histogram.get_sample_count() as f64;
        let bucket = format!("{name}_bucket");
        let buckets = histogram.get_bucket().iter();
        for at in buckets.filter(|at| at.upper_bound().is_finite()) {
            let le = number_text(at.upper_bound());
            self.sample(&bucket, labels, Some(&le), at.cumulative_count() as f64);
        }
        self.sample(&bucket, labels, Some("+Inf"), count);
        let sum = histogram.get_sample_sum();
        self.sample(&format!("{name}_sum"), labels, None, sum);
        self.sample(&format!("{name}_count"), labels, None, count);
    }

    fn sample(&mut self, name: &str, labels: &Labels, le: Option<&str>, value: f64) {
        let le = le.map(|le| (LE, le));
        if let Some(labels) = relabeled(name, labels, le, &self.labeling.rules) {
            self.shape.series.push(encode(&labels));
            self.values.push(value);
        }
    }
}

fn labels(metric: &Metric, external: &Labels) -> Labels {
    let mut labels = Labels::new();
    for pair in metric.get_label() {
        labels.set(pair.name().to_owned(), pair.value().to_owned());
    }
    with_external(&labels, external)
}
