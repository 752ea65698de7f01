//! Serving: scrapes, status page and probes over HTTP/1.1.
//!
//! warp's filters take requests apart; what they are given to is our own loop over hyper's
//! connections (`listen`), since warp's server has no time limits. Handlers are functions of a
//! [`Backend`], so that this module knows nothing of targets or polls. A body is streamed as it is
//! read; a client that stops reading holds one piece of it, or its share of a compressed body, and
//! its own connection, for a bounded time.
//!
//! A web configuration file ([`LiveConfig`]) adds TLS, users, headers and a rate limit. It stands
//! before every path, that of the health check too.

mod accept;
mod auth;
mod config;
mod healthcheck;
mod listen;
mod live;
mod rate;
mod stall;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{Stream, StreamExt as _};
use tokio::sync::Semaphore;
use warp::Filter;
use warp::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};
use warp::reply::{Reply as _, Response};

use crate::negotiate::{self, Encoding};

use live::Denial;

pub use config::WebConfigError;
pub use healthcheck::{HealthError, healthcheck};
pub use listen::{ListenAddress, ListenError, Listener, serve};
pub use live::{LiveConfig, Reread};

/// The pieces of a scrape's body.
pub type Pieces = Pin<Box<dyn Stream<Item = Bytes> + Send + Sync>>;

/// What a scrape asks for.
#[derive(Clone, Debug, Default)]
pub struct ScrapeRequest {
    /// The target that is probed; none: everything is scraped.
    pub target: Option<String>,
    /// The families named by `name[]`; none: all.
    pub families: Vec<String>,
    /// The request's headers.
    pub headers: HeaderMap,
}

/// What a scrape gets.
#[expect(missing_debug_implementations, reason = "a body has nothing to show")]
pub struct ScrapeResponse {
    /// Its content type.
    pub content_type: &'static str,
    /// How it is compressed.
    pub encoding: Encoding,
    /// Its size, where it is known.
    pub size: Option<usize>,
    /// Its body.
    pub body: Pieces,
}

/// What requests are answered from.
pub trait Backend: Send + Sync + 'static {
    /// Answers a scrape; nothing when there is no target of that name.
    fn scrape(&self, request: ScrapeRequest) -> BoxFuture<'_, Option<ScrapeResponse>>;
    /// Whether every target has fresh data, or why not.
    fn readiness(&self) -> Result<(), String>;
    /// The status page.
    fn status_page(&self) -> String;
    /// Reads the configuration again; what is wrong with it, where it is not taken.
    fn reload(&self) -> BoxFuture<'_, Result<(), String>>;
    /// Stops the program.
    fn quit(&self);
    /// A request came in.
    fn begin(&self);
    /// The head of its response goes out, or its client left before: that is code 499.
    fn end(&self, handler: Handler, code: u16, took: Duration);
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// The metrics.
    Metrics,
    /// The metrics of one target.
    Probe,
    /// The status page.
    Status,
    /// Whether the process serves.
    Healthy,
    /// Whether there is fresh data.
    Ready,
    /// Reload the configuration.
    Reload,
    /// Stop.
    Quit,
    /// No such path.
    Other,
}

impl Handler {
    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Probe => "probe",
            Self::Status => "status",
            Self::Healthy => "healthy",
            Self::Ready => "ready",
            Self::Reload => "reload",
            Self::Quit => "quit",
            Self::Other => "other",
        }
    }

    /// The methods that it takes.
    const fn methods(self) -> &'static str {
        match self {
            Self::Reload | Self::Quit => "POST, PUT",
            Self::Metrics
            | Self::Probe
            | Self::Status
            | Self::Healthy
            | Self::Ready
            | Self::Other => "GET, HEAD",
        }
    }
}

/// Every path but that of the metrics, which is configured.
const ROUTES: [(&str, Handler); 6] = [
    ("/probe", Handler::Probe),
    ("/", Handler::Status),
    ("/-/healthy", Handler::Healthy),
    ("/-/ready", Handler::Ready),
    ("/-/reload", Handler::Reload),
    ("/-/quit", Handler::Quit),
];

