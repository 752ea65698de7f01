//! Polls that wait to be sent, in their order, in bounded memory.
//!
//! A poll is an array of values; what it shares with others is counted once. When a new one does not
//! fit in, the oldest go. The one that is being sent goes only while its receiver does not take it,
//! and its sender is told; else a receiver that is slower than the polls would get no poll as a
//! whole. The newest always fits in beside it, or nothing would ever be sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::own::Own;
use super::shape::Shape;
use crate::snapshot::Snapshot;
use crate::telemetry::{Fate, QueueSize, Telemetry, Way};

/// What one poll brought, or that there was none.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// When it ended, in milliseconds since 1970.
    pub(super) timestamp: i64,
    pub(super) poll: Option<Poll>,
    pub(super) own: Option<Own>,
    /// Targets of which there is nothing any more.
    pub(super) gone: Vec<Arc<str>>,
    /// Whether the own series end with it.
    pub(super) own_gone: bool,
}

/// A successful poll.
#[derive(Clone, Debug)]
pub(super) struct Poll {
    pub(super) target: Arc<str>,
    /// Its snapshots; no series is in two.
    pub(super) parts: Vec<(Arc<Shape>, Arc<Snapshot>)>,
}

impl Poll {
    pub(super) fn shapes(&self) -> impl Iterator<Item = &Arc<Shape>> {
        self.parts.iter().map(|(shape, _)| shape)
    }

    pub(super) fn samples(&self) -> usize {
        self.shapes().map(|shape| shape.samples()).sum()
    }
}

impl Item {
    /// How many samples it has, the ends of series not counted.
    pub(super) fn samples(&self) -> usize {
        let poll = self.poll.as_ref().map_or(0, Poll::samples);
        poll + self.own.as_ref().map_or(0, |own| own.values.len())
    }

    fn shapes(&self) -> impl Iterator<Item = &Arc<Shape>> {
        self.poll.iter().flat_map(Poll::shapes)
    }

    /// Memory that it shares with none.
    fn memory(&self) -> usize {
        let parts = self.poll.iter().flat_map(|poll| &poll.parts);
        let poll: usize = parts.map(|(_, snapshot)| snapshot.memory()).sum();
        let own = self.own.as_ref().map_or(0, |own| size_of_val(&*own.values));
        size_of::<Self>() + poll + own
    }
}

/// The queue between those who read polls and the one who sends them.
#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// Something was added, or the queue was closed.
    added: Notify,
    /// The poll that is being sent was dropped.
    dropped: Notify,
    telemetry: Arc<Telemetry>,
}

/// What is known of the oldest item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sending {
    /// It waits too.
    #[default]
    No,
    /// It is being sent.
    Going,
    /// It is, and the receiver did not take the last request.
    Stuck,
}

#[derive(Debug, Default)]
struct Inner {
    items: VecDeque<(Item, usize)>,
    /// Shapes of the items, how many have them, and their size.
    shapes: Vec<(Arc<Shape>, usize, usize)>,
    bytes: usize,
    sending: Sending,
    /// Samples of the item that is being sent that were taken or refused.
    delivered: usize,
    limit: QueueSize,
    is_closed: bool,
    is_overfull: bool,
}

impl Queue {
    pub(super) fn new(limit: QueueSize, telemetry: Arc<Telemetry>) -> Self {
        let queue = Self {
            inner: Mutex::default(),
            added: Notify::new(),
            dropped: Notify::new(),
            telemetry,
        };
        queue.set_limit(limit);
        queue
    }

