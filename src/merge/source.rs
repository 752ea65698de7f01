//! A source between the task that reads it and its readers.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use tokio::sync::watch;

use super::{HEADER, Options, SourceUrl};
use crate::demand::{self, Demand};
use crate::foreign::{self, Dialect, Exposition, Refused};
use crate::snapshot::{DropReason, Snapshot};
use crate::telemetry::{Outcome, SourceFigures, Telemetry};
use crate::transport;
use crate::work;

/// Why a poll of a source brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// Not done in time.
    #[error("not answered within {0:?}")]
    Timeout(Duration),
    /// Another status than 200.
    #[error("answered with status {status}{}", .location.as_ref().map(|to| format!(", a redirect to '{to}', which is not followed")).unwrap_or_default())]
    Status {
        /// The status.
        status: u16,
        /// Where a redirect leads.
        location: Option<String>,
    },
    /// A body above the limit.
    #[error("the answer is larger than the limit of {0} bytes")]
    TooLarge(u64),
    /// A body that broke off.
    #[error("the answer broke off: {0}")]
    Read(String),
    /// An answer that says of itself that it is something else.
    #[error("the answer is not an exposition that is read: {0}")]
    Form(String),
    /// An exposition that is not written as its format says.
    #[error("the exposition is not valid: {0}")]
    Decode(#[from] foreign::Error),
    /// Reading it panicked.
    #[error("reading it panicked; this is a fault of the exporter")]
    Panicked,
}

impl Error {
    /// The outcome to count.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Connect(_) => Outcome::Connect,
            Self::Timeout(_) => Outcome::Timeout,
            Self::Status { .. } => Outcome::Status,
            Self::TooLarge(_) => Outcome::TooLarge,
            Self::Read(_) => Outcome::Read,
            Self::Form(_) | Self::Decode(_) => Outcome::Decode,
            Self::Panicked => Outcome::Internal,
        }
    }
}

/// What readers see of a source.
pub type View = demand::View<Last>;

/// A successful poll of a source.
#[derive(Clone, Debug)]
pub struct Last {
    /// Its families.
    pub snapshot: Arc<Snapshot>,
    /// Those that cannot stand in an exposition.
    pub refused: Arc<[Refused]>,
    /// When it ended.
    pub ended: Instant,
    /// The same by the wall clock.
    pub ended_unix: f64,
    /// How long it took.
    pub took: Duration,
    /// Size of the answer.
    pub body_bytes: usize,
}

/// A source as its readers hold it.
#[derive(Clone, Debug)]
pub struct Handle {
    options: Arc<Options>,
    view: watch::Receiver<View>,
    demand: Demand,
}

impl Handle {
    /// What it was configured as.
    pub fn options(&self) -> &Arc<Options> {
        &self.options
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// What is known now.
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// The last successful poll, unless it is too old to be served.
    pub fn fresh(&self) -> Option<Last> {
        let last = self.view.borrow().last.clone()?;
        (last.ended.elapsed() <= self.options.stale_after).then_some(last)
    }

    /// Whether a reader waits for a poll first.
    pub fn is_on_demand(&self) -> bool {
        self.options.interval.is_zero()
    }

    /// Whether it is the same source, polled by the same task.
    pub fn is_same(&self, other: &Self) -> bool {
        self.view.same_channel(&other.view)
    }

    /// Waits for a poll that ends after now. Readers that wait at the same time share one. False when
    /// there is none to come: the task is gone.
    pub async fn polled(&self) -> bool {
        self.demand.polled(&self.view).await
    }
}

/// A source and its client, ready to run.
#[derive(Debug)]
pub struct Task {
    handle: Handle,
    client: reqwest::Client,
    publish: watch::Sender<View>,
    telemetry: Arc<Telemetry>,
}

impl Task {
    /// Sets a source up; nothing is connected yet.
    pub fn new(options: Options, telemetry: &Arc<Telemetry>) -> Result<Self, String> {
        let client = transport::local_client(match &options.url {
            SourceUrl::Http(_) => None,
            SourceUrl::Unix(socket, _) => Some(socket.clone()),
        });
        let client = client.map_err(|reason| format!("merge: {}: {reason}", options.name))?;
        telemetry.merge().add(&options.name);
        let (publish, view) = watch::channel(View::default());
        Ok(Self {
            handle: Handle {
                options: Arc::new(options),
                view,
                demand: Demand::default(),
            },
            client,
            publish,
            telemetry: Arc::clone(telemetry),
        })
    }

    /// The readers' side.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Polls until the task is dropped.
    pub async fn run(mut self) {
        let is_first_over = self.publish.borrow().polls > 0;
        let interval = self.handle.options.interval;
        let mut times = self.handle.demand.times(interval, is_first_over);
        loop {
            times.next().await;
            self.poll().await;
        }
    }

    /// Polls once and publishes the outcome.
    pub async fn poll(&mut self) {
        self.handle.demand.begin(&self.publish);
        let start = Instant::now();
        let timeout = self.handle.options.timeout;
        let read = tokio::time::timeout(timeout, self.read()).await;
        let read = read.unwrap_or(Err(Error::Timeout(timeout)));
        let took = start.elapsed();
        let ended = match read {
            Ok((snapshot, refused, body_bytes)) => {
                let last = Last {
                    snapshot: Arc::new(snapshot),
                    refused: refused.into(),
                    ended: Instant::now(),
                    ended_unix: SystemTime::now()
                        .duration_since(UNIX_EPOCH)
                        .map_or(0.0, |since| since.as_secs_f64()),
                    took,
                    body_bytes,
                };
                self.count(Outcome::Success, took);
                self.show_last(&last);
                self.log_success(&last);
                Ok(last)
            }
            Err(error) => {
                let outcome = error.outcome();
                let text = error.to_string();
                self.count(outcome, took);
                self.log_failure(outcome, &text);
                Err(text.into())
            }
        };
        self.handle.demand.end(&self.publish, ended);
    }

