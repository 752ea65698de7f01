//! When something is polled: on a timer, or when a reader asks, and how a reader waits for it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Notify, watch};
use tokio::time::{Interval, MissedTickBehavior};

/// How a reader asks for a poll.
#[derive(Clone, Debug, Default)]
pub struct Demand(Arc<Notify>);

/// What readers see of what is polled: a poll that succeeded brings an `L`.
#[derive(Clone, Debug)]
pub struct View<L> {
    /// The last successful poll.
    pub last: Option<L>,
    /// What went wrong in the last poll, if something did.
    pub error: Option<Arc<str>>,
    /// How many polls have ended.
    pub polls: u64,
    polling: bool,
}

impl<L> Default for View<L> {
    fn default() -> Self {
        Self {
            last: None,
            error: None,
            polls: 0,
            polling: false,
        }
    }
}

impl<L> View<L> {
    /// A poll has ended; what a successful one brings takes the place of what is given back.
    fn end(&mut self, outcome: Result<L, Arc<str>>) -> Option<L> {
        self.polls += 1;
        self.polling = false;
        match outcome {
            Ok(last) => {
                self.error = None;
                self.last.replace(last)
            }
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }
}

impl Demand {
    /// Waits for a poll that ends after now. Readers that wait at the same time share one. False when
    /// there is none to come: the task is gone.
    pub async fn polled<L>(&self, view: &watch::Receiver<View<L>>) -> bool {
        let mut view = view.clone();
        let before = {
            let now = view.borrow_and_update();
            // Asked for while a poll cannot begin, so that the one which answers this demand finds it.
            if !now.polling {
                self.0.notify_one();
            }
            now.polls
        };
        view.wait_for(|view| view.polls > before).await.is_ok()
    }

    /// Shows that a poll begins. It answers all that was asked for until now, and what is left of that
    /// calls for no other.
    pub fn begin<L>(&self, publish: &watch::Sender<View<L>>) {
        publish.send_modify(|view| view.polling = true);
        let _ = self.0.notified().now_or_never();
    }

    /// Shows how it ended.
    pub fn end<L>(&self, publish: &watch::Sender<View<L>>, outcome: Result<L, Arc<str>>) {
        let mut before = None;
        publish.send_modify(|view| before = view.end(outcome));
        // It may be large, and readers may look again by now.
        drop(before);
    }

    /// The times of polls: from the start of one to the start of the next, or with zero when a reader
    /// asks. The first is at once, unless there was one already.
    pub fn times(&self, interval: Duration, is_first_over: bool) -> Times {
        let ticks = (!interval.is_zero()).then(|| {
            let mut ticks = tokio::time::interval(interval);
            // A poll that took longer than the interval is not made up for.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            if is_first_over {
                ticks.reset();
            }
            ticks
        });
        Times {
            ticks,
            demand: self.clone(),
        }
    }
}

/// The times of polls.
#[derive(Debug)]
pub struct Times {
    ticks: Option<Interval>,
    demand: Demand,
}

impl Times {
    /// Resolves when it is time for the next one.
    pub async fn next(&mut self) {
        match &mut self.ticks {
            Some(ticks) => {
                ticks.tick().await;
            }
            None => self.demand.0.notified().await,
        }
    }
}
