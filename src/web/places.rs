//! Places for connections, and who gives theirs up when there are more clients than places.
//!
//! A newcomer at a full house gets the place of the connection that has been without a request for
//! longest: one that idles, or that is slow to say what it wants. So whoever asks at once is
//! answered, however many connections are held open by others. A connection that is being answered
//! keeps its place, and if all are, the newcomer waits until one is not. A response has a bound on
//! its time, so that none is read for ever.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    visits: Mutex<Visits>,
    /// Wakes newcomers when a connection is no longer being answered.
    idle: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Visits {
    next: u64,
    all: BTreeMap<u64, Arc<Visit>>,
}

/// A place that a connection has.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    visit: Arc<Visit>,
    _permit: OwnedSemaphorePermit,
}

/// A connection, as the one who gives places sees it.
#[derive(Debug)]
pub(super) struct Visit {
    state: Mutex<State>,
    leave: Notify,
    idle: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    /// Requests that are being answered.
    busy: usize,
    /// When that was last another number.
    since: Instant,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Busy {
    visit: Arc<Visit>,
    alarm: Option<AbortHandle>,
}

impl Places {
    pub(super) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(count)),
            visits: Mutex::default(),
            idle: Arc::default(),
        })
    }

    /// A place, for which another connection may have to leave; waits while all are being answered.
    pub(super) async fn take(self: Arc<Self>) -> Option<Place> {
        let permit = loop {
            // From before the look, so that none slips through between look and wait.
            let idle = self.idle.notified();
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
                break permit;
            }
            let free = Arc::clone(&self.free).acquire_owned();
            if self.send_one_away() {
                break free.await.ok()?;
            }
            tokio::select! {
                permit = free => break permit.ok()?,
                () = idle => {}
            }
        };
        let visit = Arc::new(Visit {
            state: Mutex::new(State {
                busy: 0,
                since: Instant::now(),
            }),
            leave: Notify::new(),
            idle: Arc::clone(&self.idle),
        });
        let number = {
            let mut visits = locked(&self.visits);
            let number = visits.next;
            visits.next += 1;
            visits.all.insert(number, Arc::clone(&visit));
            number
        };
        Some(Place {
            places: self,
            number,
            visit,
            _permit: permit,
        })
    }

    /// Makes the connection leave that has been without a request for longest, if there is one.
    fn send_one_away(&self) -> bool {
        let mut visits = locked(&self.visits);
        let idle = visits.all.iter().filter_map(|(number, visit)| {
            let state = locked(&visit.state);
            (state.busy == 0).then_some((state.since, *number))
        });
        let Some((_, number)) = idle.min() else {
            return false;
        };
        let gone = visits.all.remove(&number);
        if let Some(visit) = &gone {
            visit.leave.notify_one();
        }
        gone.is_some()
    }
}

impl Place {
    pub(super) fn visit(&self) -> &Arc<Visit> {
        &self.visit
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        locked(&self.places.visits).all.remove(&self.number);
        // Who waits for one to be without a request waits for this as well.
        self.places.idle.notify_waiters();
    }
}

impl Visit {
    /// A request comes in; it is being answered while the result lives.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        let mut state = locked(&self.state);
        state.busy += 1;
        state.since = Instant::now();
        Busy {
            visit: Arc::clone(self),
            alarm: None,
        }
    }

    /// The same, but the connection ends if it takes longer than this.
    pub(super) fn begin_bounded(self: &Arc<Self>, limit: Duration) -> Busy {
        let visit = Arc::clone(self);
        let alarm = tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            tracing::warn!(
                limit_s = limit.as_secs(),
                "a response is cut off: its reader took too long"
            );
            visit.leave.notify_one();
        });
        let mut busy = self.begin();
        busy.alarm = Some(alarm.abort_handle());
        busy
    }

    /// Resolves when the connection is to end.
    pub(super) async fn told_to_leave(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(alarm) = &self.alarm {
            alarm.abort();
        }
        let mut state = locked(&self.visit.state);
        state.busy = state.busy.saturating_sub(1);
        state.since = Instant::now();
        drop(state);
        self.visit.idle.notify_waiters();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
