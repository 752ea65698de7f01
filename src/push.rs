//! Pushing: to a Pushgateway what a scrape would get, and to receivers of Prometheus' remote write
//! every poll.
//!
//! Both are readers of the targets, as the web layer is: they take snapshots that are published,
//! never wait for a target that is polled on a timer, and hold up neither polls nor scrapes.
//! Requests are made with the client of polls.

mod backoff;
pub mod client;
pub mod pushgateway;
pub mod remote;

use std::sync::Arc;

use hashbrown::HashSet;

use crate::histogram::native::Form;
use crate::merge::{self, Gate};
use crate::poll::Handle;
use crate::telemetry::{Telemetry, Way};
use client::SetupError;
use pushgateway::End;

/// Where is pushed to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// A Pushgateway.
    pub pushgateway: Option<pushgateway::Options>,
    /// A receiver of remote write.
    pub remote_write: Option<remote::Options>,
}

/// What is pushed.
#[derive(Clone, Debug)]
pub struct Feed {
    /// The targets.
    pub targets: Vec<Handle>,
    /// What else is served, and what of it may stand beside the targets.
    pub sources: Vec<merge::Handle>,
    /// Who decides that.
    pub gate: Arc<Gate>,
    /// Form of histograms.
    pub histograms: Form,
    /// Names of families that are the own metrics'.
    pub reserved: Arc<HashSet<String>>,
    /// The own metrics.
    pub telemetry: Arc<Telemetry>,
}

impl Feed {
    fn is_same(&self, other: &Self) -> bool {
        let mut pairs = self.targets.iter().zip(&other.targets);
        let mut sources = self.sources.iter().zip(&other.sources);
        self.histograms == other.histograms
            && self.targets.len() == other.targets.len()
            && pairs.all(|(one, other)| one.is_same(other))
            && self.sources.len() == other.sources.len()
            && sources.all(|(one, other)| one.is_same(other))
    }
}

/// All pushing that is under way.
#[derive(Debug, Default)]
pub struct Pushers {
    /// Of what it is.
    now: Option<(Settings, Feed)>,
    pushgateway: Option<pushgateway::Running>,
    remote: Option<remote::Running>,
}

impl Pushers {
    /// Begins to push.
    pub fn start(settings: Settings, feed: Feed) -> Result<Self, SetupError> {
        let gateway = settings.pushgateway.clone();
        let gateway = gateway.map(|options| pushgateway::Running::start(options, &feed));
        let remote = settings.remote_write.clone();
        let remote = remote.map(|options| remote::Running::start(options, &feed));
        Ok(Self {
            pushgateway: gateway.transpose()?,
            remote: remote.transpose()?,
            now: Some((settings, feed)),
        })
    }

    /// Goes on with other settings and targets. What waits for a receiver is kept where it is still
    /// written to; elsewhere everything comes to its end in the background.
    pub async fn replace(&mut self, settings: Settings, feed: Feed) -> Result<(), SetupError> {
        let before = self.now.replace((settings.clone(), feed.clone()));
        let is_same = |(had, fed): &(Settings, Feed)| *had == settings && fed.is_same(&feed);
        if before.as_ref().is_some_and(is_same) {
            return Ok(());
        }
        let feed = &feed;
        if let Some(running) = self.pushgateway.take() {
            let wanted = settings.pushgateway.as_ref();
            if wanted.is_some_and(|options| running.is_of(options)) {
                running.stop(End::HandOver).await;
            } else {
                let telemetry = Arc::clone(&feed.telemetry);
                let is_last = wanted.is_none();
                tokio::spawn(async move {
                    running.stop(End::Whole).await;
                    if is_last {
                        telemetry.push().remove(Way::Pushgateway);
                    }
                });
            }
        }
        if let Some(options) = settings.pushgateway {
            self.pushgateway = Some(pushgateway::Running::start(options, feed)?);
        }
        match (self.remote.take(), settings.remote_write) {
            (Some(mut running), Some(options)) if running.is_of(&options) => {
                running.replace(options, feed)?;
                self.remote = Some(running);
            }
            (running, options) => {
                let telemetry = Arc::clone(&feed.telemetry);
                let is_last = options.is_none();
                if let Some(running) = running {
                    tokio::spawn(async move {
                        running.stop().await;
                        if is_last {
                            telemetry.push().remove(Way::RemoteWrite);
                        }
                    });
                }
                let started = options.map(|options| remote::Running::start(options, feed));
                self.remote = started.transpose()?;
            }
        }
        Ok(())
    }

    /// Comes to an end in bounded time: what waits is sent, what is to be taken away is.
    pub async fn stop(self) {
        let gateway = async {
            if let Some(running) = self.pushgateway {
                running.stop(End::Whole).await;
            }
        };
        let remote = async {
            if let Some(running) = self.remote {
                running.stop().await;
            }
        };
        tokio::join!(gateway, remote);
    }
}
