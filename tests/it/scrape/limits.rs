//! Readers that do not read, and clients that are more than there is room for.

use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::exporter::{Exporter, PATIENCE, PIECE, PIECES, eventually, options};

const STALL_TIMEOUT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_reader_that_does_not_read_is_cut_off() {
    let mut options = envoy_exporter::web::Options::new("/metrics", 1).unwrap();
    options.stall_timeout = STALL_TIMEOUT;
    let exporter = Exporter::start(options).await;
    let backend = &exporter.backend;
    let mut stalled = Client::connect_narrow(&exporter.addresses[0]).await;
    let start = Instant::now();
    stalled.ask("GET", "/metrics?name[]=big").await;
    eventually("the body begins", || backend.pieces() > 0).await;
    assert_eq!(exporter.status("/metrics").await, 503, "its place is taken");
    eventually("the body is dropped", || backend.bodies() == 0).await;
    assert!(start.elapsed() >= STALL_TIMEOUT, "{:?}", start.elapsed());
    // The kernel holds some megabytes of what was not read, the exporter next to nothing.
    assert!(backend.pieces() < PIECES / 4, "{} pieces", backend.pieces());
    assert_eq!(exporter.status("/metrics").await, 200, "its place is free");
    let answer = stalled.answer("GET").await;
    assert_eq!((answer.status, answer.whole), (200, false));
    assert!(answer.body.len() < PIECES / 4 * PIECE);
}

#[tokio::test]
async fn one_that_only_asks_is_cut_off() {
    let mut options = options();
    options.stall_timeout = STALL_TIMEOUT;
    let exporter = Exporter::start(options).await;
    let mut client = Client::connect_narrow(&exporter.addresses[0]).await;
    let requests = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let start = Instant::now();
    while client.try_send(requests.as_bytes()).await.is_ok() {
        assert!(start.elapsed() < PATIENCE, "it is never cut off");
    }
    assert!(start.elapsed() >= STALL_TIMEOUT, "{:?}", start.elapsed());
    assert_eq!(exporter.status("/metrics").await, 200);
}

#[tokio::test]
async fn a_reader_that_leaves_gives_its_place_back() {
    let options = envoy_exporter::web::Options::new("/metrics", 1).unwrap();
    let exporter = Exporter::start(options).await;
    let backend = &exporter.backend;
    for name in ["big", "gated"] {
        let mut client = Client::connect_narrow(&exporter.addresses[0]).await;
        client.ask("GET", &format!("/metrics?name[]={name}")).await;
        eventually("the body begins", || backend.bodies() == 1).await;
        assert_eq!(exporter.status("/metrics").await, 503, "{name}");
        drop(client);
        eventually("the body is dropped", || backend.bodies() == 0).await;
        assert_eq!(exporter.status("/metrics").await, 200, "{name}");
    }
}

#[tokio::test]
async fn a_slow_reader_gets_everything() {
    let mut options = options();
    options.stall_timeout = STALL_TIMEOUT;
    let exporter = Exporter::start(options).await;
    let mut client = Client::connect_narrow(&exporter.addresses[0]).await;
    client.ask("GET", "/metrics?name[]=big").await;
    // A pause after each part: longer than the limit in all, none of them as long.
    let (pause, parts) = (STALL_TIMEOUT / 10, 16);
    let start = Instant::now();
    for _ in 0..parts {
        let mut left = PIECES * PIECE / parts / 2;
        while left > 0 {
            left -= client.read(left).await;
        }
        tokio::time::sleep(pause).await;
    }
    assert!(start.elapsed() >= STALL_TIMEOUT);
    let answer = client.answer("GET").await;
    assert_eq!((answer.body.len(), answer.whole), (PIECES * PIECE, true));
    assert_eq!(exporter.backend.pieces(), PIECES);
}

#[tokio::test]
async fn scrapes_beyond_the_limit_are_refused() {
    let options = envoy_exporter::web::Options::new("/metrics", 2).unwrap();
    let exporter = Exporter::start(options).await;
    let backend = &exporter.backend;
    let mut first = exporter.connect().await;
    first.ask("GET", "/metrics?name[]=gated").await;
    first.read_until(b"first\n").await;
    let mut second = exporter.connect().await;
    second.ask("GET", "/metrics?name[]=held").await;
    eventually("two scrapes are under way", || backend.begun() == 2).await;
    let mut others = exporter.connect().await;
    for _ in 0..3 {
        let answer = others.get("/metrics").await;
        answer.check("a third", 503, "too many scrapes at the same time\n");
        let answer = others.get("/-/healthy").await;
        answer.check("a probe", 200, "healthy\n");
        assert_eq!(others.get("/").await.status, 200);
    }
    // A scrape whose client leaves gives its place back, as does one that ends.
    drop(second);
    eventually("the second ends", || backend.ended().contains(&499)).await;
    assert_eq!(others.get("/metrics").await.status, 200);
    backend.open_gate();
    let answer = first.answer("GET").await;
    answer.check("the first", 200, "first\nlast\n");
    for _ in 0..3 {
        assert_eq!(others.get("/metrics").await.status, 200);
    }
}

