//! Polling: one task for each target, which reads it on a timer or when a scrape asks, and
//! publishes a snapshot that every reader shares.
//!
//! A target never gets two requests at a time: the task owns the transport. One deadline bounds a
//! whole poll. Decoding runs on a blocking thread, so that a large answer holds up no scrape; if it
//! panics, the poll counts as failed and the next one starts afresh.

mod target;

use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;

use crate::decode::{self, StatStream, Value};
use crate::histogram::Generation;
use crate::mapping::endpoints::Endpoint;
use crate::snapshot::Snapshot;
use crate::snapshot::builder::{Builder, Missing, Settings};
use crate::stat::StatType;
use crate::telemetry::Outcome;
use crate::transport::{self, Query, Transport};

pub use target::{Handle, LastPoll, Schedule, Task, View};

/// Why a poll brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An answer could not be had.
    #[error(transparent)]
    Transport(#[from] transport::Error),
    /// An answer is not what Envoy sends.
    #[error("the answer to {query} is not understood")]
    Decode {
        /// The request.
        query: &'static str,
        /// What is wrong with it, and where.
        source: decode::Error,
    },
    /// Decoding panicked.
    #[error("decoding panicked; this is a fault of the exporter")]
    Panicked,
}

impl Error {
    /// The outcome to count.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Transport(error) => match error.kind() {
                transport::Kind::Connect => Outcome::Connect,
                transport::Kind::Timeout => Outcome::Timeout,
                transport::Kind::Status => Outcome::Status,
                transport::Kind::TooLarge => Outcome::TooLarge,
                transport::Kind::Read => Outcome::Read,
            },
            Self::Decode { .. } => Outcome::Decode,
            Self::Panicked => Outcome::Internal,
        }
    }
}

/// What a successful poll brought.
#[derive(Debug)]
pub struct Polled {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Size of all answers.
    pub body_bytes: usize,
    /// Stats in the order of [`StatType::ALL`].
    pub stats: [usize; 4],
    /// Numbers of which the target did not say what they are.
    pub unknown_stats: usize,
}

/// Reads a target.
#[derive(Debug)]
pub struct Poller {
    transport: Transport,
    timeout: Duration,
    settings: Settings,
    /// Absent only while a blocking thread has it, and after a panic there.
    builder: Option<Box<Builder>>,
    body: Vec<u8>,
}

/// A body is given back to the system when it is this many times larger than what the last poll
/// needed: a spike is not kept for ever.
const BODY_SLACK: usize = 4;

impl Poller {
    /// A poller that has read nothing yet.
    pub fn new(transport: Transport, timeout: Duration, settings: Settings) -> Self {
        Self {
            transport,
            timeout,
            settings,
            builder: None,
            body: Vec::new(),
        }
    }

    /// Reads the target once. A panic while its answers are read is the fault of this poll alone.
    pub async fn poll(&mut self) -> Result<Polled, Error> {
        let polled = AssertUnwindSafe(self.poll_once()).catch_unwind().await;
        polled.unwrap_or_else(|_| {
            self.builder = None;
            Err(Error::Panicked)
        })
    }

    async fn poll_once(&mut self) -> Result<Polled, Error> {
        let deadline = tokio::time::Instant::now() + self.timeout;
        let mut body_bytes = 0;
        let mut largest = 0;
        self.with_builder(|builder, _| {
            builder.begin();
            Ok(())
        })
        .await?;
        for query in self.queries() {
            if is_streamed(query) {
                body_bytes += self.stream(query, deadline).await?;
                continue;
            }
            self.fetch(query, deadline).await?;
            body_bytes += self.body.len();
            largest = largest.max(self.body.len());
            self.with_builder(move |builder, body| read(query, body, builder))
                .await?;
        }
        let missing = self.missing().await?;
        for query in queries_for(missing) {
            match self.fetch(query, deadline).await {
                Ok(()) => {}
                // A capture need not have these; defaults stand in for what they say.
                Err(Error::Transport(transport::Error::Missing { .. })) => continue,
                Err(error) => return Err(error),
            }
            body_bytes += self.body.len();
            largest = largest.max(self.body.len());
            self.with_builder(move |builder, body| read(query, body, builder))
                .await?;
        }
        if self.body.capacity() / BODY_SLACK > largest {
            self.body = Vec::new();
        }
        self.with_builder(move |builder, _| {
            let snapshot = builder.finish();
            Ok(Polled {
                snapshot,
                body_bytes,
                stats: StatType::ALL.map(|stat_type| builder.seen(Some(stat_type))),
                unknown_stats: builder.seen(None),
            })
        })
        .await
    }