/// How requests are taken.
#[derive(Clone, Debug)]
pub struct Options {
    telemetry_path: String,
    max_requests: usize,
    /// Connections that are served at the same time; more wait.
    pub max_connections: usize,
    /// Time for a request's head, and for an idle connection to send one.
    pub header_timeout: Duration,
    /// Time for which a client may take no byte of a response.
    pub stall_timeout: Duration,
    /// Time for responses under way when the program stops.
    pub drain_timeout: Duration,
    /// Whether the program may be told to reload and to stop.
    pub lifecycle: bool,
    /// TLS, users, headers and rate limit.
    pub web_config: Arc<LiveConfig>,
}

/// Options that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// A path that does not start with a slash, or holds what no path holds.
    #[error("the telemetry path '{0}' must start with / and be a plain path")]
    Path(String),
    /// A path that is taken.
    #[error("the telemetry path '{0}' has another use")]
    Taken(String),
}

impl Options {
    /// Options with the given path of the metrics and number of scrapes at the same time.
    pub fn new(telemetry_path: &str, max_requests: usize) -> Result<Self, OptionsError> {
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'%');
        if !telemetry_path.starts_with('/') || !telemetry_path.bytes().all(plain) {
            return Err(OptionsError::Path(telemetry_path.to_owned()));
        }
        if ROUTES.iter().any(|(path, _)| *path == telemetry_path) {
            return Err(OptionsError::Taken(telemetry_path.to_owned()));
        }
        Ok(Self {
            telemetry_path: telemetry_path.to_owned(),
            max_requests,
            max_connections: 512,
            // Prometheus keeps a connection open between scrapes, some at more than a minute.
            header_timeout: Duration::from_mins(2),
            stall_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            lifecycle: false,
            web_config: Arc::default(),
        })
    }

    fn handler(&self, path: &str) -> Handler {
        if path == self.telemetry_path {
            return Handler::Metrics;
        }
        let found = ROUTES.iter().find(|(have, _)| *have == path);
        found.map_or(Handler::Other, |(_, handler)| *handler)
    }
}

/// The filter that answers every request.
fn routes(
    site: Arc<Site>,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .then(
            move |method: Method, path: warp::path::FullPath, query: String, headers: HeaderMap| {
                let site = Arc::clone(&site);
                async move { site.answer(&method, path.as_str(), &query, headers).await }
            },
        )
}

/// What all connections share.
struct Site {
    backend: Arc<dyn Backend>,
    options: Options,
    /// One for each scrape under way.
    scrapes: Arc<Semaphore>,
}

/// A request from its start to its end, also when it is dropped in between.
struct UnderWay<'s> {
    backend: &'s dyn Backend,
    handler: Handler,
    start: Instant,
    code: u16,
}

/// The code of a request whose client did not wait, which no client sees.
const CLIENT_LEFT: u16 = 499;

impl<'s> UnderWay<'s> {
    fn new(backend: &'s dyn Backend, handler: Handler) -> Self {
        backend.begin();
        Self {
            backend,
            handler,
            start: Instant::now(),
            code: CLIENT_LEFT,
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.backend
            .end(self.handler, self.code, self.start.elapsed());
    }
}

impl Site {
    fn new(backend: Arc<dyn Backend>, options: Options) -> Arc<Self> {
        Arc::new(Self {
            scrapes: Arc::new(Semaphore::new(options.max_requests)),
            options,
            backend,
        })
    }

    async fn answer(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: HeaderMap,
    ) -> Response {
        let handler = self.options.handler(path);
        let mut under_way = UnderWay::new(&*self.backend, handler);
        let config = self.options.web_config.current();
        // A handler that panics is the fault of one request, not of the process.
        let answer = std::panic::AssertUnwindSafe(async {
            match self.options.web_config.admit(&config, &headers).await {
                Ok(()) => self.handle(handler, method, query, headers).await,
                Err(denial) => denied(denial),
            }
        });
        let mut response = answer
            .catch_unwind()
            .await
            .unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n"));
        under_way.code = response.status().as_u16();
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        for (name, value) in &config.headers {
            headers.insert(name, value.clone());
        }
        if method == Method::HEAD {
            *response.body_mut() = warp::reply().into_response().into_body();
        }
        response
    }

