//! When something is polled: on a timer, or when a reader asks, and how a reader waits for it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Notify, watch};
use tokio::time::{Interval, MissedTickBehavior};

/// How a reader asks for a poll.
#[derive(Clone, Debug, Default)]
pub struct Demand(Arc<Notify>);

/// What a reader sees of polls.
pub trait Polls {
    /// How many have ended.
    fn polls(&self) -> u64;

    /// Whether one is under way.
    fn is_polling(&self) -> bool;
}

impl Demand {
    /// Waits for a poll that ends after now. Readers that wait at the same time share one. False when
    /// there is none to come: the task is gone.
    pub async fn polled<V: Polls>(&self, view: &watch::Receiver<V>) -> bool {
        let mut view = view.clone();
        let before = {
            let now = view.borrow_and_update();
            // Asked for while a poll cannot begin, so that the one which answers this demand finds it.
            if !now.is_polling() {
                self.0.notify_one();
            }
            now.polls()
        };
        view.wait_for(|view| view.polls() > before).await.is_ok()
    }

    /// Says that a poll begins, once readers can see that: it answers all that was asked for until
    /// now, and what is left of that calls for no other.
    pub fn answer(&self) {
        let _ = self.0.notified().now_or_never();
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
