//! Settings: flags and environment above the configuration file above defaults, resolved into one
//! [`Config`] that the rest of the program works from.
//!
//! Reading has no side effects. Every mistake is reported, with file, line and column where it
//! stands in a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::mapping::{self, Mapping};
use crate::names::{self, Labels};
use crate::transport::AdminAddress;

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
    /// Regex that Envoy selects stats by.
    pub filter: Option<String>,
    /// Profile and mapping files.
    pub mapping: Vec<String>,
}

/// Everything resolved.
#[derive(Debug)]
pub struct Config {
    /// The targets, at least one.
    pub targets: Vec<Target>,
    /// When and how they are polled.
    pub poll: Poll,
    /// The compiled mapping.
    pub mapping: Mapping,
    /// Bounds on what is taken in.
    pub limits: Limits,
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
    /// Regex that Envoy selects stats by.
    pub filter: Option<String>,
}

/// Bounds on what is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one answer.
    pub body: u64,
}

/// Settings that cannot be used, with every reason, one line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Error(pub Vec<String>);

/// The configuration file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    targets: Vec<FileTarget>,
    poll: FilePoll,
    mapping: Vec<String>,
    limits: FileLimits,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTarget {
    name: Option<String>,
    admin_address: String,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FilePoll {
    interval: Option<String>,
    timeout: Option<String>,
    stale_after: Option<String>,
    used_only: Option<bool>,
    filter: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileLimits {
    body: Option<String>,
}

impl Config {
    /// Reads the files that are named and resolves everything.
    pub fn load(overrides: &Overrides) -> Result<Self, Error> {
        let mut errors = Vec::new();
        let (file, origin) = match &overrides.config_file {
            Some(path) => (read_file(path, &mut errors), path.display().to_string()),
            None => (File::default(), String::new()),
        };
        let mut note = |reason: String| errors.push(format!("{origin}: {reason}"));
        let targets = targets(&file, overrides, &mut note);
        let poll = poll(&file.poll, overrides, &mut note);
        let body = file.limits.body.as_deref().map(parse_size).transpose();
        let body = body.unwrap_or_else(|reason| {
            note(format!("limits.body: {reason}"));
            None
        });
        let sources = if overrides.mapping.is_empty() {
            &file.mapping
        } else {
            &overrides.mapping
        };
        let mapping = load_mapping(sources, &mut errors);
        match mapping {
            Some(mapping) if errors.is_empty() => Ok(Self {
                targets,
                poll,
                mapping,
                limits: Limits {
                    body: body.unwrap_or(DEFAULT_BODY_LIMIT),
                },
            }),
            _ => Err(Error(errors)),
        }
    }
}

fn read_file(path: &Path, errors: &mut Vec<String>) -> File {
    let shown = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            errors.push(format!("{shown}: {error}"));
            return File::default();
        }
    };
    // A file of comments alone is a file of defaults.
    let is_content = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
    if !text.lines().any(is_content) {
        return File::default();
    }
    serde_saphyr::from_str(&text).unwrap_or_else(|error| {
        errors.push(format!("{shown}:{}", mapping::table::placed(&error)));
        File::default()
    })
}

fn targets(file: &File, overrides: &Overrides, note: &mut impl FnMut(String)) -> Vec<Target> {
    if let Some(address) = &overrides.admin_address {
        if file.targets.len() > 1 {
            note(
                "targets: a flag or environment variable gives one address for several targets"
                    .to_owned(),
            );
        }
        let (name, labels) = match file.targets.first() {
            Some(target) => (target.name.as_deref(), labels(target, note)),
            None => (None, Labels::new()),
        };
        return vec![Target {
            name: name.unwrap_or(DEFAULT_TARGET).to_owned(),
            address: address.clone(),
            labels,
        }];
    }
    let mut targets: Vec<Target> = Vec::new();
    for target in &file.targets {
        let name = target.name.as_deref().unwrap_or(DEFAULT_TARGET).to_owned();
        if name.is_empty() {
            note("targets: a name is empty".to_owned());
        }
        if targets.iter().any(|have| have.name == name) {
            note(format!("targets: two are called '{name}'"));
        }
        match target.admin_address.parse::<AdminAddress>() {
            Ok(address) => targets.push(Target {
                labels: labels(target, note),
                name,
                address,
            }),
            Err(error) => note(format!("targets: '{name}': admin_address: {error}")),
        }
    }
    if targets.is_empty()
        && let Ok(address) = DEFAULT_ADDRESS.parse()
    {
        targets.push(Target {
            name: DEFAULT_TARGET.to_owned(),
            address,
            labels: Labels::new(),
        });
    }
    targets
}

