//! Polling: one task for each target, which reads it on a timer or when a scrape asks, and
//! publishes a snapshot that every reader shares.
//!
//! A target never gets two requests at a time: the task owns the transport. One deadline bounds a
//! whole poll. Decoding runs on a blocking thread, so that a large answer holds up no scrape; if it
//! panics, the poll counts as failed and the next one starts afresh.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hashbrown::HashSet;
use tokio::sync::{Notify, watch};

use crate::decode::{self, Value};
use crate::histogram::Generation;
use crate::mapping::Mapping;
use crate::mapping::endpoints::Endpoint;
use crate::names::Labels;
use crate::snapshot::Snapshot;
use crate::snapshot::builder::{Builder, Missing};
use crate::stat::StatType;
use crate::telemetry::{Outcome, PollFigures, Telemetry};
use crate::transport::{self, Query, Transport};

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
    mapping: Arc<Mapping>,
    labels: Labels,
    reserved: HashSet<String>,
    /// Absent only while a blocking thread has it, and after a panic there.
    builder: Option<Box<Builder>>,
    body: Vec<u8>,
}

/// A body is given back to the system when it is this many times larger than what the last poll
/// needed: a spike is not kept for ever.
const BODY_SLACK: usize = 4;

impl Poller {
    /// A poller that has read nothing yet.
    pub fn new(
        transport: Transport,
        timeout: Duration,
        mapping: Arc<Mapping>,
        labels: Labels,
        reserved: HashSet<String>,
    ) -> Self {
        Self {
            transport,
            timeout,
            mapping,
            labels,
            reserved,
            builder: None,
            body: Vec::new(),
        }
    }

    /// Reads the target once.
    pub async fn poll(&mut self) -> Result<Polled, Error> {
        let deadline = tokio::time::Instant::now() + self.timeout;
        let mut body_bytes = 0;
        let mut largest = 0;
        self.with_builder(|builder, _| {
            builder.begin();
            Ok(())
        })
        .await?;
        for query in self.queries() {
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
        let mut builder = self.builder.take().unwrap_or_else(|| {
            Box::new(Builder::new(
                Arc::clone(&self.mapping),
                self.labels.clone(),
                self.reserved.clone(),
            ))
        });
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
        Query::Counters => numbers(body, builder, Some(StatType::Counter)),
        Query::Gauges => numbers(body, builder, Some(StatType::Gauge)),
        Query::AllStats | Query::TextReadouts => numbers(body, builder, None),
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
        Query::Certs | Query::Listeners => Ok(()),
    };
    decoded.map_err(|source| Error::Decode {
        query: query.name(),
        source,
    })
}

fn numbers(
    body: &[u8],
    builder: &mut Builder,
    stat_type: Option<StatType>,
) -> Result<(), decode::Error> {
    decode::stats(body, |name, value| match value {
        Value::Number(value) => builder.number(stat_type, name, value),
        Value::Text(text) => builder.text(name, text),
    })
}

/// What readers see of a target.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The last successful poll.
    pub last: Option<LastPoll>,
    /// What went wrong in the last poll, if something did.
    pub error: Option<Arc<str>>,
    /// How many polls have ended.
    pub polls: u64,
    polling: bool,
}

/// A successful poll.
#[derive(Clone, Debug)]
pub struct LastPoll {
    /// Its snapshot.
    pub snapshot: Arc<Snapshot>,
    /// When it ended.
    pub ended: Instant,
    /// The same by the wall clock.
    pub ended_unix: f64,
    /// How long it took.
    pub took: Duration,
    /// Size of its answers.
    pub body_bytes: usize,
}

/// A target as its readers hold it.
#[derive(Clone, Debug)]
pub struct Handle {
    name: Arc<str>,
    address: Arc<str>,
    stale_after: Duration,
    on_demand: bool,
    view: watch::Receiver<View>,
    demand: Arc<Notify>,
}

impl Handle {
    /// The target's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is polled.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What is known now.
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// The last successful poll, unless it is too old to be served.
    pub fn fresh(&self) -> Option<LastPoll> {
        let last = self.view.borrow().last.clone()?;
        (last.ended.elapsed() <= self.stale_after).then_some(last)
    }

    /// Whether a reader waits for a poll first.
    pub fn is_on_demand(&self) -> bool {
        self.on_demand
    }

    /// Waits for a poll that ends after now. Readers that wait at the same time share one.
    pub async fn polled(&self) {
        let mut view = self.view.clone();
        let (before, polling) = {
            let now = view.borrow_and_update();
            (now.polls, now.polling)
        };
        if !polling {
            self.demand.notify_one();
        }
        // An error means that the task is gone, as it is while the program stops.
        let _ = view.wait_for(|view| view.polls > before).await;
    }
}

