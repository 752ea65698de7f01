//! The HTTP side of pushing: one address, credentials, TLS; a body goes out, and why it was not taken
//! comes back.
//!
//! The client is that of polls: no redirects, no proxies of the environment. Answers are read up to
//! a small size and within the time for one attempt. Files with secrets and certificates are looked
//! at again, so that they may be replaced; what stands in them is in no message.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};

use super::backoff;
use crate::files::Files;
use crate::telemetry::{PushOutcome, Telemetry, Way};
use crate::transport::access::Access;
use crate::transport::{causes, client_for};

/// How much of an answer a message shows.
const EXCERPT: usize = 300;

/// Time between looks at files with secrets.
const LOOK: Duration = Duration::from_secs(1);

/// Time after which a failure that goes on is logged again.
const REPEAT: Duration = Duration::from_mins(10);

/// To whom is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub url: Url,
    /// Time for one attempt.
    pub timeout: Duration,
    /// What is asked of who pushes.
    pub access: Access,
}

/// A client that cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be set up: {0}")]
pub struct SetupError(String);

/// Why something was not taken.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) outcome: PushOutcome,
    /// When to come back, as the other side says.
    pub(super) retry_after: Option<Duration>,
    pub(super) reason: String,
}

impl Failure {
    pub(super) fn new(outcome: PushOutcome, reason: impl Into<String>) -> Self {
        Self {
            outcome,
            retry_after: None,
            reason: reason.into(),
        }
    }

    /// Whether another attempt with the same body makes no sense.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self.outcome, PushOutcome::Rejected | PushOutcome::Redirect)
    }
}

/// Sends to an endpoint.
#[derive(Debug)]
pub(super) struct Client {
    endpoint: Endpoint,
    connected: Mutex<Connected>,
    way: Way,
    telemetry: Arc<Telemetry>,
    trouble: Mutex<Option<Trouble>>,
}

/// What requests are sent with.
#[derive(Debug)]
struct Connected {
    http: reqwest::Client,
    /// What the access refers to.
    files: Files,
    /// When they were last looked at.
    looked: Instant,
}

impl Connected {
    fn new(endpoint: &Endpoint) -> Result<Self, SetupError> {
        let mut files = Files::default();
        let http = client_for(&endpoint.url, &endpoint.access, &mut files);
        Ok(Self {
            http: http.map_err(SetupError)?,
            files,
            looked: Instant::now(),
        })
    }
}

/// What went wrong last, and when that was logged.
#[derive(Debug)]
struct Trouble {
    outcome: PushOutcome,
    logged: Instant,
}

/// A body and how many bytes of it went out.
pub(super) struct Outgoing {
    body: reqwest::Body,
    size: Arc<AtomicUsize>,
}

impl Outgoing {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self {
            size: Arc::new(bytes.len().into()),
            body: bytes.into(),
        }
    }

    /// A body that is written as it is sent.
    pub(super) fn pieces(pieces: impl Iterator<Item = Bytes> + Send + Sync + 'static) -> Self {
        let size = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&size);
        let frames = pieces.map(move |piece| {
            counted.fetch_add(piece.len(), Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(Frame::data(piece))
        });
        let body = StreamBody::new(futures_util::stream::iter(frames));
        Self {
            body: reqwest::Body::wrap(body),
            size,
        }
    }
}

/// Checks that a client can be set up, with all files that it needs.
pub fn check(endpoint: &Endpoint) -> Result<(), SetupError> {
    Connected::new(endpoint).map(drop)
}

impl Client {
    pub(super) fn new(
        endpoint: Endpoint,
        way: Way,
        telemetry: Arc<Telemetry>,
    ) -> Result<Self, SetupError> {
        telemetry.push().add(way);
        Ok(Self {
            connected: Mutex::new(Connected::new(&endpoint)?),
            endpoint,
            way,
            telemetry,
            trouble: Mutex::default(),
        })
    }

