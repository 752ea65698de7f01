//! Settings: flags and environment above the configuration file above defaults, resolved into one
//! [`Config`] that the rest of the program works from.
//!
//! Reading has no side effects. Every mistake is reported, with file, line and column where it
//! stands in a file.

mod file;
mod merge;
mod push;
mod targets;
mod units;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashSet;
use regex::Regex;

use crate::collectors;
use crate::files::Files;
use crate::histogram::native::Form;
use crate::mapping::rules::check_bounds;
use crate::mapping::table::Naming;
use crate::mapping::{self, FamilyBounds, Mapping, Source};
use crate::merge::Options as MergeOptions;
use crate::names::Labels;
use crate::push::Settings as PushSettings;
use crate::relabel;
use crate::snapshot::Limits;
use crate::snapshot::builder::Settings;
use crate::transport::access::Access;
use crate::transport::{self, AdminAddress};
use crate::yaml::{self, Attempt, Placed, Problem};

use file::{File, FileHistograms, FileLimits, FilePoll};
use targets::Common;

pub use units::{parse_duration, parse_regex, parse_size};
use units::{resolve_body, resolve_count};

/// The target's name where none is given.
pub const DEFAULT_TARGET: &str = "envoy";

/// Where Envoy's admin interface is mostly found.
pub const DEFAULT_ADDRESS: &str = "http://127.0.0.1:9901";

/// Time between polls: what Prometheus setups beside Envoy commonly scrape at.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

/// Time for one whole poll.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

/// Data is served for this many poll intervals, and at least for [`LEAST_STALE_AFTER`].
const STALE_INTERVALS: u32 = 3;
const LEAST_STALE_AFTER: Duration = Duration::from_secs(15);

/// Largest answer that is read. Half a million stats are 60 MB.
pub const DEFAULT_BODY_LIMIT: u64 = 256 * 1024 * 1024;

/// What stands in flags and environment; all of it may be left out.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The configuration file.
    pub config_file: Option<PathBuf>,
    /// Where the one target is.
    pub admin_address: Option<AdminAddress>,
    /// Time between polls.
    pub interval: Option<Duration>,
    /// Time for one poll.
    pub timeout: Option<Duration>,
    /// Age above which data is not served.
    pub stale_after: Option<Duration>,
    /// Ask only for stats that were ever written.
    pub used_only: Option<bool>,
    /// Ask only for stats that tables keep.
    pub push_down: Option<bool>,
    /// Regex that Envoy selects stats by.
    pub filter: Option<String>,
    /// Profile and mapping files.
    pub mapping: Vec<String>,
    /// Form of histograms.
    pub histograms: Option<Form>,
    /// Say since when series count.
    pub created_timestamps: Option<bool>,
    /// Collectors that are switched on or off.
    pub collectors: Vec<(collectors::Name, bool)>,
    /// Only endpoints of clusters in whose name this is found.
    pub endpoints_include: Option<Regex>,
}

/// Everything resolved.
#[derive(Debug)]
pub struct Config {
    /// The targets, at least one.
    pub targets: Vec<Target>,
    /// When and how they are polled, where they say nothing else.
    pub poll: Poll,
    /// The compiled mapping.
    pub mapping: Arc<Mapping>,
    /// Form of histograms.
    pub histograms: Form,
    /// Say since when series count.
    pub created_timestamps: bool,
    /// Rules that every series goes through.
    pub relabel: Arc<relabel::Rules>,
    /// Where is pushed to.
    pub push: PushSettings,
    /// What else is served.
    pub merge: Vec<MergeOptions>,
    written: Written,
}

/// What was compiled, as it was written.
#[derive(Debug, PartialEq)]
struct Written {
    sources: Vec<Source>,
    bounds: FamilyBounds,
    relabel: Vec<relabel::RuleConfig>,
}

/// A target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name in own metrics and logs.
    pub name: String,
    /// Where it is.
    pub address: AdminAddress,
    /// Added to each of its series.
    pub labels: Labels,
    /// When and how it is polled.
    pub poll: Poll,
    /// Which collectors run.
    pub collectors: collectors::Options,
    /// Largest answer that is read, in bytes.
    pub max_body: u64,
    /// Bounds on what comes of it.
    pub limits: Limits,
    /// What it asks of who asks it.
    pub access: Access,
}