/// When a target is polled and how long its data is served.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Time from the start of a poll to the start of the next; zero: when a reader asks.
    pub interval: Duration,
    /// Age above which data is not served.
    pub stale_after: Duration,
}

/// A target and its poller, ready to run.
#[derive(Debug)]
pub struct Task {
    handle: Handle,
    schedule: Schedule,
    poller: Poller,
    telemetry: Arc<Telemetry>,
    publish: watch::Sender<View>,
}

impl Task {
    /// Sets a target up.
    pub fn new(
        name: &str,
        address: &str,
        schedule: Schedule,
        poller: Poller,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let (publish, view) = watch::channel(View::default());
        telemetry.add_target(name);
        let handle = Handle {
            name: name.into(),
            address: address.into(),
            stale_after: schedule.stale_after,
            on_demand: schedule.interval.is_zero(),
            view,
            demand: Arc::new(Notify::new()),
        };
        Self {
            handle,
            schedule,
            poller,
            telemetry,
            publish,
        }
    }

    /// The readers' side.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Polls until the task is dropped.
    pub async fn run(mut self) {
        let mut ticks = (!self.schedule.interval.is_zero()).then(|| {
            let mut ticks = tokio::time::interval(self.schedule.interval);
            // A poll that took longer than the interval is not made up for.
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            ticks
        });
        loop {
            match &mut ticks {
                Some(ticks) => {
                    ticks.tick().await;
                }
                None => self.handle.demand.notified().await,
            }
            self.poll().await;
        }
    }

    /// Polls once and publishes the outcome.
    pub async fn poll(&mut self) {
        self.publish.send_modify(|view| view.polling = true);
        let start = Instant::now();
        let result = self.poller.poll().await;
        let took = start.elapsed();
        let target = self.handle.name();
        match result {
            Ok(polled) => {
                let ended_unix = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0.0, |since| since.as_secs_f64());
                let snapshot = Arc::new(polled.snapshot);
                self.telemetry.polled(target, Outcome::Success, took);
                self.telemetry.brought(
                    target,
                    &PollFigures {
                        ended_unix,
                        body_bytes: polled.body_bytes,
                        stats: polled.stats,
                        unknown_stats: polled.unknown_stats,
                        series: snapshot.series(),
                        families: snapshot.families().len(),
                        report: snapshot.report(),
                    },
                );
                self.log_success(&snapshot, took);
                let last = LastPoll {
                    snapshot,
                    ended: Instant::now(),
                    ended_unix,
                    took,
                    body_bytes: polled.body_bytes,
                };
                self.publish.send_modify(|view| {
                    view.last = Some(last);
                    view.error = None;
                    view.polls += 1;
                    view.polling = false;
                });
            }
            Err(error) => {
                let outcome = error.outcome();
                let text = format!("{:#}", anyhow::Error::new(error));
                self.telemetry.polled(target, outcome, took);
                self.log_failure(outcome, &text);
                self.publish.send_modify(|view| {
                    view.error = Some(text.into());
                    view.polls += 1;
                    view.polling = false;
                });
            }
        }
    }

    /// Logs the first success, the first after a failure, and a change of what is dropped.
    fn log_success(&self, snapshot: &Snapshot, took: Duration) {
        let target = self.handle.name();
        let view = self.publish.borrow();
        if view.last.is_none() || view.error.is_some() {
            tracing::info!(
                target_name = target,
                series = snapshot.series(),
                families = snapshot.families().len(),
                undescribed = snapshot.report().undescribed,
                took_ms = took.as_millis(),
                "polled the target"
            );
        }
        let before = view
            .last
            .as_ref()
            .map(|last| last.snapshot.report().dropped);
        let report = snapshot.report();
        if before.unwrap_or_default() != report.dropped {
            tracing::warn!(
                target_name = target,
                dropped = report.dropped.iter().sum::<usize>(),
                conflicts = report.conflicts.join(" "),
                "stats without a series changed"
            );
        }
        tracing::debug!(
            target_name = target,
            took_ms = took.as_millis(),
            "poll ended"
        );
    }

    /// Logs a failure that is not the one of the last poll.
    fn log_failure(&self, outcome: Outcome, text: &str) {
        let target = self.handle.name();
        let outcome = outcome.as_str();
        if self.publish.borrow().error.as_deref() == Some(text) {
            tracing::debug!(target_name = target, outcome, error = text, "poll failed");
        } else {
            tracing::warn!(target_name = target, outcome, error = text, "poll failed");
        }
    }
}
