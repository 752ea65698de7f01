//! What each stage costs on the answers of a real Envoy with sixty clusters, some 7,000 stats:
//! `cargo bench`. Whole processes beside each other are measured by `make bench`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that does not find what it needs is to fail there"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};

use divan::Bencher;
use divan::counter::BytesCount;
use envoy_exporter::decode::{
    self, DetailedHistogram, HistogramKind, HistogramStream, StatStream, Taker, Value,
};
use envoy_exporter::exposition::serve::Server;
use envoy_exporter::exposition::{Body, Selection, Shape};
use envoy_exporter::mapping::Mapping;
use envoy_exporter::names::Labels;
use envoy_exporter::negotiate::{Encoding, Format};
use envoy_exporter::snapshot::builder::{Builder, Settings};
use envoy_exporter::snapshot::{Limits, Snapshot};
use envoy_exporter::stat::StatType;

/// Pieces of this size come from a socket.
const PIECE: usize = 64 * 1024;

fn main() {
    divan::main();
}

/// Answers of the mesh capture.
struct Answers {
    counters: Vec<u8>,
    gauges: Vec<u8>,
    histograms: Vec<u8>,
    bounds: Vec<u8>,
}

static ANSWERS: LazyLock<Answers> = LazyLock::new(|| {
    let dir = unpacked();
    let read = |name: &str| std::fs::read(dir.join(name)).expect(name);
    Answers {
        counters: read("counters.json"),
        gauges: read("gauges.json"),
        histograms: read("histograms.json"),
        bounds: read("stats_cumulative.json"),
    }
});

fn unpacked() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = root.join("target/bench-captures");
    std::fs::create_dir_all(&dir).unwrap();
    let archive = root.join("testdata/captures/1.40.0/mesh.tar.xz");
    let unpacking = Command::new("tar")
        .arg("-xJf")
        .arg(archive)
        .arg("-C")
        .arg(&dir)
        .status();
    assert!(unpacking.unwrap().success(), "tar and xz are needed");
    dir.join("mesh")
}

static MAPPING: LazyLock<Arc<Mapping>> =
    LazyLock::new(|| Arc::new(Mapping::native().expect("a shipped table")));

fn settings() -> Settings {
    Settings {
        mapping: Arc::clone(&MAPPING),
        target_labels: Labels::new(),
        relabel: Arc::default(),
        limits: Limits::default(),
        reserved: Arc::default(),
        native_histograms: false,
        created_timestamps: false,
    }
}

struct Taking<'b>(&'b mut Builder);

impl Taker for Taking<'_> {
    fn detailed(&mut self, histogram: &DetailedHistogram<'_>) {
        self.0.histogram(histogram);
    }

    fn bounds(&mut self, name: &str, bounds: &[f64]) {
        self.0.bounds(name, bounds);
    }
}

fn poll(builder: &mut Builder) -> Snapshot {
    builder.begin();
    for (body, stat_type) in [
        (&ANSWERS.counters, StatType::Counter),
        (&ANSWERS.gauges, StatType::Gauge),
    ] {
        read_numbers(body, |name, value| {
            builder.number(Some(stat_type), name, value);
        });
    }
    read_histograms(HistogramKind::Detailed, &ANSWERS.histograms, builder);
    if builder.missing().bounds {
        read_histograms(HistogramKind::Cumulative, &ANSWERS.bounds, builder);
    }
    builder.finish()
}

fn read_numbers(body: &[u8], mut each: impl FnMut(&str, u64)) {
    let mut stream = StatStream::default();
    let mut take = |name: &str, value: Value<'_>| {
        if let Value::Number(value) = value {
            each(name, value);
        }
    };
    for piece in body.chunks(PIECE) {
        stream.feed(piece, &mut take).expect("an answer");
    }
    stream.finish(&mut take).expect("an answer");
}

fn read_histograms(kind: HistogramKind, body: &[u8], builder: &mut Builder) {
    let mut stream = HistogramStream::new(kind);
    let mut taking = Taking(builder);
    for piece in body.chunks(PIECE) {
        stream.feed(piece, &mut taking).expect("an answer");
    }
    stream.finish(&mut taking).expect("an answer");
}

