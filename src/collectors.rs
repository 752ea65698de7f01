//! Collectors: what Envoy's admin interface knows and `/stats` does not say, and what the kernel knows
//! of its connections.
//!
//! Each is a small module: it asks for what it needs, one request at a time, and says what it found
//! ([`Finding`]) under base names of the mapping table. Collectors run behind the stats of a poll,
//! within what is left of its time, each on a schedule of its own. One that fails has no findings
//! until it succeeds again; that is counted, and the poll is none the worse for it. One that is
//! switched off asks for nothing.

mod certificates;
mod endpoints;
mod listeners;
mod memory;
mod name;
mod server_info;
mod tcp;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use crate::decode;
use crate::snapshot::Snapshot;
use crate::snapshot::builder::Settings;
use crate::snapshot::builder::collected::{Collected, Finding};
use crate::sockets;
use crate::telemetry::Outcome;
use crate::transport::{self, Query, Transport};

pub use endpoints::Selection;
pub use name::Name;
pub use tcp::Bounds as TcpBounds;

/// Which collectors run, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Those that are on.
    pub on: Vec<Name>,
    /// Which endpoints are shown.
    pub endpoints: Selection,
    /// How many sockets are looked at.
    pub tcp: TcpBounds,
}

/// Why a collector found nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An answer could not be had.
    #[error(transparent)]
    Transport(#[from] transport::Error),
    /// An answer is not what Envoy sends.
    #[error("the answer to {query} is not understood")]
    Decode {
        /// The request.
        query: &'static str,
        /// What is wrong with it, and where.
        source: decode::Error,
    },
    /// The kernel did not list its sockets.
    #[error("the sockets of the network namespace could not be read")]
    Sockets(#[from] sockets::Error),
    /// What the kernel lists is not the proxy's.
    #[error(
        "no socket here listens at an address of the proxy; the exporter must run in the network \
         namespace of the proxy"
    )]
    Elsewhere,
    /// The proxy's user is not known here, and looks like every other that is not.
    #[error(
        "the proxy's user cannot be told from others in this user namespace; under systemd, \
         PrivateUsers=no is needed"
    )]
    Users,
    /// The collector panicked.
    #[error("the collector panicked; this is a fault of the exporter")]
    Panicked,
}

impl Error {
    /// The outcome to count.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Transport(error) => error.outcome(),
            Self::Decode { .. } => Outcome::Decode,
            Self::Sockets(error) => match error {
                sockets::Error::Unsupported | sockets::Error::Open(_) => Outcome::Connect,
                sockets::Error::Netlink(_)
                | sockets::Error::Refused(_)
                | sockets::Error::Interrupted => Outcome::Read,
                sockets::Error::Malformed(_) => Outcome::Decode,
                sockets::Error::Timeout => Outcome::Timeout,
            },
            Self::Elsewhere | Self::Users => Outcome::Connect,
            Self::Panicked => Outcome::Internal,
        }
    }
}

/// How a run of a collector ended.
#[derive(Debug)]
pub struct Run {
    /// The collector.
    pub name: Name,
    /// How it ended.
    pub result: Result<(), Error>,
    /// How long it took.
    pub took: Duration,
    /// Size of the answers that it got.
    pub bytes: usize,
}

/// What the stats of a poll say of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// Seconds since its start.
    pub uptime: Option<u64>,
    /// Which of several processes, in a row of hot restarts.
    pub epoch: Option<u64>,
    /// Its state as a number.
    pub state: Option<u64>,
}

impl Server {
    /// From the gauges of a poll; a filter may leave some out.
    pub fn of_stats(mut gauge: impl FnMut(&'static str) -> Option<u64>) -> Self {
        Self {
            uptime: gauge("server.uptime"),
            epoch: gauge("server.hot_restart_epoch"),
            state: gauge("server.state"),
        }
    }

    /// Whether this is another process than it was, or the same in another state.
    fn is_other_than(self, before: Self) -> bool {
        (self.epoch, self.state) != (before.epoch, before.state) || self.uptime < before.uptime
    }
}

/// What a collector asks with.
struct Asking<'t> {
    transport: &'t mut Transport,
    deadline: Instant,
    /// Size of the answers.
    bytes: &'t mut usize,
}

