//! Remote write 1.0: every poll is sent once, in order, with the time at which it ended.
//!
//! For each target a task waits for polls and puts them into a queue, as values beside a layout that
//! was prepared once; one more task sends what is in the queue. A receiver that is away, or slow,
//! therefore holds up no poll and no scrape, and what waits for it is bounded.
//!
//! Series that a poll has no longer are ended with a staleness marker, and so are all of a target
//! whose data is too old to be served, and everything when the program stops. The own metrics go
//! with the polls of the first target, also with those that fail.

mod batches;
mod labels;
mod own;
mod queue;
mod send;
mod shape;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::Feed;
use super::client::{Client, Endpoint, SetupError};
use crate::histogram::native::Form;
use crate::poll::{Handle, LastPoll, View};
use crate::snapshot::Snapshot;
use crate::telemetry::{Fate, QueueSize, Telemetry, Way};

pub use labels::Labeling;
use own::{Own, OwnShape};
use queue::{Item, Poll, Queue};
pub use send::Pace;
use send::{Sender, Sent};
use shape::Shape;
pub use wire::BatchLimit;

/// Where and how polls are sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The receiver.
    pub endpoint: Endpoint,
    /// What is done to the labels of each series.
    pub labeling: Arc<Labeling>,
    /// How things are sent.
    pub pace: Pace,
    /// How much may wait.
    pub queue: QueueSize,
}

/// Time to send what waits when the program stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Remote write under way.
#[derive(Debug)]
pub(super) struct Running {
    options: Options,
    shared: Arc<Shared>,
    following: JoinSet<()>,
    sending: JoinHandle<()>,
}

/// What those who follow targets share.
#[derive(Debug)]
struct Shared {
    labeling: Mutex<Arc<Labeling>>,
    queue: Arc<Queue>,
    sent: Arc<Mutex<Sent>>,
    times: Mutex<BTreeMap<Arc<str>, Times>>,
    own: Mutex<Option<Arc<OwnShape>>>,
    telemetry: Arc<Telemetry>,
}

/// Times of a target's samples, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    /// Of the newest poll that was put into the queue.
    polled: i64,
    /// Of the newest sample, also one that says that there is no more.
    newest: i64,
}

impl Running {
    /// Begins to send the polls of these targets.
    pub(super) fn start(options: Options, feed: &Feed) -> Result<Self, SetupError> {
        let telemetry = &feed.telemetry;
        let queue = Arc::new(Queue::new(options.queue, Arc::clone(telemetry)));
        let shared = Arc::new(Shared {
            labeling: Mutex::new(Arc::clone(&options.labeling)),
            queue,
            sent: Arc::default(),
            times: Mutex::default(),
            own: Mutex::default(),
            telemetry: Arc::clone(telemetry),
        });
        let sender = shared.sender(&options)?;
        if options.labeling.external.is_empty() {
            tracing::warn!(
                "remote write without external_labels: another exporter that writes to the same \
                 place has the same series"
            );
        }
        let mut running = Self {
            options,
            shared,
            following: JoinSet::new(),
            sending: tokio::spawn(sender.run()),
        };
        running.follow(feed);
        Ok(running)
    }

    /// Whether these options are of the same receiver.
    pub(super) fn is_of(&self, options: &Options) -> bool {
        self.options.endpoint.url == options.endpoint.url
    }

    /// Goes on with other options and targets, and with what waits.
    pub(super) fn replace(&mut self, options: Options, feed: &Feed) -> Result<(), SetupError> {
        self.following = JoinSet::new();
        if self.options != options {
            let sender = self.shared.sender(&options)?;
            self.sending.abort();
            self.shared.queue.set_limit(options.queue);
            *lock(&self.shared.labeling) = Arc::clone(&options.labeling);
            self.options = options;
            self.sending = tokio::spawn(sender.run());
        }
        let mut gone: Vec<_> = lock(&self.shared.times).keys().cloned().collect();
        gone.retain(|name| !feed.targets.iter().any(|target| target.name() == &**name));
        if !gone.is_empty() {
            self.shared.end(gone.clone(), false);
            lock(&self.shared.times).retain(|name, _| !gone.contains(name));
        }
        self.follow(feed);
        Ok(())
    }

    fn follow(&mut self, feed: &Feed) {
        self.following = JoinSet::new();
        for (at, target) in feed.targets.iter().enumerate() {
            let follower = Follower {
                shared: Arc::clone(&self.shared),
                target: target.clone(),
                name: target.name().into(),
                with_own: at == 0,
                histograms: feed.histograms,
                shapes: Vec::new(),
                polls: 0,
                expires: None,
            };
            self.following.spawn(follower.run());
        }
    }

    /// Ends all series and gives what waits some time to be sent.
    pub(super) async fn stop(mut self) {
        self.following.shutdown().await;
        let gone = lock(&self.shared.times).keys().cloned().collect();
        self.shared.end(gone, true);
        self.shared.queue.close();
        let ended = tokio::time::timeout(STOP_TIMEOUT, &mut self.sending).await;
        if ended.is_err() {
            self.sending.abort();
            self.shared.queue.clear();
        }
    }
}