    /// The stats, one type after the other; all at once where a capture has nothing else.
    fn queries(&self) -> Vec<Query> {
        if self.transport.has_only_all_stats() {
            tracing::warn!(
                "the capture has all stats in one file: types come from the mapping table, and its \
                 histograms, which have no bins there, are left out"
            );
            vec![Query::AllStats]
        } else {
            vec![
                Query::Counters,
                Query::Gauges,
                Query::TextReadouts,
                Query::Histograms,
            ]
        }
    }

    /// Reads stats as they come: each piece costs little, and no whole answer is held.
    async fn stream(
        &mut self,
        query: Query,
        deadline: tokio::time::Instant,
    ) -> Result<usize, Error> {
        let stat_type = number_type(query);
        let mut builder = self.take_builder();
        let mut stream = StatStream::default();
        let mut mistake = None;
        let taken = |piece: &[u8]| {
            let fed = stream.feed(piece, |name, value| {
                stat(&mut builder, stat_type, name, value);
            });
            match fed {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    mistake = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        let size = self.transport.stream(query, deadline, taken).await;
        let ended = match mistake {
            Some(mistake) => Err(mistake),
            None => stream.finish(|name, value| stat(&mut builder, stat_type, name, value)),
        };
        // Whatever happened, what is known of the target is kept.
        self.builder = Some(builder);
        let size = size?;
        ended.map_err(|source| Error::Decode {
            query: query.name(),
            source,
        })?;
        Ok(usize::try_from(size).unwrap_or(usize::MAX))
    }

    fn take_builder(&mut self) -> Box<Builder> {
        let settings = &self.settings;
        self.builder
            .take()
            .unwrap_or_else(|| Box::new(Builder::new(settings.clone())))
    }

    async fn fetch(&mut self, query: Query, deadline: tokio::time::Instant) -> Result<(), Error> {
        let body = &mut self.body;
        Ok(self.transport.fetch(query, body, deadline).await?)
    }

    async fn missing(&mut self) -> Result<Missing, Error> {
        self.with_builder(|builder, _| Ok(builder.missing())).await
    }

    /// Runs `work` on a blocking thread, with the builder and the last body.
    async fn with_builder<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Builder, &[u8]) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let mut builder = self.take_builder();
        let body = std::mem::take(&mut self.body);
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&mut builder, &body);
            (builder, body, result)
        });
        let (builder, body, result) = done.await.map_err(|_| Error::Panicked)?;
        self.builder = Some(builder);
        self.body = body;
        result
    }
}

/// What to ask for besides the stats.
fn queries_for(missing: Missing) -> impl Iterator<Item = Query> {
    [
        (missing.bounds, Query::HistogramBounds),
        (missing.endpoints, Query::Clusters),
        (missing.generation, Query::ServerInfo),
    ]
    .into_iter()
    .filter_map(|(wanted, query)| wanted.then_some(query))
}

/// Hands an answer to the builder.
fn read(query: Query, body: &[u8], builder: &mut Builder) -> Result<(), Error> {
    let decoded = match query {
        Query::Histograms => decode::histograms(body, |histogram| builder.histogram(histogram)),
        Query::HistogramBounds => {
            decode::histogram_bounds(body, |name, bounds| builder.bounds(name, bounds))
        }
        Query::Clusters => decode::endpoints(body).map(|endpoints| {
            builder.endpoints(endpoints.into_iter().map(|found| {
                let endpoint = Endpoint {
                    address: found.address,
                    hostname: found.hostname,
                };
                (found.cluster, endpoint)
            }));
        }),
        Query::ServerInfo => decode::version(body).map(|version| {
            if let Some(generation) = Generation::of_version(&version) {
                builder.generation(generation);
            }
        }),
        // The others are read as they come, or not at all.
        _ => Ok(()),
    };
    decoded.map_err(|source| Error::Decode {
        query: query.name(),
        source,
    })
}

/// Whether an answer is one stat after the other, and read as it comes.
const fn is_streamed(query: Query) -> bool {
    matches!(
        query,
        Query::Counters | Query::Gauges | Query::TextReadouts | Query::AllStats
    )
}

/// The type of the numbers in an answer, where the request says it.
const fn number_type(query: Query) -> Option<StatType> {
    match query {
        Query::Counters => Some(StatType::Counter),
        Query::Gauges => Some(StatType::Gauge),
        _ => None,
    }
}

fn stat(builder: &mut Builder, stat_type: Option<StatType>, name: &str, value: Value<'_>) {
    match value {
        Value::Number(value) => builder.number(stat_type, name, value),
        Value::Text(text) => builder.text(name, text),
    }
}
