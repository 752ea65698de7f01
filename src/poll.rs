//! Polling: one task for each target, which reads it on a timer or when a scrape asks, and
//! publishes a snapshot that every reader shares.
//!
//! A target never gets two requests at a time: the task owns the transport. One deadline bounds a
//! whole poll. Stats are read as they come, a small piece at a time; what takes long once they are
//! all there runs on a blocking thread, so that a large answer holds up no scrape. If any of it
//! panics, the poll counts as failed and the next one starts afresh.

mod target;

use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;

use crate::collectors::{Collectors, Name, Run, Server};
use crate::decode::{
    self, DetailedHistogram, HistogramKind, HistogramStream, StatStream, Taker, Value,
};
use crate::histogram::Generation;
use crate::mapping::endpoints::Endpoint;
use crate::snapshot::Snapshot;
use crate::snapshot::builder::{Builder, Missing, Settings};
use crate::stat::StatType;
use crate::telemetry::Outcome;
use crate::transport::{self, Query, Transport};
use crate::work;

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
            Self::Transport(error) => error.outcome(),
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
    /// What collectors have, where there are any.
    pub collected: Option<Snapshot>,
    /// Which of them ran, and how that ended.
    pub runs: Vec<Run>,
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
    /// Absent only while an answer or a blocking thread has it, and after a panic there.
    builder: Option<Box<Builder>>,
    collectors: Option<Collectors>,
}

impl Poller {
    /// A poller that has read nothing yet.
    pub fn new(transport: Transport, timeout: Duration, settings: Settings) -> Self {
        Self {
            transport,
            timeout,
            settings,
            builder: None,
            collectors: None,
        }
    }

    /// The same, with collectors that run with each poll.
    #[must_use]
    pub fn with_collectors(mut self, collectors: Option<Collectors>) -> Self {
        self.collectors = collectors;
        self
    }

    /// The collectors that run.
    pub fn collectors(&self) -> impl Iterator<Item = Name> {
        self.collectors.iter().flat_map(Collectors::names)
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
        self.transport.refresh().await;
        self.with_builder(|builder| {
            builder.begin();
            Ok(())
        })
        .await?;
        for query in self.queries() {
            body_bytes += self.read(query, deadline).await?;
        }
        let missing = self.missing().await?;
        for query in queries_for(missing) {
            match self.read(query, deadline).await {
                Ok(bytes) => body_bytes += bytes,
                // A capture need not have these; defaults stand in for what they say.
                Err(Error::Transport(transport::Error::Missing { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        let finished = self.with_builder(move |builder| {
            let polled = Polled {
                snapshot: builder.finish(),
                collected: None,
                runs: Vec::new(),
                body_bytes,
                stats: StatType::ALL.map(|stat_type| builder.seen(Some(stat_type))),
                unknown_stats: builder.seen(None),
            };
            Ok((polled, Server::of_stats(|name| builder.gauge(name))))
        });
        let (mut polled, server) = finished.await?;
        if let Some(collectors) = &mut self.collectors {
            let transport = &mut self.transport;
            polled.runs = collectors.run(transport, deadline, server).await;
            polled.body_bytes += polled.runs.iter().map(|run| run.bytes).sum::<usize>();
            polled.collected = collectors.finish(&polled.snapshot).await;
        }
        Ok(polled)
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

    /// Reads an answer into the builder; says how large it was.
    async fn read(&mut self, query: Query, deadline: tokio::time::Instant) -> Result<usize, Error> {
        if let Some(reading) = Reading::of(query) {
            return self.stream(query, reading, deadline).await;
        }
        let mut body = Vec::new();
        self.transport.fetch(query, &mut body, deadline).await?;
        let bytes = body.len();
        self.with_builder(move |builder| document(query, &body, builder))
            .await?;
        Ok(bytes)
    }

    /// Reads stats as they come: each piece costs little, and no whole answer is held.
    async fn stream(
        &mut self,
        query: Query,
        mut reading: Reading,
        deadline: tokio::time::Instant,
    ) -> Result<usize, Error> {
        let mut builder = self.take_builder();
        let mut mistake = None;
        let taken = |piece: &[u8]| match reading.feed(piece, &mut builder) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                mistake = Some(error);
                ControlFlow::Break(())
            }
        };
        let size = self.transport.stream(query, deadline, taken).await;
        let ended = match (&size, mistake) {
            (_, Some(mistake)) => Err(mistake),
            (Ok(_), None) => reading.finish(&mut builder),
            (Err(_), None) => Ok(()),
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

    async fn missing(&mut self) -> Result<Missing, Error> {
        self.with_builder(|builder| Ok(builder.missing())).await
    }

    /// Runs `work` on a blocking thread, with the builder.
    async fn with_builder<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Builder) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let mut builder = self.take_builder();
        let done = work::POLLS.run(move || {
            let result = work(&mut builder);
            (builder, result)
        });
        let (builder, result) = done.await.map_err(|_| Error::Panicked)?;
        self.builder = Some(builder);
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

/// An answer that is read as it comes.
enum Reading {
    /// Numbers of a type, where the request says it, and texts, which show theirs.
    Stats(StatStream, Option<StatType>),
    Histograms(HistogramStream),
}

impl Reading {
    fn of(query: Query) -> Option<Self> {
        let stats = |stat_type| Self::Stats(StatStream::default(), stat_type);
        let histograms = |kind| Self::Histograms(HistogramStream::new(kind));
        match query {
            Query::Counters => Some(stats(Some(StatType::Counter))),
            Query::Gauges => Some(stats(Some(StatType::Gauge))),
            Query::TextReadouts | Query::AllStats => Some(stats(None)),
            Query::Histograms => Some(histograms(HistogramKind::Detailed)),
            Query::HistogramBounds => Some(histograms(HistogramKind::Cumulative)),
            Query::Clusters
            | Query::Endpoints
            | Query::Certs
            | Query::ServerInfo
            | Query::Listeners
            | Query::Memory => None,
        }
    }

    fn feed(&mut self, piece: &[u8], builder: &mut Builder) -> Result<(), decode::Error> {
        match self {
            Self::Stats(stream, stat_type) => stream.feed(piece, |name, value| {
                stat(builder, *stat_type, name, value);
            }),
            Self::Histograms(stream) => stream.feed(piece, &mut Taking(builder)),
        }
    }

    fn finish(self, builder: &mut Builder) -> Result<(), decode::Error> {
        match self {
            Self::Stats(stream, stat_type) => stream.finish(|name, value| {
                stat(builder, stat_type, name, value);
            }),
            Self::Histograms(stream) => stream.finish(&mut Taking(builder)),
        }
    }
}

struct Taking<'b>(&'b mut Builder);

impl Taker for Taking<'_> {
    fn detailed(&mut self, histogram: &DetailedHistogram<'_>) {
        self.0.histogram(histogram);
    }

    fn bounds(&mut self, name: &str, bounds: &[f64]) {
        self.0.bounds(name, bounds);
    }
}

fn stat(builder: &mut Builder, stat_type: Option<StatType>, name: &str, value: Value<'_>) {
    match value {
        Value::Number(value) => builder.number(stat_type, name, value),
        Value::Text(text) => builder.text(name, text),
    }
}

/// Hands a document to the builder.
fn document(query: Query, body: &[u8], builder: &mut Builder) -> Result<(), Error> {
    let decoded = match query {
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
