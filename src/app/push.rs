//! Pushes what the targets have, through reloads, until the program stops.

use std::sync::Arc;

use anyhow::Context as _;
use hashbrown::HashSet;
use tokio::sync::watch;

use super::reload::Generation;
use crate::merge::Gate;
use crate::push::{Feed, Pushers};
use crate::telemetry::Telemetry;

/// Pushing under way.
pub(super) struct Pushing {
    pushers: Pushers,
    current: watch::Receiver<Arc<Generation>>,
    telemetry: Arc<Telemetry>,
    reserved: Arc<HashSet<String>>,
    gate: Arc<Gate>,
}

impl Pushing {
    /// Begins with what is in force now.
    pub(super) fn start(
        current: watch::Receiver<Arc<Generation>>,
        telemetry: &Arc<Telemetry>,
        reserved: &Arc<HashSet<String>>,
        gate: &Arc<Gate>,
    ) -> anyhow::Result<Self> {
        let mut pushing = Self {
            pushers: Pushers::default(),
            current,
            telemetry: Arc::clone(telemetry),
            reserved: Arc::clone(reserved),
            gate: Arc::clone(gate),
        };
        let generation = Arc::clone(&pushing.current.borrow_and_update());
        let feed = pushing.feed(&generation);
        pushing.pushers =
            Pushers::start(generation.push.clone(), feed).context("pushing cannot begin")?;
        Ok(pushing)
    }

    /// Follows reloads until nothing is polled any more, and then comes to its end.
    pub(super) async fn run(mut self) {
        while self.current.changed().await.is_ok() {
            let generation = Arc::clone(&self.current.borrow_and_update());
            let feed = self.feed(&generation);
            let replaced = self.pushers.replace(generation.push.clone(), feed).await;
            if let Err(error) = replaced {
                // The configuration was tried with the same files a moment before.
                tracing::error!(%error, "pushing cannot go on with the new configuration");
            }
        }
        self.pushers.stop().await;
    }

    fn feed(&self, generation: &Generation) -> Feed {
        Feed {
            targets: generation.targets.clone(),
            sources: generation.merge.clone(),
            gate: Arc::clone(&self.gate),
            histograms: generation.histograms,
            reserved: Arc::clone(&self.reserved),
            telemetry: Arc::clone(&self.telemetry),
        }
    }
}
