//! `merge`: expositions on this machine that are served with ours.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::file::FilePoll;
use super::resolve_poll;
use super::targets::Common;
use super::units::{resolve_body, resolve_count};
use crate::foreign::Bounds;
use crate::merge::{self, LABEL, Options, SourceUrl};
use crate::names::{self, Labels};
use crate::snapshot::Limits;
use crate::yaml::{self, Attempt, Placed, Problem};

/// A source as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSource {
    name: Placed<String>,
    url: Placed<String>,
    #[serde(default)]
    labels: BTreeMap<String, Placed<String>>,
    #[serde(default)]
    poll: Attempt<FileSourcePoll>,
    #[serde(default)]
    limits: Attempt<FileSourceLimits>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileSourcePoll {
    interval: Option<Placed<String>>,
    timeout: Option<Placed<String>>,
    stale_after: Option<Placed<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileSourceLimits {
    body: Option<Placed<String>>,
    series: Option<Placed<String>>,
    label_value_bytes: Option<Placed<String>>,
    labels_per_series: Option<Placed<String>>,
}

/// Every source, in the order of the file.
pub(super) fn resolve(
    written: Vec<Attempt<Placed<FileSource>>>,
    common: &Common<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<Options> {
    let written = yaml::take_all(written, problems);
    if let Some(over) = written.get(merge::MOST) {
        let most = merge::MOST;
        problems.push(over.problem(format!("merge: more than {most} sources")));
    }
    let mut names: Vec<String> = Vec::new();
    let mut sources = Vec::new();
    for source in written {
        let name = &source.value.name;
        if name.value.is_empty() {
            problems.push(name.problem("merge: the name is empty"));
        }
        if names.contains(&name.value) {
            let text = format!("merge: two sources are called '{}'", name.value);
            problems.push(name.problem(text));
        }
        names.push(name.value.clone());
        sources.extend(resolve_one(source.value, common, problems));
    }
    sources
}

fn resolve_one(
    written: FileSource,
    common: &Common<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Options> {
    let labels = labels(&written, problems);
    let poll = written.poll.take(problems).unwrap_or_default();
    let poll = FilePoll {
        interval: poll.interval,
        timeout: poll.timeout,
        stale_after: poll.stale_after,
        ..FilePoll::default()
    };
    let poll = resolve_poll(&poll.or(&common.poll), common.overrides, problems);
    let limits = written.limits.take(problems).unwrap_or_default();
    let (max_body, bounds) = resolve_limits(&limits, problems);
    let url = written.url.value.parse::<SourceUrl>();
    let url = url.map_err(|error| problems.push(written.url.problem(format!("merge: {error}"))));
    Some(Options {
        name: written.name.value,
        url: url.ok()?,
        labels,
        interval: poll.interval,
        timeout: poll.timeout,
        stale_after: poll.stale_after,
        max_body,
        bounds,
    })
}

/// What is attached: the name, unless another value or none is said.
fn labels(written: &FileSource, problems: &mut Vec<Problem>) -> Labels {
    let mut labels = Labels::new();
    labels.set(LABEL.to_owned(), written.name.value.clone());
    for (label, value) in &written.labels {
        let is_taken = matches!(label.as_str(), "le" | "quantile");
        if !names::is_label_name(label) || label.starts_with("__") || is_taken {
            let text = format!("merge: '{label}' is not a label name that may be set");
            problems.push(value.problem(text));
        }
        // As in Prometheus: a label without a value is none.
        if value.value.is_empty() {
            labels.remove(label);
        } else {
            labels.set(label.clone(), value.value.clone());
        }
    }
    labels
}

fn resolve_limits(file: &FileSourceLimits, problems: &mut Vec<Problem>) -> (u64, Bounds) {
    let default = Limits::default();
    let mut count = |key: &str, written: &Option<Placed<String>>, default: usize| {
        resolve_count(key, written.as_ref(), default, problems)
    };
    let bounds = Bounds {
        series: count("series", &file.series, merge::SERIES),
        label_value_bytes: count(
            "label_value_bytes",
            &file.label_value_bytes,
            default.label_value_bytes,
        ),
        labels: count("labels_per_series", &file.labels_per_series, default.labels),
    };
    let body = resolve_body(file.body.as_ref(), merge::BODY, problems);
    (body, bounds)
}