#[tokio::test]
async fn one_that_reads_a_little_now_and_then_is_cut_off() {
    let mut options = envoy_exporter::web::Options::new("/metrics", 1).unwrap();
    options.response_timeout = Duration::from_secs(1);
    let limit = options.response_timeout;
    let exporter = Exporter::start(options).await;
    let backend = &exporter.backend;
    let mut sipping = Client::connect_narrow(&exporter.addresses[0]).await;
    let start = Instant::now();
    sipping.ask("GET", "/metrics?name[]=big").await;
    eventually("the body begins", || backend.bodies() == 1).await;
    while backend.bodies() == 1 {
        assert!(start.elapsed() < PATIENCE, "it is never cut off");
        sipping.read(PIECE).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(start.elapsed() >= limit, "{:?}", start.elapsed());
    assert_eq!(exporter.status("/metrics").await, 200, "its place is free");
    let answer = sipping.answer("GET").await;
    assert_eq!((answer.status, answer.whole), (200, false));
}

#[tokio::test]
async fn time_for_a_response_is_not_time_for_a_connection() {
    let mut options = options();
    options.response_timeout = Duration::from_millis(300);
    let limit = options.response_timeout;
    let exporter = Exporter::start(options).await;
    let mut client = exporter.connect().await;
    let start = Instant::now();
    while start.elapsed() < limit * 3 {
        client.get("/metrics").await.check("a scrape", 200, "|\n");
        tokio::time::sleep(limit / 10).await;
    }
}

#[tokio::test]
async fn one_connection_more_takes_the_place_of_the_one_that_idles_longest() {
    let mut options = options();
    options.max_connections = 2;
    let exporter = Exporter::start(options).await;
    let mut first = exporter.connect().await;
    first.get("/metrics").await.check("the first", 200, "|\n");
    let mut second = exporter.connect().await;
    second.get("/metrics").await.check("the second", 200, "|\n");
    first.get("/metrics").await.check("the first", 200, "|\n");
    let mut third = exporter.connect().await;
    third.get("/metrics").await.check("the third", 200, "|\n");
    assert_eq!(second.closed().await, b"");
    first.get("/metrics").await.check("the first", 200, "|\n");
    third.get("/metrics").await.check("the third", 200, "|\n");
}

#[tokio::test]
async fn one_that_is_being_answered_keeps_its_place() {
    let mut options = options();
    options.max_connections = 2;
    let exporter = Exporter::start(options).await;
    let backend = &exporter.backend;
    let mut first = exporter.connect().await;
    first.ask("GET", "/metrics?name[]=gated").await;
    first.read_until(b"first\n").await;
    let mut second = exporter.connect().await;
    second.ask("GET", "/metrics?name[]=held").await;
    eventually("both are under way", || backend.begun() == 2).await;
    let mut third = exporter.connect().await;
    third.ask("GET", "/metrics?name[]=third").await;
    assert!(!third.closes_within(Duration::from_millis(200)).await);
    assert_eq!(backend.begun(), 2, "the third waits");
    backend.open_gate();
    let answer = first.answer("GET").await;
    answer.check("the first", 200, "first\nlast\n");
    let answer = second.answer("GET").await;
    answer.check("the second", 200, "held|\n");
    // One of them is without a request now.
    let answer = third.answer("GET").await;
    answer.check("the third", 200, "third|\n");
}

#[tokio::test]
async fn a_probe_is_answered_however_many_hold_a_connection() {
    let mut options = envoy_exporter::web::Options::new("/metrics", 4).unwrap();
    options.max_connections = 16;
    let exporter = Exporter::start(options).await;
    let mut scrapes = Vec::new();
    for _ in 0..4 {
        let mut client = exporter.connect().await;
        client.ask("GET", "/metrics?name[]=gated").await;
        client.read_until(b"first\n").await;
        scrapes.push(client);
    }
    let mut holding = Vec::new();
    for number in 0..100 {
        let mut client = exporter.connect().await;
        match number % 3 {
            0 => {}
            1 => client.send("GET /metrics HTTP/1.1\r\nhost: ").await,
            _ => client.ask("GET", "/").await,
        }
        holding.push(client);
        let start = Instant::now();
        assert_eq!(exporter.status("/-/healthy").await, 200);
        let took = start.elapsed();
        assert!(took < PATIENCE / 10, "{took:?} with {number} connections");
    }
    exporter.backend.open_gate();
    for mut client in scrapes {
        let answer = client.answer("GET").await;
        answer.check("a scrape", 200, "first\nlast\n");
    }
}

/// On one thread, as the program has it: whoever reads as fast as it is written leaves time for
/// others.
#[tokio::test]
async fn large_scrapes_do_not_hold_up_a_probe() {
    let exporter = Exporter::start(options()).await;
    let mut reading = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut client = exporter.connect().await;
        reading.spawn(async move {
            client.ask("GET", "/metrics?name[]=big").await;
            client.answer("GET").await.body.len()
        });
    }
    let backend = &exporter.backend;
    eventually("all begin", || backend.bodies() == 4).await;
    let (mut slowest, mut probes) = (Duration::ZERO, 0);
    while backend.bodies() == 4 {
        let start = Instant::now();
        assert_eq!(exporter.status("/-/healthy").await, 200);
        slowest = slowest.max(start.elapsed());
        probes += 1;
    }
    assert!(probes > 3, "{probes} probes");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    while let Some(read) = reading.join_next().await {
        assert_eq!(read.unwrap(), PIECES * PIECE);
    }
}

#[tokio::test]
async fn a_listener_without_clients_takes_no_place() {
    let mut options = options();
    options.max_connections = 1;
    let exporter = Exporter::start_at(&["127.0.0.1:0", "127.0.0.1:0"], options).await;
    for turn in [0, 0, 1, 1, 0] {
        let mut client = Client::connect(&exporter.addresses[turn]).await;
        client.get("/metrics").await.check("a turn", 200, "|\n");
    }
}