/// When and how targets are polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Time between polls; zero: when scraped.
    pub interval: Duration,
    /// Time for one whole poll.
    pub timeout: Duration,
    /// Age above which data is not served.
    pub stale_after: Duration,
    /// Ask only for stats that were ever written.
    pub used_only: bool,
    /// Ask only for stats that tables keep, where it is known which.
    pub push_down: bool,
    /// Regex that Envoy selects stats by.
    pub filter: Option<String>,
}

/// Settings that cannot be used, with every reason, one line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Error(pub Vec<String>);

impl Config {
    /// Reads the files that are named and resolves everything.
    pub fn load(overrides: &Overrides) -> Result<Self, Error> {
        Self::load_with_files(overrides).1
    }

    /// The same, with the files that were read, whatever became of them.
    pub fn load_with_files(overrides: &Overrides) -> (Files, Result<Self, Error>) {
        let mut files = Files::default();
        let config = Self::load_from(overrides, &mut files);
        (files, config)
    }

    fn load_from(overrides: &Overrides, files: &mut Files) -> Result<Self, Error> {
        let mut errors = Vec::new();
        let (file, origin) = match &overrides.config_file {
            Some(path) => (
                read_file(path, files, &mut errors),
                path.display().to_string(),
            ),
            None => (File::default(), String::new()),
        };
        let mut problems = Vec::new();
        let collectors = file.collectors.take(&mut problems).unwrap_or_default();
        let common = Common {
            overrides,
            collectors: collectors.resolved(overrides, &mut problems),
            poll: file.poll.take(&mut problems).unwrap_or_default(),
            limits: file.limits.take(&mut problems).unwrap_or_default(),
            // As in Prometheus, paths in a file start where the file is.
            directory: overrides.config_file.as_deref().and_then(Path::parent),
        };
        let poll = resolve_poll(&common.poll, overrides, &mut problems);
        resolve_limits(&common.limits, &mut problems);
        let targets = common.resolve(file.targets, &mut problems);
        let (relabel_configs, relabel) =
            compile_relabel(file.metric_relabel_configs, &mut problems);
        let mut histograms = file.histograms.take(&mut problems).unwrap_or_default();
        let form = std::mem::take(&mut histograms.form).take(&mut problems);
        let form = overrides.histograms.or(form.flatten()).unwrap_or_default();
        let created = file.created_timestamps.take(&mut problems);
        let created = overrides.created_timestamps.or(created);
        let bounds = family_bounds(histograms, &mut problems);
        let around = push::Around {
            common: &common,
            is_on_demand: targets.iter().any(|target| target.poll.interval.is_zero()),
            target_labels: targets.iter().map(|target| &target.labels).collect(),
        };
        let push = push::resolve(file.push, &around, &mut problems);
        let merge = merge::resolve(file.merge, &common, &mut problems);
        problems.sort();
        // What is wrong for all targets is found with each.
        problems.dedup();
        errors.extend(problems.iter().map(|problem| format!("{origin}:{problem}")));
        let sources = if overrides.mapping.is_empty() {
            let sources = file.mapping.into_iter();
            let sources =
                sources.map(|source| (format!("{origin}:{}: ", source.place), source.value));
            read_mapping(sources, common.directory, files, &mut errors)
        } else {
            let sources = overrides.mapping.iter();
            let sources = sources.map(|source| (String::new(), source.clone()));
            read_mapping(sources, None, files, &mut errors)
        };
        let mapping = Mapping::compile(&sources, bounds.clone())
            .map_err(|error| errors.extend(error.reasons))
            .ok();
        match mapping {
            Some(mapping) if errors.is_empty() => Ok(Self {
                targets,
                poll,
                mapping: Arc::new(mapping),
                histograms: form,
                created_timestamps: created.unwrap_or(false),
                relabel: Arc::new(relabel),
                push,
                merge,
                written: Written {
                    sources,
                    bounds,
                    relabel: relabel_configs,
                },
            }),
            _ => Err(Error(errors)),
        }
    }
}

