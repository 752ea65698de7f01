//! What several test modules need.

/// A client that writes requests byte by byte.
pub mod client;
/// The web layer over a backend that does as told.
pub mod exporter;
/// An admin interface that misbehaves as told.
pub mod fake_envoy;
/// A reader of `OpenMetrics`, written from its specification.
pub mod openmetrics;
/// A reader of the text format, written from its specification.
pub mod prom;
/// Certificates, and clients with them.
pub mod tls;
/// A reader of delimited protobuf, written from the wire format's specification.
pub mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use envoy_exporter::collectors::{Collectors, Name};
use envoy_exporter::config::{Config, Overrides};
use envoy_exporter::exposition::{Body, Selection, Shape, own};
use envoy_exporter::negotiate::Format;
use envoy_exporter::poll::{Error, Polled, Poller};
use envoy_exporter::snapshot::Snapshot;
use envoy_exporter::transport::{AdminAddress, Options, Transport};

/// A file or folder of `testdata`.
pub fn testdata(inside: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(inside)
}

/// A poller of stats alone for an address, with mapping files and the limits of a test.
pub fn poller(address: &str, mapping: &[PathBuf], timeout: Duration, max_body: u64) -> Poller {
    let mapping = mapping.iter().map(|path| path.display().to_string());
    let overrides = Overrides {
        mapping: mapping.collect(),
        collectors: Name::ALL.iter().map(|name| (*name, false)).collect(),
        ..Overrides::default()
    };
    poller_with(address, &overrides, timeout, max_body)
}

/// A poller for an address, with settings and the limits of a test.
pub fn poller_with(
    address: &str,
    overrides: &Overrides,
    timeout: Duration,
    max_body: u64,
) -> Poller {
    poller_at(
        address.parse().expect("an address"),
        overrides,
        timeout,
        max_body,
    )
}

/// A poller of the demo.
pub fn demo_poller(overrides: &Overrides) -> Poller {
    poller_at(
        AdminAddress::Demo,
        overrides,
        Duration::from_secs(30),
        1 << 30,
    )
}

fn poller_at(
    address: AdminAddress,
    overrides: &Overrides,
    timeout: Duration,
    max_body: u64,
) -> Poller {
    let config = Config::load(overrides).unwrap_or_else(|error| panic!("{error}"));
    let options = Options {
        max_body,
        ..config.transport()
    };
    let transport = Transport::open(address, options).expect("a transport");
    let target = config.targets.first().expect("a target");
    let reserved = Arc::new(std::iter::once("envoy_up".to_owned()).collect());
    let settings = config.settings(target, &reserved);
    let collectors = Collectors::new(&config.collectors, settings.clone());
    Poller::new(transport, timeout, settings).with_collectors(collectors)
}

/// All that is exposed of a poll.
pub fn snapshots(polled: Polled) -> Vec<Arc<Snapshot>> {
    let all = std::iter::once(polled.snapshot).chain(polled.collected);
    all.map(Arc::new).collect()
}

/// Polls the capture in a folder.
pub async fn poll_dir(dir: &Path, overrides: &Overrides) -> Result<Polled, Error> {
    let address = format!("file://{}", dir.display());
    let mut poller = poller_with(&address, overrides, Duration::from_secs(30), 1 << 30);
    poller.poll().await
}

/// The exposition of one poll, without own metrics.
pub fn text(polled: Polled) -> String {
    let bytes = exposed(&snapshots(polled), &Shape::new(Format::Text));
    String::from_utf8(bytes).expect("an exposition is UTF-8")
}

/// The exposition of snapshots without own metrics.
pub fn exposed(snapshots: &[Arc<Snapshot>], shape: &Shape) -> Vec<u8> {
    let selection = Selection::default();
    let mut end = Vec::new();
    own::write(&mut end, &[], &selection, shape.format);
    let pieces = Body::new(snapshots.to_vec(), shape, &selection, end);
    pieces.flatten().collect()
}