impl Shared {
    fn sender(&self, options: &Options) -> Result<Sender, SetupError> {
        let telemetry = Arc::clone(&self.telemetry);
        Ok(Sender {
            client: Client::new(options.endpoint.clone(), Way::RemoteWrite, telemetry)?,
            pace: options.pace,
            queue: Arc::clone(&self.queue),
            sent: Arc::clone(&self.sent),
        })
    }

    /// Ends the series of targets, and the own ones.
    fn end(&self, gone: Vec<Arc<str>>, own_gone: bool) {
        let mut times = lock(&self.times);
        let newest = times.values().map(|times| times.newest).max();
        let timestamp = now().max(newest.unwrap_or_default() + 1);
        for target in &gone {
            times.entry(Arc::clone(target)).or_default().newest = timestamp;
        }
        drop(times);
        self.queue.push(Item {
            timestamp,
            poll: None,
            own: None,
            gone,
            own_gone,
        });
    }

    fn own(&self) -> Own {
        let labeling = Arc::clone(&lock(&self.labeling));
        let mut last = lock(&self.own);
        let own = Own::new(&self.telemetry.gather(), &labeling, last.as_ref());
        *last = Some(Arc::clone(&own.shape));
        own
    }
}

/// Follows one target.
struct Follower {
    shared: Arc<Shared>,
    target: Handle,
    name: Arc<str>,
    with_own: bool,
    histograms: Form,
    /// Layouts of the last poll.
    shapes: Vec<Arc<Shape>>,
    /// How many polls were seen to end.
    polls: u64,
    /// When the newest data is too old.
    expires: Option<Instant>,
}

impl Follower {
    async fn run(mut self) {
        let mut views = self.target.watch();
        loop {
            let view = views.borrow_and_update().clone();
            if view.polls > self.polls {
                self.polls = view.polls;
                self.poll_ended(&view).await;
            }
            let expired = async {
                match self.expires {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = views.changed() => if changed.is_err() {
                    // The target is no longer polled; its data may still grow old.
                    match self.expires {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => return,
                    }
                    self.expire();
                    return;
                },
                () = expired => self.expire(),
            }
        }
    }

    fn expire(&mut self) {
        self.expires = None;
        tracing::info!(
            target_name = self.target.name(),
            "the target's data is stale: its series end in remote write"
        );
        self.shared.end(vec![Arc::clone(&self.name)], false);
    }

    /// Puts what a poll brought into the queue.
    async fn poll_ended(&mut self, view: &View) {
        let poll = match &view.last {
            Some(last) if self.target.fresh().is_some() => self.poll(last).await,
            _ => None,
        };
        let timestamp = if let Some((timestamp, _)) = &poll {
            *timestamp
        } else {
            let mut times = lock(&self.shared.times);
            let times = times.entry(Arc::clone(&self.name)).or_default();
            times.newest = now().max(times.newest + 1);
            times.newest
        };
        if poll.is_none() && !self.with_own {
            return;
        }
        self.shared.queue.push(Item {
            timestamp,
            poll: poll.map(|(_, poll)| poll),
            own: self.with_own.then(|| self.shared.own()),
            gone: Vec::new(),
            own_gone: false,
        });
    }

    /// The last poll, if it is a new one.
    async fn poll(&mut self, last: &LastPoll) -> Option<(i64, Poll)> {
        let timestamp = milliseconds(last.ended_unix);
        self.expires = Some(Instant::from_std(last.ended) + self.target.stale_after());
        let known = lock(&self.shared.times).get(&self.name).copied();
        let known = known.unwrap_or_default();
        if timestamp == known.polled {
            // A later poll failed, or this one was read before a reload.
            return None;
        }
        let mut parts = Vec::new();
        for snapshot in last.snapshots() {
            parts.push((self.shape(snapshot).await?, Arc::clone(snapshot)));
        }
        // Those of older layouts are not needed any more.
        self.shapes = parts.iter().map(|(shape, _)| Arc::clone(shape)).collect();
        let target = Arc::clone(&self.name);
        let poll = Poll { target, parts };
        if timestamp <= known.newest {
            // No receiver would take it.
            let push = self.shared.telemetry.push();
            push.samples(Way::RemoteWrite, Fate::Clock, poll.samples());
            return None;
        }
        let times = Times {
            polled: timestamp,
            newest: timestamp,
        };
        lock(&self.shared.times).insert(Arc::clone(&self.name), times);
        Some((timestamp, poll))
    }

    /// The layout of a snapshot, prepared.
    async fn shape(&self, snapshot: &Arc<Snapshot>) -> Option<Arc<Shape>> {
        let mut known = self.shapes.iter();
        if let Some(shape) = known.find(|shape| shape.is_of(snapshot.layout())) {
            return Some(Arc::clone(shape));
        }
        let snapshot = Arc::clone(snapshot);
        let labeling = Arc::clone(&lock(&self.shared.labeling));
        let histograms = self.histograms;
        let made = tokio::task::spawn_blocking(move || {
            Arc::new(Shape::new(&snapshot, labeling, histograms))
        });
        made.await.ok()
    }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    milliseconds(now.unwrap_or_default().as_secs_f64())
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970")]
fn milliseconds(unix: f64) -> i64 {
    (unix * 1000.0) as i64
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
