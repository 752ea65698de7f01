use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A backend whose scrapes give what they were asked for.
#[derive(Default)]
struct Stub {
    under_way: AtomicUsize,
    ended: AtomicUsize,
}

impl Backend for Stub {
    fn scrape(&self, request: ScrapeRequest) -> BoxFuture<'_, Option<ScrapeResponse>> {
        assert!(request.families != ["panic"], "as asked");
        let text = format!("families={}", request.families.join("+"));
        Box::pin(std::future::ready(Some(ScrapeResponse {
            encoding: Encoding::Identity,
            size: None,
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            body: Box::pin(futures_util::stream::iter([Bytes::from(text)])),
        })))
    }
    fn readiness(&self) -> Result<(), String> {
        Err("envoy: no poll has ended yet".to_owned())
    }
    fn status_page(&self) -> String {
        "<p>page".to_owned()
    }
    fn reload(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Err("as asked".to_owned()) })
    }

    fn quit(&self) {}

    fn begin(&self) {
        self.under_way.fetch_add(1, Ordering::SeqCst);
    }
    fn end(&self, _: Handler, _: u16, _: Duration) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}

fn filter() -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + 'static {
    let options = Options::new("/metrics", 1).unwrap();
    routes(Site::new(Arc::new(Stub::default()), options))
}

#[track_caller]
fn check(got: &warp::http::Response<Bytes>, status: u16, body: &str) {
    assert_eq!(got.status().as_u16(), status);
    assert_eq!(got.body(), body);
}

#[tokio::test]
async fn every_route_and_method() {
    let filter = filter();
    for (path, handler) in ROUTES.into_iter().chain([
        ("/metrics", Handler::Metrics),
        ("/x", Handler::Other),
        ("/metrics/", Handler::Other),
    ]) {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
            let got = warp::test::request()
                .method(method)
                .path(path)
                .reply(&filter)
                .await;
            let taken = handler.methods().split(", ").any(|have| have == method);
            let want = match handler {
                Handler::Other => 404,
                _ if !taken => 405,
                Handler::Metrics | Handler::Status | Handler::Healthy => 200,
                // It names no target.
                Handler::Probe => 400,
                Handler::Ready => 503,
                Handler::Reload | Handler::Quit => 403,
            };
            assert_eq!(got.status().as_u16(), want, "{method} {path}");
            let allow = got
                .headers()
                .get(ALLOW)
                .map(|value| value.to_str().unwrap());
            assert_eq!(
                allow,
                (want == 405).then(|| handler.methods()),
                "{method} {path}"
            );
            assert_eq!(got.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
            if method == "HEAD" {
                assert!(got.body().is_empty(), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn answers() {
    let filter = filter();
    let get = |path: &'static str| warp::test::request().path(path).reply(&filter);
    check(&get("/-/healthy").await, 200, "healthy\n");
    check(
        &get("/-/ready").await,
        503,
        "not ready\nenvoy: no poll has ended yet\n",
    );
    check(&get("/").await, 200, "<p>page");
    check(&get("/metrics").await, 200, "families=");
    check(
        &get("/metrics?name[]=a&x=y&name%5B%5D=b%20c&name=d").await,
        200,
        "families=a+b c",
    );
    check(&get("/metrics?name[]=panic").await, 500, "internal error\n");
    // The one place for scrapes is free again after a panic.
    check(&get("/metrics").await, 200, "families=");
}

#[test]
fn telemetry_paths() {
    for (path, valid) in [
        ("/metrics", true),
        ("/a/b", true),
        ("metrics", false),
        ("", false),
        ("/", false),
        ("/-/ready", false),
        ("/a b", false),
        ("/a?b", false),
    ] {
        assert_eq!(Options::new(path, 1).is_ok(), valid, "{path}");
    }
}

#[test]
fn listen_addresses() {
    for (text, want) in [
        (":9091", Some(":9091")),
        ("127.0.0.1:0", Some("127.0.0.1:0")),
        ("[::1]:9091", Some("[::1]:9091")),
        ("localhost:80", Some("localhost:80")),
        ("unix:///run/x.sock", Some("unix:///run/x.sock")),
        ("9091", None),
        (":x", None),
        (":99999", None),
        ("::1:80", None),
        ("[x]:80", None),
        ("unix://x", None),
        ("unix:///", None),
        ("http://x:80", None),
        ("", None),
    ] {
        let got = text.parse::<ListenAddress>();
        assert_eq!(
            got.as_ref().map(ToString::to_string).ok().as_deref(),
            want,
            "{text}"
        );
    }
}