impl Asking<'_> {
    /// A whole answer, decoded.
    async fn document<T>(
        &mut self,
        query: Query,
        decode: impl FnOnce(&[u8]) -> Result<T, decode::Error>,
    ) -> Result<T, Error> {
        let mut body = Vec::new();
        let asked = self.transport.fetch(query, &mut body, self.deadline);
        asked.await?;
        *self.bytes += body.len();
        decode(&body).map_err(|source| Error::Decode {
            query: query.name(),
            source,
        })
    }
}

/// The collectors of a target.
#[derive(Debug)]
pub struct Collectors {
    all: Vec<Scheduled>,
    options: Options,
    settings: Settings,
    tcp: tcp::State,
    /// Absent only while a blocking thread has it, and after a panic there.
    collected: Option<Box<Collected>>,
    server: Server,
}

/// A collector and when it ran.
#[derive(Debug)]
struct Scheduled {
    name: Name,
    /// When it last succeeded.
    ran: Option<Instant>,
}

impl Collectors {
    /// The collectors that are on, none of which has run.
    pub fn new(options: &Options, settings: Settings) -> Option<Self> {
        let all: Vec<_> = options
            .on
            .iter()
            .map(|name| Scheduled {
                name: *name,
                ran: None,
            })
            .collect();
        (!all.is_empty()).then(|| Self {
            all,
            tcp: tcp::State::new(options.tcp, &settings.mapping),
            settings,
            collected: None,
            options: options.clone(),
            server: Server::default(),
        })
    }

    /// Those that are on.
    pub fn names(&self) -> impl Iterator<Item = Name> {
        self.all.iter().map(|collector| collector.name)
    }

    /// Runs those that are due, one after the other.
    pub async fn run(
        &mut self,
        transport: &mut Transport,
        deadline: Instant,
        server: Server,
    ) -> Vec<Run> {
        let is_other = server.is_other_than(self.server);
        self.server = server;
        let mut runs = Vec::new();
        let mut collected = self.take_collected();
        for (at, collector) in self.all.iter_mut().enumerate() {
            if !is_other && !collector.is_due() {
                continue;
            }
            let Some(mut finding) = collected.begin(at) else {
                continue;
            };
            let start = Instant::now();
            let mut bytes = 0;
            let asking = Asking {
                transport,
                deadline,
                bytes: &mut bytes,
            };
            let run = collector.run(asking, &self.options, &mut self.tcp, &mut finding);
            let run = AssertUnwindSafe(run).catch_unwind();
            let result = run.await.unwrap_or(Err(Error::Panicked));
            if result.is_err() {
                finding.clear();
            }
            collector.ran = result.is_ok().then_some(start);
            runs.push(Run {
                name: collector.name,
                result,
                took: start.elapsed(),
                bytes,
            });
        }
        self.collected = Some(collected);
        runs
    }

    /// What all of them have, beside the stats of this poll. Runs on a blocking thread: what is new may
    /// be much. If it panics, all collectors begin anew.
    pub async fn finish(&mut self, stats: &Snapshot) -> Option<Snapshot> {
        let mut collected = self.take_collected();
        let stats = Arc::clone(stats.layout());
        let finished = tokio::task::spawn_blocking(move || {
            let snapshot = collected.finish(&stats);
            (collected, snapshot)
        });
        match finished.await {
            Ok((collected, snapshot)) => {
                self.collected = Some(collected);
                Some(snapshot)
            }
            Err(error) => {
                tracing::error!(%error, "what collectors found could not be laid out");
                for collector in &mut self.all {
                    collector.ran = None;
                }
                None
            }
        }
    }

    fn take_collected(&mut self) -> Box<Collected> {
        let collected = self.collected.take();
        collected.unwrap_or_else(|| {
            let settings = self.settings.clone();
            Box::new(Collected::new(settings, self.all.len()))
        })
    }
}

impl Scheduled {
    fn is_due(&self) -> bool {
        self.ran
            .is_none_or(|ran| ran.elapsed() >= self.name.interval())
    }

    async fn run(
        &self,
        asking: Asking<'_>,
        options: &Options,
        tcp: &mut tcp::State,
        finding: &mut Finding<'_>,
    ) -> Result<(), Error> {
        match self.name {
            Name::Certificates => certificates::run(asking, finding).await,
            Name::Endpoints => endpoints::run(asking, &options.endpoints, finding).await,
            Name::Listeners => listeners::run(asking, finding).await,
            Name::Memory => memory::run(asking, finding).await,
            Name::ServerInfo => server_info::run(asking, finding).await,
            Name::Tcp => tcp::run(asking, tcp, finding).await,
        }
    }
}