fn sum_of(read: impl FnOnce(&mut dyn FnMut(&str, u64))) -> u64 {
    let mut sum = 0_u64;
    read(&mut |name, value| sum = sum.wrapping_add(value).wrapping_add(name.len() as u64));
    sum
}

/// Counters as they come, in pieces.
#[divan::bench]
fn decode_streamed(bencher: Bencher<'_, '_>) {
    let body = &ANSWERS.counters;
    bencher
        .counter(BytesCount::of_slice(body))
        .bench(|| sum_of(|each| read_numbers(body, each)));
}

/// The same by the JSON reader that everything unusual goes to.
#[divan::bench]
fn decode_whole(bencher: Bencher<'_, '_>) {
    let body = &ANSWERS.counters;
    let read = |each: &mut dyn FnMut(&str, u64)| {
        let read = decode::stats(body, |name, value| {
            if let Value::Number(value) = value {
                each(name, value);
            }
        });
        read.expect("an answer");
    };
    bencher
        .counter(BytesCount::of_slice(body))
        .bench(|| sum_of(read));
}

/// Histograms with their bins.
#[divan::bench]
fn decode_histograms(bencher: Bencher<'_, '_>) {
    struct Count(usize);
    impl Taker for Count {
        fn detailed(&mut self, histogram: &DetailedHistogram<'_>) {
            self.0 += histogram.bins.len();
        }
        fn bounds(&mut self, _: &str, bounds: &[f64]) {
            self.0 += bounds.len();
        }
    }
    let body = &ANSWERS.histograms;
    bencher.counter(BytesCount::of_slice(body)).bench(|| {
        let mut stream = HistogramStream::new(HistogramKind::Detailed);
        let mut count = Count(0);
        for piece in body.chunks(PIECE) {
            stream.feed(piece, &mut count).expect("an answer");
        }
        stream.finish(&mut count).expect("an answer");
        count.0
    });
}

/// A poll that sees every name for the first time: mapping, layout, values.
#[divan::bench]
fn poll_new_names(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(|| Builder::new(settings()))
        .bench_local_values(|mut builder| {
            let snapshot = poll(&mut builder);
            (builder, snapshot)
        });
}

/// A poll that sees the names of the last one.
#[divan::bench]
fn poll_steady(bencher: Bencher<'_, '_>) {
    let mut builder = Builder::new(settings());
    poll(&mut builder);
    bencher.bench_local(|| poll(&mut builder).series());
}

fn snapshot() -> Arc<Snapshot> {
    Arc::new(poll(&mut Builder::new(settings())))
}

/// A body that is not compressed.
#[divan::bench(args = [Format::Text, Format::OpenMetrics, Format::Protobuf])]
fn render(bencher: Bencher<'_, '_>, format: Format) {
    let snapshot = snapshot();
    let body = || {
        let snapshots = vec![Arc::clone(&snapshot)];
        Body::new(
            snapshots,
            &Shape::new(format),
            &Selection::default(),
            Vec::new(),
        )
    };
    let size: usize = body().map(|piece| piece.len()).sum();
    bencher
        .counter(BytesCount::new(size))
        .bench(|| body().map(|piece| piece.len()).sum::<usize>());
}

/// A text body that is compressed, its making included.
#[divan::bench(args = [Encoding::Gzip, Encoding::Zstd])]
fn compress(bencher: Bencher<'_, '_>, encoding: Encoding) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let snapshot = snapshot();
    let shape = Shape::new(Format::Text);
    let body = Body::new(
        vec![Arc::clone(&snapshot)],
        &shape,
        &Selection::default(),
        Vec::new(),
    );
    let size: usize = body.map(|piece| piece.len()).sum();
    bencher.counter(BytesCount::new(size)).bench(|| {
        // What one server has made it keeps.
        let server = Server::default();
        let snapshots = vec![Arc::clone(&snapshot)];
        let answer = server.serve(
            snapshots,
            &shape,
            Selection::default(),
            encoding,
            Vec::new(),
        );
        runtime.block_on(answer).size
    });
}
