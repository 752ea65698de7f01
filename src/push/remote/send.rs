//! Sends what is in the queue, one poll after the other, in requests of bounded size of which
//! several may be under way: they hold different series, so that no receiver sees a series out of
//! order.
//!
//! What is not taken for the moment is tried again for as long as its poll is in the queue. What is
//! refused is not: another attempt would be refused too.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use reqwest::Method;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::batches::{Batches, Source};
use super::own::OwnShape;
use super::queue::{Item, Queue};
use super::shape::{Cursor, Shape};
use super::wire::{Batch, BatchLimit};
use crate::push::backoff::Backoff;
use crate::push::client::{Client, Failure, Outgoing};
use crate::telemetry::Fate;

/// Times between attempts, as Prometheus has them.
const FIRST_WAIT: Duration = Duration::from_millis(30);
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Layouts of which parts were sent before one was sent as a whole. More than that are forgotten.
const MAX_PARTIAL: usize = 8;

/// How things are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How much one request may hold.
    pub batch: BatchLimit,
    /// How many requests may be under way.
    pub concurrency: usize,
    /// Time between two times that it is said what families are; zero: never.
    pub metadata_interval: Duration,
}

/// The series that the receiver has.
#[derive(Debug, Default)]
pub(super) struct Sent {
    targets: BTreeMap<Arc<str>, Vec<Arc<Shape>>>,
    own: Vec<Arc<OwnShape>>,
}

impl Sent {
    /// What is to be sent of an item: first the ends of series that it has no longer.
    fn sources(&self, item: &Item) -> Vec<Source> {
        let mut sources = Vec::new();
        let polled = item.poll.as_ref().map(|poll| &poll.target);
        let gone = item.gone.iter().filter(|target| Some(*target) != polled);
        for shape in gone.filter_map(|target| self.targets.get(target)).flatten() {
            sources.push(Source::gone(shape, &[]));
        }
        if item.own_gone {
            sources.extend(self.own.iter().map(|shape| Source::own_gone(shape, None)));
        }
        if let Some(own) = &item.own {
            let others = self
                .own
                .iter()
                .filter(|have| !Arc::ptr_eq(have, &own.shape));
            sources.extend(others.map(|have| Source::own_gone(have, Some(&own.shape))));
            sources.push(Source::Own {
                own: own.clone(),
                done: 0,
            });
        }
        if let Some(poll) = &item.poll {
            let shapes: Vec<_> = poll.shapes().map(|shape| &**shape).collect();
            for have in self.targets.get(&poll.target).into_iter().flatten() {
                if !poll.shapes().any(|shape| Arc::ptr_eq(have, shape)) {
                    sources.push(Source::gone(have, &shapes));
                }
            }
            let parts = poll.parts.iter();
            sources.extend(parts.map(|(shape, snapshot)| Source::Values {
                shape: Arc::clone(shape),
                snapshot: Arc::clone(snapshot),
                cursor: Cursor::default(),
            }));
        }
        sources
    }

    /// Notes that an item was sent as a whole, or in part.
    fn note(&mut self, item: &Item, is_whole: bool) {
        if is_whole {
            for target in &item.gone {
                self.targets.remove(target);
            }
            if item.own_gone || item.own.is_some() {
                self.own.clear();
            }
            if let Some(poll) = &item.poll {
                self.targets.remove(&poll.target);
            }
        }
        if let Some(own) = &item.own {
            add(&mut self.own, &own.shape);
        }
        if let Some(poll) = &item.poll {
            let shapes = self.targets.entry(Arc::clone(&poll.target)).or_default();
            for shape in poll.shapes() {
                add(shapes, shape);
            }
        }
    }

    fn metadata(&self) -> Source {
        let mut families: Vec<_> = self.own.iter().flat_map(|shape| shape.metadata()).collect();
        for shape in self.targets.values().flatten() {
            families.extend(shape.metadata());
        }
        families.sort_by(|one, other| one.family().cmp(other.family()));
        families.dedup_by(|one, other| one.family() == other.family());
        Source::Metadata { families, done: 0 }
    }
}

