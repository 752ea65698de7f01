//! Sources that are merged, through reloads: one of which nothing changed keeps its task and what it
//! has.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::task::JoinSet;

use crate::merge::{Handle, Options, Task};
use crate::telemetry::Telemetry;

/// The sources that are polled.
#[derive(Debug, Default)]
pub(super) struct Sources(Vec<Running>);

/// A source that is polled. Its task goes with it.
#[derive(Debug)]
struct Running {
    handle: Handle,
    task: JoinSet<()>,
}

/// The sources of the next generation.
pub(super) struct Next(Vec<Source>);

enum Source {
    /// The one that runs at this place goes on.
    Kept(usize),
    New(Box<Task>),
}

impl Running {
    fn new(task: Task) -> Self {
        let handle = task.handle();
        let mut running = JoinSet::new();
        running.spawn(task.run());
        Self {
            handle,
            task: running,
        }
    }
}

impl Sources {
    /// Starts polling.
    pub(super) fn start(wanted: &[Options], telemetry: &Arc<Telemetry>) -> Result<Self, String> {
        let mut running = Vec::new();
        for options in wanted {
            let task = Task::new(options.clone(), telemetry)?;
            running.push(Running::new(task));
        }
        Ok(Self(running))
    }

    /// What scrapes read.
    pub(super) fn handles(&self) -> Vec<Handle> {
        self.0.iter().map(|have| have.handle.clone()).collect()
    }

    /// What is to run next.
    pub(super) fn plan(
        &self,
        wanted: &[Options],
        telemetry: &Arc<Telemetry>,
    ) -> Result<Next, Vec<String>> {
        let mut next = Vec::new();
        let mut errors = Vec::new();
        for options in wanted {
            let same = |have: &Running| **have.handle.options() == *options;
            match self.0.iter().position(same) {
                Some(at) => next.push(Source::Kept(at)),
                None => match Task::new(options.clone(), telemetry) {
                    Ok(task) => next.push(Source::New(Box::new(task))),
                    Err(error) => errors.push(error),
                },
            }
        }
        if errors.is_empty() {
            Ok(Next(next))
        } else {
            Err(errors)
        }
    }

    /// What scrapes are to read next, in the order of the configuration.
    pub(super) fn handles_of(&self, next: &Next) -> Vec<Handle> {
        let handles = next.0.iter().filter_map(|source| match source {
            Source::Kept(at) => Some(self.0.get(*at)?.handle.clone()),
            Source::New(task) => Some(task.handle()),
        });
        handles.collect()
    }

    /// Lets the next ones run in place of those that are not wanted any more.
    pub(super) async fn replace(&mut self, next: Next, telemetry: &Telemetry) {
        let mut before: Vec<_> = std::mem::take(&mut self.0).into_iter().map(Some).collect();
        let mut starting = Vec::new();
        for (place, source) in next.0.into_iter().enumerate() {
            match source {
                Source::Kept(at) => self.0.extend(before.get_mut(at).and_then(Option::take)),
                Source::New(task) => starting.push((place, task)),
            }
        }
        for mut gone in before.into_iter().flatten() {
            // Waited for, so that it shows nothing afterwards.
            gone.task.shutdown().await;
            let name = gone.handle.name();
            if !starting
                .iter()
                .any(|(_, task)| task.handle().name() == name)
            {
                telemetry.merge().remove(name);
            }
        }
        for (place, task) in starting {
            task.show();
            self.0.insert(place.min(self.0.len()), Running::new(*task));
        }
    }
}

impl Next {
    /// Polls new sources, all at once; each has its own time for that.
    pub(super) async fn first_polls(&mut self) {
        let polls = self.0.iter_mut().filter_map(|source| match source {
            // A reader waits for a poll of its own.
            Source::New(task) if !task.handle().is_on_demand() => Some(task.poll()),
            Source::New(_) | Source::Kept(_) => None,
        });
        join_all(polls).await;
    }
}
