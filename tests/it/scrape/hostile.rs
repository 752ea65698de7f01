//! Clients that mean harm, or speak another protocol. Each is cut off; none disturbs others.

use std::time::{Duration, Instant};

use crate::support::exporter::{Exporter, PATIENCE, options};

const HEADER_TIMEOUT: Duration = Duration::from_millis(400);

async fn hasty() -> Exporter {
    let mut options = options();
    options.header_timeout = HEADER_TIMEOUT;
    Exporter::start(options).await
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_cut_off() {
    let exporter = hasty().await;
    let mut slow = exporter.connect().await;
    let start = Instant::now();
    let head = b"GET /metrics HTTP/1.1\r\nhost: x\r\nx: ";
    let mut bytes = head.iter().copied().chain(std::iter::repeat(b'y'));
    let mut served = 0;
    while slow.try_send(&[bytes.next().unwrap()]).await.is_ok() {
        assert!(start.elapsed() < PATIENCE, "it is never cut off");
        if slow.closes_within(Duration::from_millis(10)).await {
            break;
        }
        assert_eq!(exporter.status("/metrics").await, 200, "others are served");
        served += 1;
    }
    assert!(start.elapsed() >= HEADER_TIMEOUT, "{:?}", start.elapsed());
    assert!(served > 0);
    assert_eq!(exporter.backend.begun(), served, "it was no request");
}

#[tokio::test]
async fn silence_is_cut_off() {
    let exporter = hasty().await;
    for (what, sent) in [
        ("from the start", ""),
        ("in the head", "GET /metrics HTTP/1.1\r\nhost:"),
    ] {
        let mut client = exporter.connect().await;
        let start = Instant::now();
        client.send(sent).await;
        let rest = client.closed().await;
        assert_eq!(rest, b"", "{what}");
        assert!(
            start.elapsed() >= HEADER_TIMEOUT,
            "{what}: {:?}",
            start.elapsed()
        );
    }
    let mut client = exporter.connect().await;
    client.get("/metrics").await.check("a scrape", 200, "|\n");
    let start = Instant::now();
    let rest = client.closed().await;
    assert_eq!(rest, b"", "after a scrape");
    assert!(start.elapsed() >= HEADER_TIMEOUT / 2);
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let exporter = hasty().await;
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x01\x02\x03";
    let header = format!(
        "GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n",
        "y".repeat(1 << 20)
    );
    let headers = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1000));
    let path = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let request = |head: &str| format!("GET /metrics HTTP/1.1\r\n{head}\r\n\r\n").into_bytes();
    // None: the connection is closed without an answer.
    for (what, sent, status) in [
        ("TLS", hello.to_vec(), Some("400")),
        ("zeros", vec![0; 100], Some("400")),
        ("binary", (128..=255).collect(), Some("400")),
        ("a name alone", b"GET\r\n\r\n".to_vec(), Some("400")),
        ("HTTP/0.9", b"GET /metrics\r\n\r\n".to_vec(), Some("400")),
        ("HTTP/3.7", b"GET / HTTP/3.7\r\n\r\n".to_vec(), Some("400")),
        (
            "HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
            None,
        ),
        ("a header of 1 MiB", header.into_bytes(), Some("431")),
        ("1000 headers", headers.into_bytes(), Some("431")),
        ("a long path", path.into_bytes(), Some("414")),
        ("a header without a colon", request("host"), Some("400")),
        ("a header with a zero", request("x: \0"), Some("400")),
        ("a folded header", request("x: y\r\n z: a"), Some("400")),
        (
            "a length of no number",
            request("content-length: x"),
            Some("400"),
        ),
        (
            "two lengths",
            request("content-length: 1\r\ncontent-length: 2"),
            Some("400"),
        ),
        (
            "another coding than chunks",
            request("transfer-encoding: gzip"),
            Some("400"),
        ),
    ] {
        let mut client = exporter.connect().await;
        // What is cut off in the middle cannot be sent to the end.
        let _ = client.try_send(&sent).await;
        let answer = String::from_utf8(client.closed().await).unwrap();
        let got = answer.split(' ').nth(1);
        assert_eq!(got, status, "{what}: {answer}");
        assert_eq!(exporter.status("/metrics").await, 200, "after {what}");
    }
}

#[tokio::test]
async fn a_body_that_nobody_asked_for_is_not_read_for_ever() {
    let exporter = hasty().await;
    for (what, head) in [
        ("a length", "content-length: 1000000000000"),
        ("chunks", "transfer-encoding: chunked"),
    ] {
        let mut client = exporter.connect().await;
        let head = format!("POST /-/healthy HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n");
        client.send(head).await;
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        let start = Instant::now();
        while client.try_send(chunk.as_bytes()).await.is_ok() {
            assert!(start.elapsed() < PATIENCE, "{what}: it is read for ever");
        }
        assert_eq!(exporter.status("/metrics").await, 200, "after {what}");
    }
}

#[tokio::test]
async fn many_that_are_silent_do_not_hold_up_others() {
    let exporter = hasty().await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(exporter.connect().await);
    }
    assert_eq!(exporter.status("/metrics").await, 200);
    for mut client in silent {
        assert_eq!(client.closed().await, b"");
    }
}