impl Config {
    /// Shares with an older configuration what was written the same, so that it is held once, and
    /// so that [`Settings::are_same`] sees it.
    pub fn share_with(&mut self, older: &Self) {
        let (mine, theirs) = (&self.written, &older.written);
        if mine.sources == theirs.sources && mine.bounds == theirs.bounds {
            self.mapping = Arc::clone(&older.mapping);
        }
        if mine.relabel == theirs.relabel {
            self.relabel = Arc::clone(&older.relabel);
        }
    }

    /// How a target is polled: for what has series, where the tables say that of some stats only and
    /// no filter of the user's stands above that.
    pub fn polling(&self, target: &Target) -> transport::Options {
        let mut options = target.transport();
        if target.poll.push_down && options.selection.filter.is_none() {
            options.selection.filter = self.mapping.wanted();
        }
        options
    }

    /// By what the stats of a target become series; `reserved` are names of families that no
    /// stat may have.
    pub fn settings(&self, target: &Target, reserved: &Arc<HashSet<String>>) -> Settings {
        Settings {
            mapping: Arc::clone(&self.mapping),
            target_labels: target.labels.clone(),
            relabel: Arc::clone(&self.relabel),
            limits: target.limits,
            reserved: Arc::clone(reserved),
            native_histograms: self.histograms != Form::Classic,
            // A capture does not say when it was taken.
            created_timestamps: self.created_timestamps
                && matches!(target.address, AdminAddress::Url(_) | AdminAddress::Unix(_)),
        }
    }
}

impl Target {
    /// How it is read.
    pub fn transport(&self) -> transport::Options {
        transport::Options {
            max_body: self.max_body,
            selection: transport::Selection {
                used_only: self.poll.used_only,
                filter: self.poll.filter.clone(),
                clusters: self
                    .collectors
                    .endpoints
                    .include
                    .as_ref()
                    .map(Regex::to_string),
            },
            access: self.access.clone(),
        }
    }
}

fn read_file(path: &Path, files: &mut Files, errors: &mut Vec<String>) -> File {
    let shown = path.display();
    let text = match files.read_text(path) {
        Ok(text) => text,
        Err(error) => {
            errors.push(format!("{shown}: {error}"));
            return File::default();
        }
    };
    let (file, problems) = yaml::read(&text);
    errors.extend(problems.iter().map(|problem| format!("{shown}:{problem}")));
    file.unwrap_or_default()
}

fn resolve_poll(file: &FilePoll, overrides: &Overrides, problems: &mut Vec<Problem>) -> Poll {
    let mut duration = |key: &str, written: &Option<Placed<String>>, above: Option<Duration>| {
        let parsed = written.as_ref().and_then(|written| {
            let parsed = parse_duration(&written.value);
            parsed
                .map_err(|reason| problems.push(written.problem(format!("poll.{key}: {reason}"))))
                .ok()
        });
        above.or(parsed)
    };
    let interval = duration("interval", &file.interval, overrides.interval);
    let interval = interval.unwrap_or(DEFAULT_INTERVAL);
    let timeout = duration("timeout", &file.timeout, overrides.timeout);
    let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
    let stale_after = duration("stale_after", &file.stale_after, overrides.stale_after);
    if timeout.is_zero() {
        let place = file.timeout.as_ref();
        problems.extend(place.map(|place| place.problem("poll.timeout: must be more than 0s")));
    }
    let filter = overrides.filter.clone().or_else(|| file.filter.clone());
    Poll {
        interval,
        timeout,
        stale_after: stale_after
            .unwrap_or_else(|| (interval * STALE_INTERVALS).max(LEAST_STALE_AFTER)),
        used_only: overrides.used_only.or(file.used_only).unwrap_or(false),
        push_down: overrides.push_down.or(file.push_down).unwrap_or(true),
        filter: filter.filter(|filter| !filter.is_empty()),
    }
}

