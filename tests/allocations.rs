//! How often a steady poll allocates. A binary of its own, since counting needs an allocator of its
//! own.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that does not find what it needs is to fail there"
)]

use std::fmt::Write as _;
use std::sync::Arc;

use envoy_exporter::decode::{StatStream, Value};
use envoy_exporter::mapping::Mapping;
use envoy_exporter::names::Labels;
use envoy_exporter::snapshot::builder::{Builder, Settings};
use envoy_exporter::snapshot::{Limits, Snapshot};
use envoy_exporter::stat::StatType;

/// An answer with the counters of so many clusters.
fn answer(clusters: usize, value: u64) -> String {
    let mut json = String::from("{\"stats\":[");
    for cluster in 0..clusters {
        for stat in [
            "membership_change",
            "upstream_cx_total",
            "upstream_rq_200",
            "upstream_rq_total",
        ] {
            let comma = if json.ends_with('[') { "" } else { "," };
            let name = format!("cluster.outbound|80||svc-{cluster}.ns.svc.cluster.local.{stat}");
            write!(json, "{comma}{{\"name\":\"{name}\",\"value\":{value}}}").unwrap();
        }
    }
    json + "]}"
}

fn poll(builder: &mut Builder, answer: &str) -> Snapshot {
    builder.begin();
    let mut stream = StatStream::default();
    let mut take = |name: &str, value: Value<'_>| {
        if let Value::Number(value) = value {
            builder.number(Some(StatType::Counter), name, value);
        }
    };
    for piece in answer.as_bytes().chunks(16 * 1024) {
        stream.feed(piece, &mut take).expect("an answer");
    }
    stream.finish(&mut take).expect("an answer");
    builder.finish()
}

/// Allocations of a poll that sees the stats of the last one.
fn allocations(clusters: usize) -> u64 {
    let mut builder = Builder::new(Settings {
        mapping: Arc::new(Mapping::native().unwrap()),
        target_labels: Labels::new(),
        relabel: Arc::default(),
        limits: Limits::default(),
        reserved: Arc::default(),
        native_histograms: false,
        created_timestamps: false,
    });
    let first = poll(&mut builder, &answer(clusters, 1));
    assert_eq!(first.series(), clusters * 4);
    let later = answer(clusters, 2);
    let counted = allocation_counter::measure(|| {
        let second = poll(&mut builder, &later);
        assert_eq!(second.series(), first.series());
    });
    counted.count_total
}

/// Some for the poll as such, none for a stat: a piece that ends within a stat costs no more than one
/// that does not.
#[test]
fn a_steady_poll_allocates_as_often_whatever_its_size() {
    let [few, many] = [100, 5000].map(allocations);
    assert_eq!(few, many);
    assert!(few <= 8, "{few}");
}