    async fn read(&self) -> Result<(Snapshot, Vec<Refused>, usize), Error> {
        let (body, dialect) = self.fetch().await?;
        let body_bytes = body.len();
        let options = Arc::clone(&self.handle.options);
        let done = work::SOURCES.run(move || {
            let Exposition { families, refused } =
                foreign::read(&body, dialect, &options.labels, options.bounds)?;
            Ok((Snapshot::assembled(families), refused, body_bytes))
        });
        done.await.unwrap_or(Err(Error::Panicked))
    }

    async fn fetch(&self) -> Result<(Vec<u8>, Dialect), Error> {
        let options = &self.handle.options;
        let request = self.client.get(options.url.url().clone());
        let request = request
            .header(ACCEPT, foreign::ACCEPT)
            .header(ACCEPT_ENCODING, "identity")
            .header(HEADER, "1");
        let mut response = request.send().await.map_err(|error| {
            let reason = transport::causes(&error);
            if error.is_connect() {
                Error::Connect(reason)
            } else {
                Error::Read(reason)
            }
        })?;
        let header = |name| {
            let value = response.headers().get(name);
            value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        if response.status() != reqwest::StatusCode::OK {
            return Err(Error::Status {
                status: response.status().as_u16(),
                location: header(LOCATION),
            });
        }
        if let Some(encoding) = header(CONTENT_ENCODING)
            && !encoding.eq_ignore_ascii_case("identity")
        {
            return Err(Error::Form(format!(
                "it is compressed ('{encoding}'), which was not asked for"
            )));
        }
        let content_type = header(CONTENT_TYPE);
        let content_type =
            content_type.ok_or_else(|| Error::Form("it has no Content-Type".to_owned()))?;
        let dialect = Dialect::of_content_type(&content_type).map_err(Error::Form)?;
        let mut body = Vec::new();
        loop {
            let piece = response.chunk().await;
            match piece.map_err(|error| Error::Read(transport::causes(&error)))? {
                Some(piece) => body.extend_from_slice(&piece),
                None => return Ok((body, dialect)),
            }
            if body.len() as u64 > options.max_body {
                return Err(Error::TooLarge(options.max_body));
            }
        }
    }

    fn count(&self, outcome: Outcome, took: Duration) {
        let source = self.handle.name();
        self.telemetry.merge().polled(source, outcome, took);
    }

    /// Shows again what the last poll brought, after another task's polls were shown.
    pub fn show(&self) {
        let view = self.publish.borrow();
        let is_up = view.last.is_some() && view.error.is_none();
        self.telemetry.merge().show_up(self.handle.name(), is_up);
        if let Some(last) = &view.last {
            self.show_last(last);
        }
    }

    fn show_last(&self, last: &Last) {
        let of = |reason| last.refused(reason);
        let figures = SourceFigures {
            ended_unix: last.ended_unix,
            series: last.snapshot.series(),
            invalid: of(DropReason::Invalid),
            limit: of(DropReason::Limit),
        };
        self.telemetry.merge().brought(self.handle.name(), figures);
    }

    /// Logs the first success, the first after a failure, and a change of what is refused.
    fn log_success(&self, last: &Last) {
        let source = self.handle.name();
        let view = self.publish.borrow();
        if view.last.is_none() || view.error.is_some() {
            tracing::info!(
                source,
                series = last.snapshot.series(),
                families = last.snapshot.families().len(),
                took_ms = last.took.as_millis(),
                "polled the source"
            );
        }
        let names = |refused: &[Refused]| -> Vec<(DropReason, String)> {
            let names = refused.iter();
            names.map(|one| (one.reason, one.family.clone())).collect()
        };
        let before = view.last.as_ref().map(|last| names(&last.refused));
        if before.unwrap_or_default() != names(&last.refused) {
            log_refused(source, &last.refused);
        }
        tracing::debug!(
            source,
            took_ms = last.took.as_millis(),
            "poll of the source ended"
        );
    }

    /// Logs a failure that is not the one of the last poll.
    fn log_failure(&self, outcome: Outcome, error: &str) {
        let source = self.handle.name();
        let outcome = outcome.as_str();
        if self.publish.borrow().error.as_deref() == Some(error) {
            tracing::debug!(source, outcome, error, "poll of the source failed");
        } else {
            tracing::warn!(source, outcome, error, "poll of the source failed");
        }
    }
}

impl Last {
    /// Series of families that are left out for this reason.
    pub fn refused(&self, reason: DropReason) -> usize {
        let refused = self.refused.iter();
        let refused = refused.filter(|refused| refused.reason == reason);
        refused.map(|refused| refused.series).sum()
    }
}

/// How many families a message names.
const NAMED: usize = 20;

/// Says which families of a source are left out, and why.
pub(super) fn log_refused(source: &str, refused: &[Refused]) {
    let first = refused.iter().take(NAMED);
    let named: Vec<_> = first
        .map(|one| format!("{} ({}: {})", one.family, one.reason.as_str(), one.why))
        .collect();
    if named.is_empty() {
        tracing::info!(source, "no family of the source is left out any more");
    } else {
        tracing::warn!(
            source,
            left_out = refused.len(),
            families = named.join("; "),
            "families of the source that are left out changed"
        );
    }
}
