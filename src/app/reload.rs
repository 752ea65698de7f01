//! Reloading: a configuration that was read again takes the place of the one in use, as a whole or
//! not at all.
//!
//! One task owns what can be replaced, so that reloads come one after the other. The new
//! configuration is built aside: files are read and checked, and targets that are new or changed are
//! polled, while scrapes are answered as before. Then readers are switched over at once. A target of
//! which nothing changed keeps its task, its data and what is known of its stats. Whatever goes
//! wrong before the switch leaves everything as it was.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use hashbrown::HashSet;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::merge::Sources;
use super::targets::Spec;
use crate::config::{self, Config, Overrides};
use crate::files::Watched;
use crate::histogram::native;
use crate::merge;
use crate::poll::{Handle, Task};
use crate::push;
use crate::telemetry::{Reload, Telemetry};
use crate::transport::Transport;
use crate::web::{LiveConfig, Reread, WebConfigError, systemd};

/// The longest that a reload waits for the first polls of targets. Above the usual time for a poll,
/// and below the age at which the data that is served meanwhile is stale.
const FIRST_POLLS: Duration = Duration::from_secs(10);

/// The longest time before files that have changed are looked at once more.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// What scrapes are answered from, all of one configuration.
#[derive(Debug, Default)]
pub(super) struct Generation {
    pub(super) targets: Vec<Handle>,
    pub(super) histograms: native::Form,
    /// Where is pushed to.
    pub(super) push: push::Settings,
    /// What is served besides.
    pub(super) merge: Vec<merge::Handle>,
}

impl Generation {
    /// The target of this name; without one, all of them.
    pub(super) fn of(&self, name: Option<&str>) -> impl Iterator<Item = &Handle> {
        let targets = self.targets.iter();
        targets.filter(move |target| name.is_none_or(|name| name == target.name()))
    }
}

/// How a reload ended; for one that did not succeed, why.
pub(super) type Outcome = Result<(), String>;

/// Where the outcome of a requested reload goes.
pub(super) type Reply = oneshot::Sender<Outcome>;

/// Why a reload takes place.
#[derive(Clone, Copy, Debug)]
enum Cause {
    Signal,
    Request,
    Files,
}

impl Cause {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Request => "request",
            Self::Files => "files",
        }
    }
}

/// What a reload needs besides the files.
#[derive(Debug)]
pub(super) struct Basis {
    /// Flags and environment, which stay as they are.
    pub(super) overrides: Overrides,
    pub(super) live: Arc<LiveConfig>,
    pub(super) telemetry: Arc<Telemetry>,
    /// Names that no family of a target may have.
    pub(super) reserved: Arc<HashSet<String>>,
    /// Time between looks at the files; zero: none.
    pub(super) look_every: Duration,
    /// What the service manager shows of a program that serves.
    pub(super) serving: String,
}

/// The owner of everything that a reload replaces.
#[derive(Debug)]
pub(super) struct Reloader {
    basis: Basis,
    config: Config,
    watched: Watched,
    running: Vec<Running>,
    sources: Sources,
    current: watch::Sender<Arc<Generation>>,
}

/// A target that is polled. Its task goes with it.
#[derive(Debug)]
struct Running {
    spec: Spec,
    handle: Handle,
    task: JoinSet<()>,
}

impl Running {
    fn new(spec: Spec, task: Task) -> Self {
        let handle = task.handle();
        let mut running = JoinSet::new();
        running.spawn(task.run());
        Self {
            spec,
            handle,
            task: running,
        }
    }
}

/// A target of the next generation.
enum Next {
    /// The one that runs at this place goes on.
    Kept(usize),
    New(Box<(Spec, Task)>),
}

/// How many targets a reload did what with.
#[derive(Debug, Default)]
struct Changes {
    kept: usize,
    polled_anew: usize,
    removed: usize,
}

impl Reloader {
    /// Starts polling the targets of the first configuration.
    pub(super) fn start(basis: Basis, config: Config, watched: Watched) -> anyhow::Result<Self> {
        let mut running = Vec::new();
        for spec in Spec::all(&config, &basis.reserved) {
            let task = spec.task(spec.transport()?, &basis.telemetry);
            running.push(Running::new(spec, task));
        }
        let sources =
            Sources::start(&config.merge, &basis.telemetry).map_err(anyhow::Error::msg)?;
        let current = watch::Sender::new(Arc::new(generation(&config, &running, &sources)));
        Ok(Self {
            basis,
            config,
            watched,
            running,
            sources,
            current,
        })
    }

