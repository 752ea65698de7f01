//! What is sent, as a reader of the messages sees it that shares nothing with the writer.
#![expect(
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "small whole numbers are compared"
)]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::prelude::*;
use prost::Message;

use super::batches::{Batches, Source};
use super::shape::Cursor;
use super::wire::STALE;
use super::*;
use crate::decode::DetailedHistogram;
use crate::histogram::Bin;
use crate::mapping::Mapping;
use crate::names::Labels;
use crate::relabel::{RuleConfig, Rules};
use crate::snapshot::Limits;
use crate::snapshot::builder::{Builder, Settings};
use crate::stat::StatType;

/// The messages, from their documentation alone.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

type Series = Vec<(String, String)>;

/// Read once: it takes its time.
static MAPPING: LazyLock<Arc<Mapping>> = LazyLock::new(|| Arc::new(Mapping::native().unwrap()));

fn builder() -> Builder {
    let mut builder = Builder::new(Settings {
        mapping: Arc::clone(&MAPPING),
        target_labels: Labels::new(),
        relabel: Arc::default(),
        limits: Limits::default(),
        reserved: Arc::default(),
        native_histograms: false,
        created_timestamps: false,
    });
    builder.begin();
    builder
}

/// A snapshot of a counter and a histogram of each cluster.
fn snapshot(clusters: &[(String, u64)]) -> Arc<Snapshot> {
    let mut builder = builder();
    for (cluster, value) in clusters {
        let name = format!("cluster.{cluster}.upstream_rq_total");
        builder.number(Some(StatType::Counter), &name, *value);
    }
    for (cluster, count) in clusters.iter().filter(|(_, value)| value % 2 == 1) {
        let name = format!("cluster.{cluster}.upstream_rq_time");
        builder.histogram(&DetailedHistogram {
            name: &name,
            bins: &[Bin {
                lower_bound: 5.0,
                width: 0.1,
                count: *count,
            }],
            percentiles: &[],
        });
        // Bounds by cluster, so that more than whole histograms come and go.
        let most = 1.0 + (value_of(cluster) % 3) as f64;
        builder.bounds(&name, &[0.5, most, 10.0]);
    }
    Arc::new(builder.finish())
}

fn value_of(text: &str) -> u64 {
    text.bytes().map(u64::from).sum()
}

fn shape(snapshot: &Snapshot, labeling: &Arc<Labeling>) -> Arc<Shape> {
    Arc::new(Shape::new(snapshot, Arc::clone(labeling), Form::Classic))
}

const LIMIT: BatchLimit = BatchLimit {
    samples: 7,
    bytes: 900,
};

/// What sources send: labels and value, all at one time, in requests within the limit.
fn sent(sources: Vec<Source>, limit: BatchLimit) -> Vec<(Series, f64)> {
    let mut sent = Vec::new();
    for batch in Batches::new(sources, limit, 1234) {
        let request = WriteRequest::decode(batch.message()).unwrap();
        let count = request.timeseries.len();
        assert!(count <= limit.samples);
        assert!(batch.message().len() <= limit.bytes || count == 1);
        for series in request.timeseries {
            let labels = series.labels.into_iter();
            let labels: Series = labels.map(|label| (label.name, label.value)).collect();
            assert!(
                labels.is_sorted_by(|one, other| one.0 < other.0),
                "{labels:?}"
            );
            assert_eq!(series.samples.len(), 1);
            assert_eq!(series.samples[0].timestamp, 1234);
            sent.push((labels, series.samples[0].value));
        }
    }
    sent
}

fn values(snapshot: &Arc<Snapshot>, shape: &Arc<Shape>) -> Source {
    Source::Values {
        shape: Arc::clone(shape),
        snapshot: Arc::clone(snapshot),
        cursor: Cursor::default(),
    }
}

fn labeling(external: &[(&str, &str)], rules: &str) -> Arc<Labeling> {
    let (written, problems) = crate::yaml::read::<Vec<RuleConfig>>(rules);
    assert!(problems.is_empty(), "{problems:?}");
    let written = written.unwrap();
    let mut labels = Labels::new();
    for (name, value) in external {
        labels.set((*name).to_owned(), (*value).to_owned());
    }
    Arc::new(Labeling {
        external: labels,
        rules: Rules::compile(&written).unwrap(),
        written,
    })
}