/// The labels of a target's series. One that has a name says so in `target`, so that its series
/// never mix with another's; a lone target without a name gives the series that Envoy would.
fn labels(target: &FileTarget, note: &mut impl FnMut(String)) -> Labels {
    let mut labels = Labels::new();
    if let Some(name) = &target.name {
        labels.set("target".to_owned(), name.clone());
    }
    for (label, value) in &target.labels {
        if !names::is_label_name(label) || label.starts_with("__") {
            note(format!("targets: '{label}' is not a label name"));
        }
        if labels.set(label.clone(), value.clone()).is_some() {
            note("targets: the label 'target' is set by the target's name".to_owned());
        }
    }
    labels
}

fn poll(file: &FilePoll, overrides: &Overrides, note: &mut impl FnMut(String)) -> Poll {
    let mut duration = |key: &str, written: &Option<String>, above: Option<Duration>| {
        let parsed = written.as_deref().map(parse_duration).transpose();
        let parsed = parsed.unwrap_or_else(|reason| {
            note(format!("poll.{key}: {reason}"));
            None
        });
        above.or(parsed)
    };
    let interval = duration("interval", &file.interval, overrides.interval);
    let interval = interval.unwrap_or(DEFAULT_INTERVAL);
    let timeout = duration("timeout", &file.timeout, overrides.timeout);
    let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
    let stale_after = duration("stale_after", &file.stale_after, overrides.stale_after);
    if timeout.is_zero() {
        note("poll.timeout: must be more than 0s".to_owned());
    }
    let filter = overrides.filter.clone().or_else(|| file.filter.clone());
    Poll {
        interval,
        timeout,
        stale_after: stale_after
            .unwrap_or_else(|| (interval * STALE_INTERVALS).max(LEAST_STALE_AFTER)),
        used_only: overrides.used_only.or(file.used_only).unwrap_or(false),
        filter: filter.filter(|filter| !filter.is_empty()),
    }
}

/// Compiles the mapping: `native` stands for the shipped table, everything else for a file.
fn load_mapping(sources: &[String], errors: &mut Vec<String>) -> Option<Mapping> {
    let mut tables = Vec::new();
    for source in sources {
        match source.as_str() {
            "native" => {}
            "standard" | "basic" => {
                errors.push(format!(
                    "mapping: the profile '{source}' is not part of this version"
                ));
            }
            path => match std::fs::read_to_string(path) {
                Ok(text) => tables.push((path.to_owned(), text)),
                Err(error) => errors.push(format!("{path}: {error}")),
            },
        }
    }
    Mapping::compile(&tables)
        .map_err(|error| errors.extend(error.reasons))
        .ok()
}

/// Reads a duration as humantime has it, without its months and years: `1M` is a month there and
/// a slip elsewhere.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut units = text.split(|character: char| !character.is_ascii_alphabetic());
    let long = ["M", "month", "months", "y", "yr", "year", "years"];
    if let Some(unit) = units.find(|unit| long.contains(unit)) {
        return Err(format!(
            "'{text}': the unit '{unit}' is too long for a duration here"
        ));
    }
    humantime::parse_duration(text)
        .map_err(|error| format!("'{text}' is not a duration like 500ms, 5s or 2m: {error}"))
}

/// Reads a size: a whole number of bytes with `KiB`, `MiB` or `GiB`, or bare.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("'{text}' is not a size like 64KiB or 256MiB")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(scale))
        .filter(|size| *size > 0)
        .ok_or_else(|| format!("'{text}' is not a size like 64KiB or 256MiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, want) in [
            ("500ms", Some(Duration::from_millis(500))),
            ("5s", Some(Duration::from_secs(5))),
            ("1h 30m", Some(Duration::from_mins(90))),
            ("2days", Some(Duration::from_hours(48))),
            ("0s", Some(Duration::ZERO)),
            ("5", None),
            ("1M", None),
            ("1y", None),
            ("", None),
        ] {
            assert_eq!(parse_duration(text).ok(), want, "{text:?}");
        }
    }

    #[test]
    fn sizes() {
        for (text, want) in [
            ("1", Some(1)),
            ("64KiB", Some(65_536)),
            ("256 MiB", Some(268_435_456)),
            ("0", None),
            ("1MB", None),
            ("x", None),
            ("99999999999999999999", None),
            ("18446744073709551615GiB", None),
        ] {
            assert_eq!(parse_size(text).ok(), want, "{text:?}");
        }
    }

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