    /// What scrapes are answered from, now and after each reload.
    pub(super) fn current(&self) -> watch::Receiver<Arc<Generation>> {
        self.current.subscribe()
    }

    /// Reloads at a signal, when asked, and when files have changed, for ever.
    pub(super) async fn run(mut self, mut hangup: Signal, mut requests: mpsc::Receiver<Reply>) {
        loop {
            tokio::select! {
                Some(()) = hangup.recv() => {
                    // What came of it is logged.
                    let _ = self.reload(Cause::Signal).await;
                }
                Some(first) = requests.recv() => {
                    let mut waiting = vec![first];
                    // Those that asked before it began share it.
                    while let Ok(more) = requests.try_recv() {
                        waiting.push(more);
                    }
                    let outcome = self.reload(Cause::Request).await;
                    for reply in waiting {
                        // Who asked may be gone.
                        let _ = reply.send(outcome.clone());
                    }
                }
                () = tokio::time::sleep(self.until_look()), if !self.basis.look_every.is_zero() => {
                    if self.look().await {
                        let _ = self.reload(Cause::Files).await;
                    }
                }
            }
        }
    }

    fn until_look(&self) -> Duration {
        if self.watched.is_unsettled() {
            self.basis.look_every.min(SECOND_LOOK)
        } else {
            self.basis.look_every
        }
    }

    /// Whether files have new contents to be taken.
    async fn look(&mut self) -> bool {
        let mut watched = std::mem::take(&mut self.watched);
        let looked = tokio::task::spawn_blocking(move || {
            let settled = watched.look();
            (watched, settled)
        });
        let Ok((watched, settled)) = looked.await else {
            // Reading everything finds what to look at again.
            return true;
        };
        self.watched = watched;
        settled
    }

    async fn reload(&mut self, cause: Cause) -> Outcome {
        let telemetry = Arc::clone(&self.basis.telemetry);
        systemd::reloading();
        let replaced = self.replace().await;
        let serving = &self.basis.serving;
        match replaced {
            Ok(changes) => {
                systemd::ready(serving);
                telemetry.reloaded(Reload::Success);
                tracing::info!(
                    cause = cause.as_str(),
                    targets_kept = changes.kept,
                    targets_polled_anew = changes.polled_anew,
                    targets_removed = changes.removed,
                    "the configuration was read again and is in use"
                );
                for warning in self.basis.live.warnings() {
                    tracing::warn!("{warning}");
                }
                Ok(())
            }
            Err(reasons) => {
                systemd::ready(&format!(
                    "{serving}; the last reload failed, the configuration before it holds"
                ));
                telemetry.reloaded(Reload::Failure);
                for error in &reasons {
                    tracing::error!("{error}");
                }
                tracing::error!(
                    cause = cause.as_str(),
                    mistakes = reasons.len(),
                    "the new configuration cannot be used; the old one holds"
                );
                Err(reasons.join("\n"))
            }
        }
    }

    /// Reads everything again and puts it into force, or says why not.
    async fn replace(&mut self) -> Result<Changes, Vec<String>> {
        let (mut config, reread, hash) = self.read().await?;
        config.share_with(&self.config);
        let mut next = self.plan(&config)?;
        let mut sources = self.sources.plan(&config.merge, &self.basis.telemetry)?;
        tokio::join!(first_polls(&mut next), sources.first_polls());
        let mut changes = Changes::default();
        let mut before: Vec<_> = std::mem::take(&mut self.running)
            .into_iter()
            .map(Some)
            .collect();
        let mut starting = Vec::new();
        let mut handles = Vec::new();
        for next in next {
            match next {
                Next::Kept(at) => {
                    let kept = before.get_mut(at).and_then(Option::take);
                    handles.extend(kept.as_ref().map(|kept| kept.handle.clone()));
                    self.running.extend(kept);
                    changes.kept += 1;
                }
                Next::New(new) => {
                    handles.push(new.1.handle());
                    starting.push(new);
                    changes.polled_anew += 1;
                }
            }
        }
        self.current.send_replace(Arc::new(Generation {
            targets: handles,
            histograms: config.histograms,
            push: config.push.clone(),
            merge: self.sources.handles_of(&sources),
        }));
        if let Some(reread) = reread {
            self.basis.live.install(reread);
        }
        self.config = config;
        let telemetry = &self.basis.telemetry;
        for mut gone in before.into_iter().flatten() {
            // Waited for, so that it shows nothing afterwards.
            gone.task.shutdown().await;
            let name = &gone.spec.name;
            if !starting.iter().any(|new| new.0.name == *name) {
                telemetry.remove_target(name);
                changes.removed += 1;
            }
        }
        for new in starting {
            let (spec, task) = *new;
            task.show();
            self.running.push(Running::new(spec, task));
        }
        self.sources.replace(sources, telemetry).await;
        telemetry.config_loaded(unix_now(), hash.as_deref());
        Ok(changes)
    }

