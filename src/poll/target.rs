//! A target between its poller and its readers: when it is polled, what is published, what is logged.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Mutex, watch};

use super::Poller;
use crate::collectors::{Name, Run};
use crate::demand::{self, Demand};
use crate::snapshot::{DropReason, Report, Snapshot};
use crate::telemetry::{Outcome, PollFigures, Telemetry};

/// What readers see of a target.
pub type View = demand::View<LastPoll>;

/// A successful poll.
#[derive(Clone, Debug)]
pub struct LastPoll {
    /// Its snapshot.
    pub snapshot: Arc<Snapshot>,
    /// What collectors have, where there are any.
    pub collected: Option<Arc<Snapshot>>,
    /// When it ended.
    pub ended: Instant,
    /// The same by the wall clock.
    pub ended_unix: f64,
    /// How long it took.
    pub took: Duration,
    /// Size of its answers.
    pub body_bytes: usize,
    /// Stats in the order of [`StatType::ALL`](crate::stat::StatType::ALL).
    pub stats: [usize; 4],
    /// Numbers of which the target did not say what they are.
    pub unknown_stats: usize,
}

impl LastPoll {
    /// All that is exposed of the target.
    pub fn snapshots(&self) -> impl Iterator<Item = &Arc<Snapshot>> {
        std::iter::once(&self.snapshot).chain(&self.collected)
    }

    /// How many series and families there are.
    pub fn size(&self) -> (usize, usize) {
        let series = self.snapshots().map(|snapshot| snapshot.series()).sum();
        let shared = self.collected.as_ref().map_or(0, |collected| {
            let names = collected.families().map(|family| family.name());
            names.filter(|name| self.snapshot.has(name)).count()
        });
        let families = self.snapshots().map(|snapshot| snapshot.families().len());
        (series, families.sum::<usize>() - shared)
    }

    /// What was counted while all of it was laid out.
    pub fn report(&self) -> Report {
        let collected = self.collected.as_ref();
        let of_stats = self.snapshot.report();
        collected.map_or_else(
            || of_stats.clone(),
            |collected| of_stats.and(collected.report()),
        )
    }
}

/// A target as its readers hold it.
#[derive(Clone, Debug)]
pub struct Handle {
    name: Arc<str>,
    address: Arc<str>,
    stale_after: Duration,
    on_demand: bool,
    view: watch::Receiver<View>,
    demand: Demand,
    /// Held while the target is asked.
    turn: Arc<Mutex<()>>,
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

    /// Age above which its data is too old to be served.
    pub fn stale_after(&self) -> Duration {
        self.stale_after
    }

    /// Whether it is the same target, polled by the same task.
    pub fn is_same(&self, other: &Self) -> bool {
        self.view.same_channel(&other.view)
    }