    async fn handle(
        &self,
        handler: Handler,
        method: &Method,
        query: &str,
        headers: HeaderMap,
    ) -> Response {
        if handler == Handler::Other {
            return plain(StatusCode::NOT_FOUND, "not found\n");
        }
        if !handler
            .methods()
            .split(", ")
            .any(|have| have == method.as_str())
        {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
            let allowed = HeaderValue::from_static(handler.methods());
            response.headers_mut().insert(ALLOW, allowed);
            return response;
        }
        match handler {
            Handler::Metrics => self.scrape(None, query, headers).await,
            Handler::Probe => match target(query) {
                Ok(target) => self.scrape(Some(target), query, headers).await,
                Err(reason) => plain(StatusCode::BAD_REQUEST, reason),
            },
            Handler::Status => html(self.backend.status_page()),
            Handler::Healthy => plain(StatusCode::OK, "healthy\n"),
            Handler::Ready => match self.backend.readiness() {
                Ok(()) => plain(StatusCode::OK, "ready\n"),
                Err(reason) => plain(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("not ready\n{reason}\n"),
                ),
            },
            Handler::Reload | Handler::Quit if !self.options.lifecycle => {
                plain(StatusCode::FORBIDDEN, "the lifecycle API is not enabled\n")
            }
            Handler::Reload => match self.backend.reload().await {
                Ok(()) => plain(StatusCode::OK, "reloaded\n"),
                Err(reason) => plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    format!("not reloaded\n{reason}\n"),
                ),
            },
            Handler::Quit => {
                self.backend.quit();
                plain(StatusCode::OK, "stopping\n")
            }
            Handler::Other => plain(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    async fn scrape(&self, target: Option<String>, query: &str, headers: HeaderMap) -> Response {
        let Ok(permit) = Arc::clone(&self.scrapes).try_acquire_owned() else {
            return plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many scrapes at the same time\n",
            );
        };
        let request = ScrapeRequest {
            target,
            families: families(query),
            headers,
        };
        let Some(scrape) = self.backend.scrape(request).await else {
            let text = "no target of this name is configured\n";
            return plain(StatusCode::NOT_FOUND, text);
        };
        // The scrape goes on until its last piece is taken or its connection is gone.
        let pieces = scrape.body.map(move |piece| {
            let _held = &permit;
            Ok::<_, Infallible>(piece)
        });
        let mut response = warp::reply::stream(pieces).into_response();
        let headers = response.headers_mut();
        let content_type = HeaderValue::from_static(scrape.content_type);
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(VARY, HeaderValue::from_static(negotiate::VARY));
        if let Some(encoding) = scrape.encoding.content_encoding() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        if let Some(size) = scrape.size {
            headers.insert(CONTENT_LENGTH, size.into());
        }
        response
    }
}

/// The values of `name[]` in a query.
fn families(query: &str) -> Vec<String> {
    form_urlencoded::parse(query.as_bytes())
        .filter(|(key, _)| key == "name[]")
        .map(|(_, value)| value.into_owned())
        .collect()
}

/// The name of the target in a query.
fn target(query: &str) -> Result<String, &'static str> {
    let mut targets = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "target");
    match (targets.next(), targets.next()) {
        (Some((_, target)), None) => Ok(target.into_owned()),
        (None, _) => Err("the parameter target is missing: /probe?target=NAME\n"),
        (Some(_), Some(_)) => Err("the parameter target is there twice\n"),
    }
}

/// The answer to a request that the web configuration does not let in.
fn denied(denial: Denial) -> Response {
    match denial {
        Denial::TooMany => plain(StatusCode::TOO_MANY_REQUESTS, "too many requests\n"),
        Denial::Unauthorized => {
            let mut response = plain(StatusCode::UNAUTHORIZED, "unauthorized\n");
            let basic = HeaderValue::from_static("Basic");
            response.headers_mut().insert(WWW_AUTHENTICATE, basic);
            response
        }
        Denial::Busy => {
            let text = "too many passwords to check at the same time\n";
            let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, text);
            response.headers_mut().insert(RETRY_AFTER, 1.into());
            response
        }
    }
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    let mut response = warp::reply::with_status(text.into(), status).into_response();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn html(page: String) -> Response {
    let mut response = warp::reply::html(page).into_response();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