fn add<T>(shapes: &mut Vec<Arc<T>>, shape: &Arc<T>) {
    if !shapes.iter().any(|have| Arc::ptr_eq(have, shape)) {
        shapes.push(Arc::clone(shape));
        if shapes.len() > MAX_PARTIAL {
            shapes.remove(0);
        }
    }
}

/// Empties the queue.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) client: Client,
    pub(super) pace: Pace,
    pub(super) queue: Arc<Queue>,
    pub(super) sent: Arc<Mutex<Sent>>,
}

impl Sender {
    /// Sends until the queue is closed and empty.
    pub(super) async fn run(self) {
        let mut metadata_sent: Option<Instant> = None;
        while let Some(item) = self.queue.next().await {
            self.send(&item).await;
            self.queue.done();
            let interval = self.pace.metadata_interval;
            let is_due = metadata_sent.is_none_or(|at| at.elapsed() >= interval);
            if item.poll.is_some() && is_due && !interval.is_zero() {
                metadata_sent = Some(Instant::now());
                self.send_metadata().await;
            }
        }
    }

    async fn send(&self, item: &Item) {
        let sources = self.sent().sources(item);
        let batches = Batches::new(sources, self.pace.batch, item.timestamp);
        let is_any_taken = AtomicBool::new(false);
        let deliveries = stream::iter(batches)
            .map(|batch| self.deliver(batch, &is_any_taken))
            .buffer_unordered(self.pace.concurrency);
        tokio::select! {
            biased;
            () = deliveries.for_each(|()| std::future::ready(())) => self.sent().note(item, true),
            () = self.queue.dropped() => {
                if is_any_taken.load(Ordering::Relaxed) {
                    self.sent().note(item, false);
                }
            }
        }
    }

    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request until it is taken or refused.
    async fn deliver(&self, batch: Batch, is_any_taken: &AtomicBool) {
        let Some(body) = compressed(&batch) else {
            self.queue.delivered(Fate::Rejected, batch.samples);
            return;
        };
        let samples = batch.samples;
        drop(batch);
        let mut backoff = Backoff::new(FIRST_WAIT, LAST_WAIT);
        loop {
            match self.post(body.clone()).await {
                Ok(()) => {
                    self.queue.set_stuck(false);
                    self.queue.delivered(Fate::Sent, samples);
                    is_any_taken.store(true, Ordering::Relaxed);
                    return;
                }
                Err(failure) if failure.is_final() => {
                    self.queue.delivered(Fate::Rejected, samples);
                    return;
                }
                Err(failure) => {
                    self.queue.set_stuck(true);
                    tokio::time::sleep(backoff.wait(failure.retry_after)).await;
                }
            }
        }
    }

    /// Says what families are. It is said again before long, so that one attempt is enough.
    async fn send_metadata(&self) {
        let source = self.sent().metadata();
        for batch in Batches::new(vec![source], self.pace.batch, 0) {
            let Some(body) = compressed(&batch) else {
                return;
            };
            if self.post(body).await.is_err() {
                return;
            }
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), Failure> {
        let mut headers = HeaderMap::new();
        let protobuf = HeaderValue::from_static("application/x-protobuf");
        headers.insert(CONTENT_TYPE, protobuf);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        let version = HeaderName::from_static("x-prometheus-remote-write-version");
        headers.insert(version, HeaderValue::from_static("0.1.0"));
        self.client
            .send(Method::POST, headers, Outgoing::whole(body))
            .await
    }
}

/// The body of a request: one block of snappy.
fn compressed(batch: &Batch) -> Option<Bytes> {
    let compressed = snap::raw::Encoder::new().compress_vec(batch.message());
    match compressed {
        Ok(bytes) => Some(bytes.into()),
        Err(error) => {
            tracing::error!(%error, "a request could not be compressed; its samples are dropped");
            None
        }
    }
}