    /// Makes one attempt, counts it and logs what is new about it.
    pub(super) async fn send(
        &self,
        method: Method,
        headers: HeaderMap,
        outgoing: Outgoing,
    ) -> Result<(), Failure> {
        let start = Instant::now();
        let size = Arc::clone(&outgoing.size);
        let sent = self.attempt(method, headers, outgoing.body);
        let result = tokio::time::timeout(self.endpoint.timeout, sent)
            .await
            .unwrap_or_else(|_| {
                let reason = "not answered within the time for an attempt";
                Err(Failure::new(PushOutcome::Timeout, reason))
            });
        let outcome = match &result {
            Ok(()) => PushOutcome::Success,
            Err(failure) => failure.outcome,
        };
        let push = self.telemetry.push();
        push.attempted(self.way, outcome, start.elapsed());
        match &result {
            Ok(()) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                let now = now.unwrap_or_default().as_secs_f64();
                push.taken(self.way, size.load(Ordering::Relaxed), now);
                self.recovered();
            }
            Err(failure) => self.failed(failure),
        }
        result
    }

    /// Counts and logs that no attempt was made.
    pub(super) fn refused(&self, failure: &Failure) {
        let push = self.telemetry.push();
        push.attempted(self.way, failure.outcome, Duration::ZERO);
        self.failed(failure);
    }

    /// Logs a failure that is another than the last one, or that has been going on for long.
    fn failed(&self, failure: &Failure) {
        let (push, url) = (self.way.as_str(), self.shown());
        let (outcome, reason) = (failure.outcome.as_str(), &failure.reason);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = trouble.as_ref().is_some_and(|known| {
            known.outcome == failure.outcome && known.logged.elapsed() < REPEAT
        });
        if is_known {
            tracing::debug!(push, %url, outcome, reason, "push failed");
        } else {
            *trouble = Some(Trouble {
                outcome: failure.outcome,
                logged: Instant::now(),
            });
            tracing::warn!(push, %url, outcome, reason, "push failed");
        }
    }

    fn recovered(&self) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // What is refused may be one request of many, again and again.
        let is_over = trouble.as_ref().is_some_and(|known| {
            known.outcome != PushOutcome::Rejected || known.logged.elapsed() >= REPEAT
        });
        if is_over {
            *trouble = None;
            tracing::info!(push = self.way.as_str(), url = %self.shown(), "push works again");
        }
    }

    /// The address without what may be a secret in it.
    fn shown(&self) -> Shown<'_> {
        Shown(&self.endpoint.url)
    }

    async fn attempt(
        &self,
        method: Method,
        headers: HeaderMap,
        body: reqwest::Body,
    ) -> Result<(), Failure> {
        let http = self.http().await;
        let request = http
            .request(method, self.endpoint.url.clone())
            .headers(headers)
            .body(body);
        let mut response = request.send().await.map_err(|error| failed(&error))?;
        let status = response.status();
        let asked = response.headers().get(RETRY_AFTER);
        let asked = asked.and_then(|asked| asked.to_str().ok());
        let retry_after = asked.and_then(|asked| backoff::retry_after(asked, SystemTime::now()));
        let mut start = Vec::new();
        while start.len() < EXCERPT {
            match response.chunk().await {
                Ok(Some(piece)) => start.extend_from_slice(&piece),
                Ok(None) | Err(_) => break,
            }
        }
        if status.is_success() {
            return Ok(());
        }
        start.truncate(EXCERPT);
        let excerpt = String::from_utf8_lossy(&start);
        let reason = format!(
            "answered with status {}: {:?}",
            status.as_u16(),
            excerpt.trim()
        );
        Err(Failure {
            outcome: outcome(status),
            retry_after,
            reason,
        })
    }

    /// What requests are sent with now. Files are looked at once a [`LOOK`]; while what is new in
    /// them cannot be used, the last good content is.
    async fn http(&self) -> reqwest::Client {
        let files = {
            let mut connected = self.lock_connected();
            if connected.files.is_empty() || connected.looked.elapsed() < LOOK {
                return connected.http.clone();
            }
            connected.looked = Instant::now();
            std::mem::take(&mut connected.files)
        };
        let endpoint = self.endpoint.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let changed = files.have_changed();
            (files, changed.then(|| Connected::new(&endpoint)))
        });
        let looked = looked.await;
        let mut connected = self.lock_connected();
        match looked {
            Ok((_, Some(Ok(new)))) => {
                *connected = new;
                tracing::info!(push = self.way.as_str(), "new credentials are used");
            }
            Ok((files, failed)) => {
                connected.files = files;
                if let Some(Err(error)) = failed {
                    let push = self.way.as_str();
                    tracing::warn!(push, %error, "new credentials cannot be used; the old ones are");
                }
            }
            // They are not looked at again.
            Err(_) => {}
        }
        connected.http.clone()
    }

    fn lock_connected(&self) -> MutexGuard<'_, Connected> {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(error: &reqwest::Error) -> Failure {
    let outcome = if error.is_timeout() {
        PushOutcome::Timeout
    } else if error.is_connect() {
        PushOutcome::Connect
    } else {
        PushOutcome::Read
    };
    Failure::new(outcome, causes(error))
}

fn outcome(status: StatusCode) -> PushOutcome {
    if status == StatusCode::TOO_MANY_REQUESTS {
        PushOutcome::Throttled
    } else if status.is_redirection() || status.is_informational() {
        PushOutcome::Redirect
    } else if status.is_client_error() {
        PushOutcome::Rejected
    } else {
        PushOutcome::Unavailable
    }
}

struct Shown<'u>(&'u Url);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.0.clone();
        url.set_query(None);
        // An address with a user in it is no valid configuration.
        f.write_str(url.as_str())
    }
}
