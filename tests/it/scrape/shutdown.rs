//! Stopping: what is under way ends first, for a bounded time, and nothing new is taken.

use std::time::Duration;

use crate::support::client::Client;
use crate::support::exporter::{Exporter, PATIENCE, eventually, options};

/// Waits until nothing listens any more.
async fn refused(address: &str) {
    let refused = async {
        while Client::try_connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, refused).await;
    waited.expect("new connections are refused");
}

#[tokio::test]
async fn what_is_under_way_ends_first() {
    let mut options = options();
    options.drain_timeout = PATIENCE * 2;
    let mut exporter = Exporter::start(options).await;
    let backend = exporter.backend.clone();
    let mut reading = exporter.connect().await;
    reading.ask("GET", "/metrics?name[]=gated").await;
    reading.read_until(b"first\n").await;
    let mut waiting = exporter.connect().await;
    waiting.ask("GET", "/metrics?name[]=held").await;
    eventually("both are under way", || backend.begun() == 2).await;

    exporter.stop();
    refused(&exporter.addresses[0]).await;
    backend.open_gate();
    let answer = reading.answer("GET").await;
    answer.check("one with its head out", 200, "first\nlast\n");
    let answer = waiting.answer("GET").await;
    answer.check("one without", 200, "held|\n");
    assert_eq!(answer.headers["connection"], "close");
    for mut client in [reading, waiting] {
        assert_eq!(client.closed().await, b"");
    }
    exporter.stopped().await;
}

#[tokio::test]
async fn what_is_stuck_is_cut_off() {
    let mut options = options();
    options.drain_timeout = Duration::from_millis(300);
    let drain_timeout = options.drain_timeout;
    let mut exporter = Exporter::start(options).await;
    let backend = exporter.backend.clone();
    let mut stuck = exporter.connect().await;
    stuck.ask("GET", "/metrics?name[]=gated").await;
    stuck.read_until(b"first\n").await;
    let mut held = exporter.connect().await;
    held.ask("GET", "/metrics?name[]=held").await;
    let mut unread = Client::connect_narrow(&exporter.addresses[0]).await;
    unread.ask("GET", "/metrics?name[]=big").await;
    eventually("all are under way", || backend.begun() == 3).await;

    exporter.stop();
    let took = exporter.stopped().await;
    assert!(took >= drain_timeout, "{took:?}");
    for (what, mut client) in [("stuck", stuck), ("unread", unread)] {
        let answer = client.answer("GET").await;
        assert_eq!((answer.status, answer.whole), (200, false), "{what}");
    }
    assert_eq!(held.closed().await, b"");
    eventually("nothing is left", || backend.bodies() == 0).await;
    eventually("every request ends", || backend.ended().len() == 3).await;
}

#[tokio::test]
async fn connections_without_a_request_are_not_waited_for() {
    let mut options = options();
    options.drain_timeout = PATIENCE * 2;
    let mut exporter = Exporter::start(options).await;
    let mut idle = exporter.connect().await;
    idle.get("/metrics").await.check("a scrape", 200, "|\n");
    let mut silent = exporter.connect().await;
    let mut partial = exporter.connect().await;
    partial.send("GET /metrics HT").await;
    // Connections are taken in order: those before this one are, too.
    assert_eq!(exporter.status("/metrics").await, 200);

    exporter.stop();
    for (what, client) in [
        ("idle", &mut idle),
        ("silent", &mut silent),
        ("partial", &mut partial),
    ] {
        assert_eq!(client.closed().await, b"", "{what}");
    }
    exporter.stopped().await;
}

#[tokio::test]
async fn one_that_waits_for_a_place_does_not_hold_up_the_end() {
    let mut options = options();
    options.max_connections = 1;
    options.drain_timeout = PATIENCE * 2;
    let mut exporter = Exporter::start(options).await;
    let backend = exporter.backend.clone();
    let mut first = exporter.connect().await;
    first.ask("GET", "/metrics?name[]=gated").await;
    first.read_until(b"first\n").await;
    let mut second = exporter.connect().await;
    second.ask("GET", "/metrics").await;

    exporter.stop();
    assert_eq!(second.closed().await, b"");
    backend.open_gate();
    let answer = first.answer("GET").await;
    answer.check("the first", 200, "first\nlast\n");
    assert_eq!(first.closed().await, b"");
    exporter.stopped().await;
}