    /// Reads and checks every file.
    async fn read(&mut self) -> Result<(Config, Option<Reread>, Option<String>), Vec<String>> {
        let overrides = self.basis.overrides.clone();
        let live = Arc::clone(&self.basis.live);
        let read = tokio::task::spawn_blocking(move || {
            (Config::load_with_files(&overrides), live.reread())
        });
        let ((files, config), reread) = read.await.map_err(|_| {
            vec!["reading the configuration panicked; this is a fault of the exporter".to_owned()]
        })?;
        let hash = files.hash();
        self.watched = Watched::new(files);
        let (config, reread) = both(config, reread).map_err(|error| error.0)?;
        Ok((config, reread, hash))
    }

    /// What is to run next.
    fn plan(&self, config: &Config) -> Result<Vec<Next>, Vec<String>> {
        let specs = Spec::all(config, &self.basis.reserved);
        let mut planned = Vec::new();
        let mut errors = Vec::new();
        for spec in specs {
            let same_name = |have: &Running| have.spec.name == spec.name;
            let at = self.running.iter().position(same_name);
            let have = at.and_then(|at| self.running.get(at));
            match (at, have) {
                (Some(at), Some(have)) if have.spec.is_same(&spec) => {
                    planned.push(Planned::Kept(at));
                }
                _ => match spec.transport() {
                    Ok(transport) => planned.push(Planned::New(Box::new((spec, transport)), have)),
                    Err(error) => errors.push(error.to_string()),
                },
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        // Nothing can go wrong from here on, so series of new targets may show.
        let next = planned.into_iter().map(|planned| match planned {
            Planned::Kept(at) => Next::Kept(at),
            Planned::New(new, before) => {
                let (spec, transport) = *new;
                let mut task = spec.task(transport, &self.basis.telemetry);
                let before = before.filter(|before| before.spec.address == spec.address);
                if let Some(before) = before {
                    task.take_turns_with(&before.handle);
                }
                Next::New(Box::new((spec, task)))
            }
        });
        Ok(next.collect())
    }
}

/// A target of which it is known whether it goes on, and whose predecessor is.
enum Planned<'r> {
    Kept(usize),
    New(Box<(Spec, Transport)>, Option<&'r Running>),
}

/// Polls new targets, all at once, so that their data is there when readers are switched over.
async fn first_polls(next: &mut [Next]) {
    let polls = next.iter_mut().filter_map(|next| match next {
        // A reader waits for a poll of its own.
        Next::New(new) => Some(new),
        Next::Kept(_) => None,
    });
    // A reader waits for a poll of its own.
    let polls = polls.filter(|new| !new.0.is_on_demand());
    // One that takes longer starts afresh after the switch.
    let polls = polls.map(|new| tokio::time::timeout(FIRST_POLLS, new.1.poll()));
    join_all(polls).await;
}

fn generation(config: &Config, running: &[Running], sources: &Sources) -> Generation {
    Generation {
        targets: running.iter().map(|have| have.handle.clone()).collect(),
        histograms: config.histograms,
        push: config.push.clone(),
        merge: sources.handles(),
    }
}

/// Two parts that were read, or the mistakes of both.
pub(super) fn both<T>(
    config: Result<Config, config::Error>,
    web: Result<T, WebConfigError>,
) -> Result<(Config, T), config::Error> {
    match (config, web) {
        (Ok(config), Ok(web)) => Ok((config, web)),
        (config, web) => {
            let mut errors = config.err().map(|error| error.0).unwrap_or_default();
            errors.extend(web.err().map(|error| error.0).unwrap_or_default());
            Err(config::Error(errors))
        }
    }
}

/// Seconds since 1970.
pub(super) fn unix_now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}