    /// Changes how much may wait, from the next poll on.
    pub(super) fn set_limit(&self, limit: QueueSize) {
        self.telemetry.push().add_queue(Way::RemoteWrite, limit);
        let mut inner = self.lock();
        inner.limit = limit;
        self.show(&inner);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item, and drops the oldest until it fits in.
    pub(super) fn push(&self, item: Item) {
        let mut inner = self.lock();
        inner.add(item);
        let mut samples = 0;
        let mut was_sending = false;
        while inner.is_over() {
            let at = inner.oldest_to_drop();
            if at + 1 >= inner.items.len() {
                break;
            }
            was_sending |= at == 0 && inner.sending != Sending::No;
            samples += inner.drop_at(at);
            if !std::mem::replace(&mut inner.is_overfull, true) {
                tracing::warn!(
                    polls = inner.items.len(),
                    bytes = inner.bytes,
                    "the queue of remote write is full: the oldest polls are dropped"
                );
            }
        }
        self.show(&inner);
        drop(inner);
        self.telemetry
            .push()
            .samples(Way::RemoteWrite, Fate::QueueFull, samples);
        if was_sending {
            self.dropped.notify_one();
        }
        self.added.notify_one();
    }

    /// The oldest item, which stays where it is until it is done. Nothing once the queue is closed
    /// and empty.
    pub(super) async fn next(&self) -> Option<Item> {
        loop {
            {
                let mut inner = self.lock();
                if let Some((item, _)) = inner.items.front() {
                    let item = item.clone();
                    inner.sending = Sending::Going;
                    return Some(item);
                }
                if inner.is_closed {
                    return None;
                }
            }
            self.added.notified().await;
        }
    }

    /// Notes whether the receiver takes what is being sent.
    pub(super) fn set_stuck(&self, is_stuck: bool) {
        let mut inner = self.lock();
        if inner.sending != Sending::No {
            inner.sending = if is_stuck {
                Sending::Stuck
            } else {
                Sending::Going
            };
        }
    }

    /// Resolves when the item that is being sent was dropped.
    pub(super) async fn dropped(&self) {
        while self.lock().sending != Sending::No {
            self.dropped.notified().await;
        }
    }

    /// Takes away the item that was sent.
    pub(super) fn done(&self) {
        let mut inner = self.lock();
        if std::mem::take(&mut inner.sending) != Sending::No {
            inner.delivered = 0;
            inner.remove(0);
        }
        if inner.items.is_empty() && std::mem::take(&mut inner.is_overfull) {
            tracing::info!("the queue of remote write is empty again");
        }
        self.show(&inner);
    }

    /// Lets the sender come to an end.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.added.notify_one();
    }

    /// Counts samples of the item that is being sent; not those of one that was dropped meanwhile,
    /// which are counted as that.
    pub(super) fn delivered(&self, fate: Fate, samples: usize) {
        let mut inner = self.lock();
        if inner.sending == Sending::No {
            return;
        }
        // One that another sender goes on with is sent again as a whole.
        let all = inner.items.front().map_or(0, |(item, _)| item.samples());
        let samples = samples.min(all.saturating_sub(inner.delivered));
        inner.delivered += samples;
        let push = self.telemetry.push();
        push.samples(Way::RemoteWrite, fate, samples);
    }

    /// Drops everything, since the program stops.
    pub(super) fn clear(&self) {
        let mut inner = self.lock();
        let mut samples = 0;
        while !inner.items.is_empty() {
            samples += inner.drop_at(0);
        }
        if samples > 0 {
            tracing::warn!(samples, "the program stops before all samples are sent");
        }
        self.show(&inner);
        let push = self.telemetry.push();
        push.samples(Way::RemoteWrite, Fate::Stopped, samples);
    }

    fn show(&self, inner: &Inner) {
        let size = QueueSize {
            polls: inner.items.len(),
            bytes: inner.bytes,
        };
        self.telemetry.push().queued(Way::RemoteWrite, size);
    }
}

impl Inner {
    fn add(&mut self, item: Item) {
        let bytes = item.memory();
        self.bytes += bytes;
        for shape in item.shapes() {
            let mut known = self.shapes.iter_mut();
            if let Some((_, users, _)) = known.find(|(have, ..)| Arc::ptr_eq(have, shape)) {
                *users += 1;
            } else {
                let memory = shape.memory();
                self.bytes += memory;
                self.shapes.push((Arc::clone(shape), 1, memory));
            }
        }
        self.items.push_back((item, bytes));
    }

    fn is_over(&self) -> bool {
        self.items.len() > self.limit.polls || self.bytes > self.limit.bytes
    }

    fn oldest_to_drop(&self) -> usize {
        usize::from(self.sending == Sending::Going)
    }

    /// Drops an item, and says how many of its samples are lost. That targets ended, which it was to
    /// say, the next one says.
    fn drop_at(&mut self, at: usize) -> usize {
        let Some(item) = self.remove(at) else {
            return 0;
        };
        let mut delivered = 0;
        if at == 0 {
            self.sending = Sending::No;
            delivered = std::mem::take(&mut self.delivered);
        }
        if let Some((next, _)) = self.items.get_mut(at) {
            next.own_gone |= item.own_gone;
            let mut gone = item.gone.clone();
            gone.append(&mut next.gone);
            next.gone = gone;
        }
        item.samples().saturating_sub(delivered)
    }

    fn remove(&mut self, at: usize) -> Option<Item> {
        let (item, bytes) = self.items.remove(at)?;
        self.bytes -= bytes;
        for shape in item.shapes() {
            let mut known = self.shapes.iter_mut();
            if let Some((_, users, memory)) = known.find(|(have, ..)| Arc::ptr_eq(have, shape)) {
                *users -= 1;
                if *users == 0 {
                    self.bytes -= *memory;
                }
            }
        }
        self.shapes.retain(|(_, users, _)| *users > 0);
        Some(item)
    }
}
