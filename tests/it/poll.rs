//! Polls against an admin interface that misbehaves: each fault has its outcome and its message,
//! and the poll after it works.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use envoy_exporter::telemetry::Outcome;

use crate::support::fake_envoy::{Answer, FakeEnvoy, ok, status};
use crate::support::{poller, prom, text};

const TIMEOUT: Duration = Duration::from_millis(400);
const MAX_BODY: u64 = 4096;

#[track_caller]
fn check(what: &str, got: &envoy_exporter::poll::Error, outcome: Outcome, message: &str) {
    let text = chain(got);
    assert_eq!(got.outcome(), outcome, "{what}: {text}");
    assert!(text.contains(message), "{what}: {text}");
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

#[tokio::test]
async fn every_fault_has_its_outcome_and_the_next_poll_works() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let whole = ok(r#"{"stats":[{"name":"a","value":1}]}"#);
    let cut = &whole[..whole.len() - 5];
    let deep = format!(
        r#"{{"stats":[{{"name":"a","value":{}1{}}}]}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    let faults = [
        (
            "closed at once",
            Answer::Raw(Vec::new()),
            Outcome::Read,
            "connection closed before message completed",
        ),
        (
            "no HTTP",
            Answer::Raw(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()),
            Outcome::Read,
            "invalid HTTP",
        ),
        (
            "404",
            Answer::Raw(status("404 Not Found", "", "invalid path")),
            Outcome::Status,
            "status 404: \"invalid path\"",
        ),
        (
            "500",
            Answer::Raw(status("500 Internal Server Error", "", "")),
            Outcome::Status,
            "status 500",
        ),
        (
            "503",
            Answer::Raw(status("503 Service Unavailable", "", "PRE_INITIALIZING")),
            Outcome::Status,
            "503: \"PRE_INITIALIZING\"",
        ),
        (
            "204",
            Answer::Raw(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
            Outcome::Status,
            "status 204",
        ),
        (
            "redirect",
            Answer::Raw(status("302 Found", "location: http://127.0.0.1:1/\r\n", "")),
            Outcome::Status,
            "redirect to http://127.0.0.1:1/",
        ),
        (
            "HTML",
            Answer::Raw(ok("<html><body>hello</body></html>")),
            Outcome::Decode,
            "the answer to counters is not understood: byte 0: expected value",
        ),
        ("empty", Answer::Raw(ok("")), Outcome::Decode, "byte 0: EOF"),
        (
            "another shape",
            Answer::Raw(ok(r#"{"metrics":[]}"#)),
            Outcome::Decode,
            "missing field `stats`",
        ),
        (
            "a negative value",
            Answer::Raw(ok(r#"{"stats":[{"name":"a","value":-1}]}"#)),
            Outcome::Decode,
            "integer `-1`, expected a whole number",
        ),
        (
            "JSON that ends early",
            Answer::Raw(ok(r#"{"stats":[{"name":"a","val"#)),
            Outcome::Decode,
            "EOF while parsing",
        ),
        (
            "deep nesting",
            Answer::Raw(ok(&deep)),
            Outcome::Decode,
            "invalid type: sequence",
        ),
        (
            "a body cut short",
            Answer::Raw(cut.to_vec()),
            Outcome::Read,
            "end of file before message length reached",
        ),
        (
            "a chunked body cut short",
            Answer::Raw(format!("{chunked}5\r\n{{\"st").into_bytes()),
            Outcome::Read,
            "end of file before message length reached",
        ),
        (
            "a body above the limit",
            Answer::Raw(ok(&" ".repeat(5000))),
            Outcome::TooLarge,
            "larger than the limit of 4096 bytes",
        ),
        (
            "an endless body",
            Answer::Endless(
                chunked.into(),
                format!("400\r\n{}\r\n", " ".repeat(1024)).into_bytes(),
            ),
            Outcome::TooLarge,
            "larger than the limit",
        ),
        (
            "endless headers",
            Answer::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\n".to_vec()),
            Outcome::Read,
            "too large",
        ),
        (
            "silence",
            Answer::Stall(Vec::new()),
            Outcome::Timeout,
            "not answered within the time",
        ),
        (
            "silence after the head",
            Answer::Stall(chunked.into()),
            Outcome::Timeout,
            "not answered within the time",
        ),
        (
            "silence in the body",
            Answer::Stall(format!("{chunked}1\r\n{{\r\n").into_bytes()),
            Outcome::Timeout,
            "not answered within",
        ),
        (
            "one byte at a time",
            Answer::Drip(whole.clone()),
            Outcome::Timeout,
            "not answered within the time",
        ),
    ];
    let envoy = FakeEnvoy::start(Answer::Stats(1)).await;
    let mut poller = poller(&envoy.address, &[], TIMEOUT, MAX_BODY);
    for (what, fault, outcome, message) in faults {
        envoy.answer(fault);
        let start = Instant::now();
        let error = poller.poll().await.expect_err(what);
        assert!(
            start.elapsed() < TIMEOUT * 4,
            "{what} took {:?}",
            start.elapsed()
        );
        check(what, &error, outcome, message);
        envoy.answer(Answer::Stats(7));
        let polled = poller
            .poll()
            .await
            .unwrap_or_else(|error| panic!("after {what}: {}", chain(&error)));
        let families = prom::read(&text(polled));
        let family = &families["envoy_cluster_upstream_cx_total"];
        assert_eq!(
            family.value("envoy_cluster_upstream_cx_total", "envoy_cluster_name=a"),
            Some("7"),
            "after {what}"
        );
    }
}

#[tokio::test]
async fn nothing_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = poller(&address, &[], TIMEOUT, MAX_BODY)
        .poll()
        .await
        .unwrap_err();
    check(
        "a dead port",
        &error,
        Outcome::Connect,
        "Connection refused",
    );
}

#[tokio::test]
async fn files_and_sockets_that_are_not_there() {
    let dir = std::env::temp_dir().join(format!("envoy-exporter-poll-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for (address, outcome, message) in [
        (
            "file:///does/not/exist".to_owned(),
            Outcome::Read,
            "/does/not/exist/counters.json: No such file",
        ),
        (
            format!("file://{}", dir.display()),
            Outcome::Read,
            "the capture has no file counters.json",
        ),
        (
            "file:///dev/null".to_owned(),
            Outcome::Read,
            "/dev/null/counters.json: Not a directory",
        ),
        (
            format!("unix://{}/none.sock", dir.display()),
            Outcome::Connect,
            "No such file",
        ),
    ] {
        let error = poller(&address, &[], TIMEOUT, MAX_BODY)
            .poll()
            .await
            .unwrap_err();
        check(&address, &error, outcome, message);
    }
    // A folder where a file should be.
    std::fs::create_dir_all(dir.join("counters.json")).unwrap();
    let address = format!("file://{}", dir.display());
    let error = poller(&address, &[], TIMEOUT, MAX_BODY)
        .poll()
        .await
        .unwrap_err();
    check("a folder", &error, Outcome::Read, "is not a regular file");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn one_request_at_a_time_and_a_connection_for_each_poll() {
    let envoy = FakeEnvoy::start(Answer::Stats(1)).await;
    let mut poller = poller(&envoy.address, &[], TIMEOUT, MAX_BODY);
    for polls in 1..=5 {
        poller.poll().await.unwrap();
        // A process that took over is only reached by a connection that is new.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let connections = envoy.seen.connections.load(Ordering::SeqCst);
        assert!(connections >= polls, "{connections} in {polls} polls");
    }
    // One for each request would be 20. A machine that is busy may take its time between two.
    let connections = envoy.seen.connections.load(Ordering::SeqCst);
    assert!(connections < 15, "{connections}");
    assert_eq!(envoy.seen.most_under_way.load(Ordering::SeqCst), 1);
    assert_eq!(envoy.seen.requests.load(Ordering::SeqCst), 20);
}

#[tokio::test]
async fn stats_come_and_go_with_the_answers() {
    let envoy = FakeEnvoy::start(Answer::Stats(1)).await;
    let mut poller = poller(&envoy.address, &[], TIMEOUT, 1 << 20);
    let full = r#"{"stats":[{"name":"cluster.a.b.upstream_rq_200","value":1},{"name":"cluster.q.upstream_cx_total","value":2},{"name":"x","value":3}]}"#;
    let anchored = r#"{"stats":[{"name":"cluster.a.b.membership_change","value":1},{"name":"cluster.a.b.zz","value":1}]}"#;
    let bare = r#"{"stats":[{"name":"cluster.a.b.zz","value":1}]}"#;
    for (body, present, absent) in [
        (
            full,
            vec!["envoy_x", "envoy_cluster_upstream_rq"],
            vec!["envoy_cluster_b_zz"],
        ),
        // With no stat that tells a cluster, the name ends at its first dot ...
        (
            bare,
            vec!["envoy_cluster_b_zz"],
            vec!["envoy_x", "envoy_cluster_upstream_rq"],
        ),
        // ... and once one does, the stat that was there before reads as it does from the start.
        (
            anchored,
            vec!["envoy_cluster_zz"],
            vec!["envoy_cluster_b_zz"],
        ),
        (bare, vec!["envoy_cluster_b_zz"], vec!["envoy_cluster_zz"]),
    ] {
        // Every type is answered alike; a name of two types is kept once.
        let counters = body.replace("\"stats\":[", "\"stats\":[ ");
        envoy.answer(Answer::Raw(ok(&counters)));
        let families = match poller.poll().await {
            Ok(polled) => prom::read(&text(polled)),
            Err(error) => panic!("{}", chain(&error)),
        };
        for name in present {
            assert!(
                families.contains_key(name),
                "{name} of {:?}",
                families.keys()
            );
        }
        for name in absent {
            assert!(!families.contains_key(name), "{name}");
        }
    }
}
