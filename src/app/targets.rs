//! From a configuration to the tasks that poll its targets.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashSet;

use crate::collectors::{self, Collectors};
use crate::config::Config;
use crate::histogram::native;
use crate::poll::{Poller, Schedule, Task};
use crate::snapshot::builder::Settings;
use crate::telemetry::Telemetry;
use crate::transport::{AdminAddress, Error, Options, Transport};

/// Everything that decides how a target is polled and what comes of it.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) address: AdminAddress,
    schedule: Schedule,
    timeout: Duration,
    options: Options,
    settings: Settings,
    collectors: collectors::Options,
    /// Scrapes of the same snapshot are answered in the same form.
    histograms: native::Form,
}

impl Spec {
    /// One for each target; `reserved` are names that its families may not have.
    pub(super) fn all(config: &Config, reserved: &Arc<HashSet<String>>) -> Vec<Self> {
        let targets = config.targets.iter();
        targets
            .map(|target| Self {
                name: target.name.clone(),
                address: target.address.clone(),
                schedule: Schedule {
                    interval: target.poll.interval,
                    stale_after: target.poll.stale_after,
                },
                timeout: target.poll.timeout,
                options: config.polling(target),
                settings: config.settings(target, reserved),
                collectors: target.collectors.clone(),
                histograms: config.histograms,
            })
            .collect()
    }

    /// Whether its task goes on as if nothing had changed.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.address == other.address
            && self.schedule == other.schedule
            && self.timeout == other.timeout
            && self.options == other.options
            && self.settings.are_same(&other.settings)
            && self.collectors == other.collectors
            && self.histograms == other.histograms
    }

    /// Whether it is polled only when a reader asks.
    pub(super) fn is_on_demand(&self) -> bool {
        self.schedule.interval.is_zero()
    }

    /// The way to it; nothing is connected yet.
    pub(super) fn transport(&self) -> Result<Transport, Error> {
        Transport::open(self.address.clone(), self.options.clone())
    }

    /// A task that has not polled yet. Its series are shown from now on.
    pub(super) fn task(&self, transport: Transport, telemetry: &Arc<Telemetry>) -> Task {
        let collectors = Collectors::new(&self.collectors, self.settings.clone());
        let poller = Poller::new(transport, self.timeout, self.settings.clone());
        Task::new(
            &self.name,
            &self.address.to_string(),
            self.schedule,
            poller.with_collectors(collectors),
            Arc::clone(telemetry),
        )
    }
}
