//! `healthcheck` against exporters that are well, and what only looks like one.

use std::time::Instant;

use envoy_exporter::web::{ListenAddress, healthcheck};

use crate::support::exporter::{Exporter, PATIENCE, options};
use crate::support::fake_envoy::{Answer, FakeEnvoy, ok, status};

async fn ask(address: &str) -> Result<(), String> {
    let address: ListenAddress = address.parse().unwrap();
    let asked = healthcheck(&address, false).await;
    asked.map_err(|error| error.to_string())
}

#[tokio::test]
async fn one_that_serves() {
    let path = std::env::temp_dir().join(format!("envoy-exporter-health-{}", std::process::id()));
    let unix = format!("unix://{}", path.display());
    let mut exporter = Exporter::start_at(&["127.0.0.1:0", ":0", &unix], options()).await;
    let (_, port) = exporter.addresses[1].rsplit_once(':').unwrap();
    for address in [
        exporter.addresses[0].as_str(),
        &format!(":{port}"),
        &format!("0.0.0.0:{port}"),
        &format!("localhost:{port}"),
        &unix,
    ] {
        assert_eq!(ask(address).await, Ok(()), "{address}");
    }
    exporter.stop();
    exporter.stopped().await;
    let error = ask(&unix).await.unwrap_err();
    assert!(error.contains("No such file"), "{error}");
}

#[tokio::test]
async fn one_that_takes_no_scrape_now() {
    let options = envoy_exporter::web::Options::new("/metrics", 1).unwrap();
    let exporter = Exporter::start(options).await;
    let mut client = exporter.connect().await;
    client.ask("GET", "/metrics?name[]=gated").await;
    client.read_until(b"first\n").await;
    assert_eq!(ask(&exporter.addresses[0]).await, Ok(()));
}

#[tokio::test]
async fn none() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = ask(&address).await.unwrap_err();
    let start = format!("http://{address}/-/healthy is not healthy: ");
    assert!(error.starts_with(&start), "{error}");
    assert!(error.contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn something_else() {
    let well = FakeEnvoy::start(Answer::Raw(ok("healthy\n"))).await;
    let elsewhere = format!("location: {}/\r\n", well.address);
    let server = FakeEnvoy::start(Answer::Stats(1)).await;
    let address = server.address.trim_start_matches("http://");
    for (what, answer, message) in [
        (
            "500",
            Answer::Raw(status("500 Internal Server Error", "", "")),
            "is not healthy: status 500",
        ),
        (
            "404",
            Answer::Raw(status("404 Not Found", "", "")),
            "is not healthy: status 404",
        ),
        (
            "a redirect",
            Answer::Raw(status("302 Found", &elsewhere, "")),
            "is not healthy: status 302",
        ),
        (
            "closed at once",
            Answer::Raw(Vec::new()),
            "connection closed before message completed",
        ),
        (
            "no HTTP",
            Answer::Raw(b"SSH-2.0\r\n".to_vec()),
            "invalid HTTP",
        ),
        ("silence", Answer::Stall(Vec::new()), "timed out"),
        (
            "an endless head",
            Answer::Stall(b"HTTP/1.1 200 OK\r\n".to_vec()),
            "timed out",
        ),
    ] {
        server.answer(answer);
        let start = Instant::now();
        let error = ask(address).await.expect_err(what);
        assert!(error.contains(message), "{what}: {error}");
        assert!(start.elapsed() < PATIENCE, "{what}: {:?}", start.elapsed());
    }
}