fn compile_relabel(
    written: Vec<Attempt<Placed<relabel::RuleConfig>>>,
    problems: &mut Vec<Problem>,
) -> (Vec<relabel::RuleConfig>, relabel::Rules) {
    let written = yaml::take_all(written, problems);
    let configs: Vec<_> = written.iter().map(|rule| rule.value.clone()).collect();
    let rules = relabel::Rules::compile(&configs).unwrap_or_else(|errors| {
        for error in errors {
            let place = error.rule.checked_sub(1).and_then(|at| written.get(at));
            problems.extend(place.map(|place| place.problem(&error)));
        }
        relabel::Rules::default()
    });
    (configs, rules)
}

fn family_bounds(written: FileHistograms, problems: &mut Vec<Problem>) -> FamilyBounds {
    let mut bounds = FamilyBounds::default();
    for (pattern, values) in written.buckets {
        let Some(values) = values.take(problems) else {
            continue;
        };
        if let Err(reason) = check_bounds(&values.value) {
            problems.push(values.problem(format!("histograms.buckets: '{pattern}': {reason}")));
        } else if pattern == "default" {
            bounds.default = Some(values.value.into());
        } else {
            bounds.by_name.push((pattern, values.value.into()));
        }
    }
    // The more a pattern says, the earlier it is tried.
    bounds
        .by_name
        .sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.replace('*', "").len()));
    bounds
}

/// How much collectors look at.
#[derive(Clone, Copy)]
struct CollectorBounds {
    endpoints: usize,
    tcp_sockets: usize,
}

fn resolve_limits(
    file: &FileLimits,
    problems: &mut Vec<Problem>,
) -> (u64, Limits, CollectorBounds) {
    let mut count = |key: &str, written: &Option<Placed<String>>, default: usize| {
        resolve_count(key, written.as_ref(), default, problems)
    };
    let default = Limits::default();
    let limits = Limits {
        stats: count("stats", &file.stats, default.stats),
        stat_bytes: count("stat_bytes", &file.stat_bytes, default.stat_bytes),
        series: count("series", &file.series, default.series),
        series_per_family: count(
            "series_per_family",
            &file.series_per_family,
            default.series_per_family,
        ),
        label_value_bytes: count(
            "label_value_bytes",
            &file.label_value_bytes,
            default.label_value_bytes,
        ),
        labels: count("labels_per_series", &file.labels_per_series, default.labels),
    };
    let endpoints = collectors::Selection::default().most;
    let tcp_sockets = collectors::TcpBounds::default().sockets;
    let bounds = CollectorBounds {
        endpoints: count("endpoints", &file.endpoints, endpoints),
        tcp_sockets: count("tcp_sockets", &file.tcp_sockets, tcp_sockets),
    };
    let body = resolve_body(file.body.as_ref(), DEFAULT_BODY_LIMIT, problems);
    (body, limits, bounds)
}

/// What the mapping is made of. Each source is the name of a profile or the path of a table, and
/// comes with where it is said.
fn read_mapping(
    sources: impl Iterator<Item = (String, String)>,
    base: Option<&Path>,
    files: &mut Files,
    errors: &mut Vec<String>,
) -> Vec<Source> {
    let mut read = Vec::new();
    let mut naming: Option<(String, Naming)> = None;
    for (place, source) in sources {
        if let Some(own) = mapping::naming_of(&source) {
            if let Some((other, naming)) = &naming
                && *naming != own
            {
                errors.push(format!(
                    "{place}mapping: {other} and {source} name everything differently; one is to \
                     be chosen"
                ));
            }
            naming = Some((source.clone(), own));
        }
        if mapping::is_profile(&source) {
            read.push(Source::Profile(source));
            continue;
        }
        let path = base.map_or_else(|| PathBuf::from(&source), |base| base.join(&source));
        let name = path.display().to_string();
        match files.read_text(&path) {
            Ok(text) => read.push(Source::File { name, text }),
            Err(error) => errors.push(format!("{place}mapping: {name}: {error}")),
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_served_for_three_intervals_and_at_least_fifteen_seconds() {
        for (interval, want) in [("1s", 15), ("5s", 15), ("10s", 30), ("0s", 15)] {
            let overrides = Overrides {
                interval: parse_duration(interval).ok(),
                ..Overrides::default()
            };
            let config = Config::load(&overrides).expect("the defaults hold");
            assert_eq!(
                config.poll.stale_after,
                Duration::from_secs(want),
                "{interval}"
            );
        }
    }
}