fn series(labels: &Labels) -> Series {
    let labels = labels.iter();
    labels
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn names(all: &BTreeSet<u8>) -> Vec<(String, u64)> {
    let names = all.iter();
    names
        .map(|at| (format!("c{at}.x"), u64::from(*at)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Each series once, with its labels and the external ones, whatever is in them.
    #[test]
    fn every_series_is_sent_once(
        clusters in prop::collection::btree_map("[a-z\"\\\\ \u{e9}{}=,]{1,8}", any::<u32>(), 0..40),
        external in "[A-Z\"\\\\\n]{1,5}",
        samples in 1_usize..30,
        bytes in 1_usize..3000,
    ) {
        let counters: Vec<_> = clusters.iter().map(|(name, value)| (name.clone(), u64::from(*value))).collect();
        let snapshot = snapshot(&counters);
        let labeling = labeling(&[("Zone", &external), ("zone", "z")], "[]");
        let shape = shape(&snapshot, &labeling);
        let got = sent(vec![values(&snapshot, &shape)], BatchLimit { samples, bytes });
        prop_assert_eq!(got.len(), shape.samples());
        let got: BTreeMap<_, _> = got.into_iter().collect::<Vec<_>>().into_iter()
            .map(|(labels, value)| (labels, value.to_bits())).collect();
        let mut want = BTreeMap::new();
        for family in snapshot.families() {
            for (block, value) in family.scalars(0) {
                let mut labels = Labels::from_block(block);
                labels.set("__name__".to_owned(), family.name().to_owned());
                labels.set("Zone".to_owned(), external.clone());
                labels.set("zone".to_owned(), "z".to_owned());
                want.insert(series(&labels), value.as_f64().to_bits());
            }
            for (block, value) in family.histograms(0) {
                let mut want = |suffix: &str, le: Option<&str>, value: f64| {
                    let mut labels = Labels::from_block(block);
                    labels.set("__name__".to_owned(), format!("{}{suffix}", family.name()));
                    labels.set("Zone".to_owned(), external.clone());
                    labels.set("zone".to_owned(), "z".to_owned());
                    if let Some(le) = le {
                        labels.set("le".to_owned(), le.to_owned());
                    }
                    want.insert(series(&labels), value.to_bits());
                };
                for (le, count) in value.le.iter().zip(value.buckets) {
                    want("_bucket", Some(le), *count as f64);
                }
                want("_bucket", Some("+Inf"), value.count as f64);
                want("_sum", None, value.sum);
                want("_count", None, value.count as f64);
            }
        }
        prop_assert_eq!(got, want);
    }

    /// Exactly the series that are no longer there are ended, with and without rules.
    #[test]
    fn what_is_gone_is_ended(
        before in prop::collection::btree_set(any::<u8>(), 0..60),
        after in prop::collection::btree_set(any::<u8>(), 0..60),
        with_rules in any::<bool>(),
    ) {
        let rules = if with_rules { "[{source_labels: [__name__], regex: '(.*)', target_label: __name__, replacement: 'x_$1'}]" } else { "[]" };
        let labeling = labeling(&[], rules);
        let (old, new) = (snapshot(&names(&before)), snapshot(&names(&after)));
        let (old_shape, new_shape) = (shape(&old, &labeling), shape(&new, &labeling));
        let ended = sent(vec![Source::gone(&old_shape, &[&*new_shape])], LIMIT);
        prop_assert!(ended.iter().all(|(_, value)| value.to_bits() == STALE));
        let ended: BTreeSet<_> = ended.into_iter().map(|(labels, _)| labels).collect();
        let of = |snapshot, shape| -> BTreeSet<Series> {
            sent(vec![values(snapshot, shape)], LIMIT).into_iter().map(|(labels, _)| labels).collect()
        };
        let (old, new) = (of(&old, &old_shape), of(&new, &new_shape));
        prop_assert_eq!(ended, old.difference(&new).cloned().collect::<BTreeSet<_>>());
        let all: Vec<_> = sent(vec![Source::gone(&old_shape, &[])], LIMIT);
        prop_assert_eq!(all.len(), old.len());
    }
}

fn queue(polls: usize, bytes: usize) -> (Arc<Telemetry>, Queue) {
    let telemetry = Arc::new(Telemetry::new().unwrap());
    let queue = Queue::new(QueueSize { polls, bytes }, Arc::clone(&telemetry));
    (telemetry, queue)
}

fn item(at: i64, snapshot: &Arc<Snapshot>, shape: &Arc<Shape>) -> Item {
    Item {
        timestamp: at,
        poll: Some(Poll {
            target: "envoy".into(),
            parts: vec![(Arc::clone(shape), Arc::clone(snapshot))],
        }),
        own: None,
        gone: Vec::new(),
        own_gone: false,
    }
}

fn counted(telemetry: &Telemetry, name: &str, fate: &str) -> f64 {
    let families = telemetry.gather();
    let family = families
        .iter()
        .find(|family| family.name() == name)
        .unwrap();
    let mut metrics = family.get_metric().iter();
    let found = metrics.find(|metric| {
        fate.is_empty() || metric.get_label().iter().any(|label| label.value() == fate)
    });
    let metric = found.unwrap();
    metric.get_counter().get_value() + metric.get_gauge().get_value()
}

/// A full queue drops the oldest and no other; what it says that it takes is what it takes.
#[tokio::test]
async fn the_queue_is_bounded() {
    let counters: Vec<_> = (0..2000).map(|at| (format!("c{at}"), at * 2)).collect();
    let first = snapshot(&counters);
    let shape = shape(&first, &Arc::default());
    let samples = shape.samples();
    assert!(samples >= 2000);
    let values_size = first.memory();
    assert!(
        values_size >= samples * 8 && values_size < samples * 24,
        "{values_size}"
    );
    // Room for a layout and ten polls and a half.
    let limit = shape.memory() + values_size * 21 / 2;
    let (telemetry, queue) = queue(1000, limit);
    let bytes = || counted(&telemetry, "envoy_exporter_push_queue_bytes", "");
    for at in 0..50 {
        queue.push(item(at, &first, &shape));
        assert!(bytes() <= limit as f64, "{at}: {}", bytes());
    }
    let dropped = |fate| counted(&telemetry, "envoy_exporter_push_samples_total", fate);
    assert_eq!(dropped("queue_full"), (samples * 40) as f64);
    // The oldest that is left is next. While it is taken, others go before it; when it is not, it
    // goes too, and what was taken of it is not counted as dropped.
    let next = queue.next().await.unwrap();
    assert_eq!(next.timestamp, 40);
    queue.delivered(Fate::Sent, 500);
    queue.push(item(50, &first, &shape));
    assert_eq!(dropped("queue_full"), (samples * 41) as f64);
    queue.set_stuck(true);
    queue.push(item(51, &first, &shape));
    queue.dropped().await;
    queue.delivered(Fate::Sent, 500);
    assert_eq!(dropped("sent"), 500.0);
    assert_eq!(dropped("queue_full"), (samples * 42 - 500) as f64);
    queue.done();
    for at in 42..=51 {
        assert_eq!(queue.next().await.unwrap().timestamp, at);
        queue.delivered(Fate::Sent, samples);
        queue.done();
    }
    assert_eq!(bytes(), 0.0, "nothing is forgotten");
    // Whatever a poll takes, one fits in.
    queue.set_limit(QueueSize { polls: 1, bytes: 1 });
    queue.push(item(52, &first, &shape));
    queue.push(item(53, &first, &shape));
    assert_eq!(queue.next().await.unwrap().timestamp, 53);
    queue.delivered(Fate::Sent, 10);
    queue.clear();
    assert_eq!(dropped("stopped"), (samples - 10) as f64);
    let all: f64 = ["sent", "queue_full", "stopped"]
        .into_iter()
        .map(dropped)
        .sum();
    assert_eq!(all, (samples * 54) as f64, "each sample has one fate");
    queue.close();
    assert!(queue.next().await.is_none());
}

/// That a target ended is said even if what was to say it is dropped.
#[tokio::test]
async fn an_end_is_not_dropped() {
    let first = snapshot(&[("a".to_owned(), 1)]);
    let shape = shape(&first, &Arc::default());
    let (_, queue) = queue(1, usize::MAX);
    let end = Item {
        timestamp: 1,
        poll: None,
        own: None,
        gone: vec!["other".into()],
        own_gone: true,
    };
    queue.push(end);
    queue.push(item(2, &first, &shape));
    queue.push(item(3, &first, &shape));
    let next = queue.next().await.unwrap();
    assert_eq!((next.timestamp, next.own_gone), (3, true));
    assert_eq!(next.gone, ["other".into()]);
}

/// What rules make one series of is one, and what they leave without a name is none.
#[test]
fn rules_never_make_a_series_twice() {
    let counters = [("a".to_owned(), 2), ("b".to_owned(), 4)];
    let first = snapshot(&counters);
    let labeling = labeling(
        &[("zone", "z")],
        "[{regex: envoy_cluster_name, action: labeldrop}]",
    );
    let shape = shape(&first, &labeling);
    assert_eq!(shape.samples(), 1);
    let sent = sent(vec![values(&first, &shape)], LIMIT);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].1, 2.0);
}