    /// What is known, for a reader that waits for it to change.
    pub fn watch(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Whether a reader waits for a poll first.
    pub fn is_on_demand(&self) -> bool {
        self.on_demand
    }

    /// Waits for a poll that ends after now. Readers that wait at the same time share one. False when
    /// there is none to come: the task is gone.
    pub async fn polled(&self) -> bool {
        self.demand.polled(&self.view).await
    }
}

/// When a target is polled and how long its data is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Collectors whose last run failed, and how.
    failing: Vec<(Name, Outcome)>,
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
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
        for collector in poller.collectors() {
            telemetry.add_collector(name, collector.as_str());
        }
        let handle = Handle {
            name: name.into(),
            address: address.into(),
            stale_after: schedule.stale_after,
            on_demand: schedule.interval.is_zero(),
            view,
            demand: Demand::default(),
            turn: Arc::default(),
        };
        Self {
            handle,
            schedule,
            poller,
            telemetry,
            publish,
            failing: Vec::new(),
        }
    }

    /// The readers' side.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Takes turns with another task that polls the same target: it never has two requests at a
    /// time.
    pub fn take_turns_with(&mut self, other: &Handle) {
        self.handle.turn = Arc::clone(&other.turn);
    }

    /// Shows again what the last poll brought, after another task's polls were shown.
    pub fn show(&self) {
        let view = self.publish.borrow();
        let target = self.handle.name();
        let collectors = self.poller.collectors();
        let collectors: Vec<_> = collectors.map(Name::as_str).collect();
        self.telemetry.keep_collectors(target, &collectors);
        let is_up = view.last.is_some() && view.error.is_none();
        self.telemetry.show_up(target, is_up);
        if let Some(last) = &view.last {
            self.show_last(last, &last.report());
        }
    }

    fn show_last(&self, last: &LastPoll, report: &Report) {
        let (series, families) = last.size();
        self.telemetry.brought(
            self.handle.name(),
            &PollFigures {
                ended_unix: last.ended_unix,
                start: last.snapshot.start().map(|start| start.process),
                body_bytes: last.body_bytes,
                stats: last.stats,
                unknown_stats: last.unknown_stats,
                series,
                families,
                report,
            },
        );
    }

    /// Polls until the task is dropped.
    pub async fn run(mut self) {
        let is_first_over = self.publish.borrow().polls > 0;
        let demand = &self.handle.demand;
        let mut times = demand.times(self.schedule.interval, is_first_over);
        loop {
            times.next().await;
            self.poll().await;
        }
    }

    /// Polls once and publishes the outcome.
    pub async fn poll(&mut self) {
        self.handle.demand.begin(&self.publish);
        let turn = Arc::clone(&self.handle.turn);
        let _turn = turn.lock().await;
        let start = Instant::now();
        let result = self.poller.poll().await;
        let took = start.elapsed();
        match result {
            Ok(polled) => {
                self.count_runs(&polled.runs);
                let last = LastPoll {
                    snapshot: Arc::new(polled.snapshot),
                    collected: polled.collected.map(Arc::new),
                    ended: Instant::now(),
                    ended_unix: SystemTime::now()
                        .duration_since(UNIX_EPOCH)
                        .map_or(0.0, |since| since.as_secs_f64()),
                    took,
                    body_bytes: polled.body_bytes,
                    stats: polled.stats,
                    unknown_stats: polled.unknown_stats,
                };
                let report = last.report();
                let target = self.handle.name();
                self.telemetry.polled(target, Outcome::Success, took);
                self.show_last(&last, &report);
                if let Some(kind) = last.snapshot.beginning() {
                    self.telemetry.began(target, kind);
                    let kind = kind.as_str();
                    tracing::info!(target_name = target, kind, "the target counts anew");
                }
                self.log_success(&last, &report);
                self.handle.demand.end(&self.publish, Ok(last));
            }
            Err(error) => {
                let target = self.handle.name();
                let outcome = error.outcome();
                let text = chain(&error);
                self.telemetry.polled(target, outcome, took);
                self.log_failure(outcome, &text);
                let outcome = Err(text.into());
                self.handle.demand.end(&self.publish, outcome);
            }
        }
    }

    /// Counts runs of collectors. A failure is logged once, until the collector succeeds again or
    /// fails in another way.
    fn count_runs(&mut self, runs: &[Run]) {
        let target = self.handle.name();
        for run in runs {
            let collector = run.name.as_str();
            let outcome = match &run.result {
                Ok(()) => Outcome::Success,
                Err(error) => error.outcome(),
            };
            self.telemetry
                .collected(target, collector, outcome, run.took);
            let before = self.failing.iter().position(|(name, _)| *name == run.name);
            let before = before.map(|at| self.failing.swap_remove(at).1);
            if run.result.is_err() {
                self.failing.push((run.name, outcome));
            }
            if let Err(error) = &run.result
                && before != Some(outcome)
            {
                let error = chain(error);
                let outcome = outcome.as_str();
                tracing::warn!(
                    target_name = target,
                    collector,
                    outcome,
                    error,
                    "collector failed"
                );
            } else if before.is_some() && run.result.is_ok() {
                tracing::info!(target_name = target, collector, "collector succeeded");
            }
        }
    }

    /// Logs the first success, the first after a failure, and a change of what is dropped.
    fn log_success(&self, last: &LastPoll, report: &Report) {
        let target = self.handle.name();
        let view = self.publish.borrow();
        if view.last.is_none() || view.error.is_some() {
            let (series, families) = last.size();
            tracing::info!(
                target_name = target,
                series,
                families,
                undescribed = report.undescribed,
                took_ms = last.took.as_millis(),
                "polled the target"
            );
        }
        let before = view.last.as_ref().map(|last| last.report().dropped);
        if before.unwrap_or_default() != report.dropped {
            let dropped = |reason| report.dropped(reason);
            // What was said to go is no loss.
            let meant = dropped(DropReason::Rule) + dropped(DropReason::Relabel);
            if report.dropped.iter().sum::<usize>() > meant {
                tracing::warn!(
                    target_name = target,
                    conflict = dropped(DropReason::Conflict),
                    invalid = dropped(DropReason::Invalid),
                    limit = dropped(DropReason::Limit),
                    families_in_conflict = report.conflicts.join(" "),
                    families_over_a_limit = report.limited.join(" "),
                    "stats that cannot have a series changed"
                );
            } else {
                tracing::info!(
                    target_name = target,
                    rule = dropped(DropReason::Rule),
                    relabel = dropped(DropReason::Relabel),
                    "stats that are dropped as configured changed"
                );
            }
        }
        tracing::debug!(
            target_name = target,
            took_ms = last.took.as_millis(),
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
