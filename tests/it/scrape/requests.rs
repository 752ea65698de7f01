//! Requests that are as they should be, and those that are wrong in a usual way.

use crate::support::client::Answer;
use crate::support::exporter::{Exporter, eventually, options};

/// Headers that say how the body comes, and when.
const OF_THE_BODY: [&str; 3] = ["content-length", "transfer-encoding", "date"];

#[tokio::test]
async fn a_scrape() {
    let exporter = Exporter::start(options()).await;
    let mut client = exporter.connect().await;
    let answer = client.get("/metrics").await;
    answer.check("a scrape", 200, "|\n");
    assert_eq!(answer.version, "HTTP/1.1");
    assert_eq!(
        answer.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    let answer = client.get("/metrics?name[]=a&x=y&name%5B%5D=b%20c").await;
    answer.check("name[]", 200, "a+b c|\n");
    let head = "GET /metrics HTTP/1.1\r\nHost: x\r\nACCEPT:  application/json \r\n\r\n";
    client.send(head).await;
    client
        .answer("GET")
        .await
        .check("headers", 200, "|application/json\n");
    eventually("every request ends", || {
        exporter.backend.ended() == [200; 3]
    })
    .await;
}

#[tokio::test]
async fn head_has_the_headers_and_no_body() {
    let exporter = Exporter::start(options()).await;
    let mut client = exporter.connect().await;
    for path in ["/metrics", "/", "/-/healthy", "/-/ready", "/-/quit", "/x"] {
        let own = |answer: Answer| {
            let mut headers = answer.headers;
            headers.retain(|name, _| !OF_THE_BODY.contains(&name.as_str()));
            (answer.status, headers)
        };
        let got = own(client.get(path).await);
        client.ask("HEAD", path).await;
        assert_eq!(own(client.answer("HEAD").await), got, "{path}");
        // A body would be read as the head of this answer.
        let next = client.get("/-/healthy").await;
        next.check(path, 200, "healthy\n");
    }
    assert_eq!(exporter.backend.bodies(), 0, "no body is kept for HEAD");
}

#[tokio::test]
async fn a_size_that_is_known_is_said() {
    let exporter = Exporter::start(options()).await;
    let mut client = exporter.connect().await;
    for method in ["GET", "HEAD"] {
        client.ask(method, "/metrics?name[]=sized").await;
        let answer = client.answer(method).await;
        let body = if method == "GET" { "sized|\n" } else { "" };
        answer.check(method, 200, body);
        assert_eq!(answer.headers["content-length"], "7", "{method}");
        assert_eq!(answer.headers["content-encoding"], "zstd", "{method}");
        assert_eq!(
            answer.headers["vary"], "Accept, Accept-Encoding",
            "{method}"
        );
        assert!(!answer.headers.contains_key("transfer-encoding"));
    }
    let answer = client.get("/metrics").await;
    assert!(!answer.headers.contains_key("content-length"), "{answer:?}");
    assert!(
        !answer.headers.contains_key("content-encoding"),
        "{answer:?}"
    );
    assert_eq!(answer.headers["vary"], "Accept, Accept-Encoding");
}

#[tokio::test]
async fn what_is_not_there() {
    let exporter = Exporter::start(options()).await;
    let mut client = exporter.connect().await;
    for (method, path, status, allow) in [
        ("GET", "/nothing", 404, None),
        ("GET", "/metrics/", 404, None),
        ("GET", "//metrics", 404, None),
        ("GET", "/metrics/../metrics", 404, None),
        ("GET", "/%6detrics", 404, None),
        ("POST", "/metrics", 405, Some("GET, HEAD")),
        ("DELETE", "/", 405, Some("GET, HEAD")),
        ("BREW", "/-/healthy", 405, Some("GET, HEAD")),
        ("GET", "/-/quit", 405, Some("POST, PUT")),
        ("POST", "/-/quit", 403, None),
        ("OPTIONS", "*", 404, None),
        ("GET", "http://elsewhere/metrics", 200, None),
    ] {
        client.ask(method, path).await;
        let answer = client.answer(method).await;
        assert_eq!(answer.status, status, "{method} {path}");
        let got = answer.headers.get("allow").map(String::as_str);
        assert_eq!(got, allow, "{method} {path}");
    }
    for method in ["CONNECT", "GET"] {
        client.ask(method, "elsewhere:80").await;
        assert_eq!(client.answer(method).await.status, 404, "{method}");
    }
}

#[tokio::test]
async fn connections_are_kept_as_the_client_asks() {
    let exporter = Exporter::start(options()).await;
    let mut client = exporter.connect().await;
    let text = "GET /metrics?name[]=1 HTTP/1.1\r\nhost: x\r\n\r\n";
    client.send(text.repeat(3)).await;
    for _ in 0..3 {
        client.answer("GET").await.check("in a row", 200, "1|\n");
    }
    client
        .send("GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    let answer = client.answer("GET").await;
    answer.check("the last", 200, "|\n");
    assert_eq!(answer.headers["connection"], "close");
    assert_eq!(client.closed().await, b"");

    // The body's end is the connection's: HTTP/1.0 has no chunks.
    let mut client = exporter.connect().await;
    client.send("GET /metrics HTTP/1.0\r\n\r\n").await;
    let answer = client.answer("GET").await;
    answer.check("HTTP/1.0", 200, "|\n");
    assert!(
        !answer.headers.contains_key("transfer-encoding"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn the_body_of_a_request_is_not_waited_for() {
    let exporter = Exporter::start(options()).await;
    for body in ["content-length: 1000000", "transfer-encoding: chunked"] {
        let mut client = exporter.connect().await;
        let head = format!("POST /-/reload HTTP/1.1\r\nhost: x\r\n{body}\r\n\r\n");
        client.send(head).await;
        assert_eq!(client.answer("POST").await.status, 403, "{body}");
        assert_eq!(client.closed().await, b"", "{body}");
    }
}

#[tokio::test]
async fn a_panic_is_the_fault_of_one_request() {
    let exporter = Exporter::start(options()).await;
    let mut client = exporter.connect().await;
    for name in ["panic", "panic%20later"] {
        let path = format!("/metrics?name[]={name}");
        let answer = client.get(&path).await;
        answer.check(name, 500, "internal error\n");
        client.get("/metrics").await.check("after it", 200, "|\n");
    }
    // In the body it is too late for another status: the rest is missing, and that can be seen.
    client.ask("GET", "/metrics?name[]=broken").await;
    let rest = client.closed().await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "no last chunk");
    assert_eq!(exporter.status("/metrics").await, 200);
    assert_eq!(exporter.backend.bodies(), 0);
}

#[tokio::test]
async fn a_request_ends_when_its_client_leaves() {
    let exporter = Exporter::start(options()).await;
    let backend = &exporter.backend;
    let mut client = exporter.connect().await;
    client.ask("GET", "/metrics?name[]=held").await;
    eventually("the scrape begins", || backend.begun() == 1).await;
    drop(client);
    eventually("the scrape ends", || backend.ended() == [499]).await;

    assert_eq!(exporter.status("/metrics").await, 200);
    eventually("the next one ends", || backend.ended() == [499, 200]).await;
}
