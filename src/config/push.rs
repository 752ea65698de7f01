//! What the part of the configuration file about pushing comes to.
//!
//! Keys that Prometheus has too are called as there. Messages never show what may be a secret.

mod endpoint;
mod file;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::targets::Common;
use super::{parse_duration, parse_size};
use crate::names::{self, Labels};
use crate::negotiate::Format;
use crate::push::Settings;
use crate::push::pushgateway::{self, Replace, group_url};
use crate::push::remote::{self, BatchLimit, Labeling, Pace};
use crate::relabel::{self, RuleConfig};
use crate::telemetry::QueueSize;
use crate::yaml::{Attempt, Placed, Problem};
use file::{FileEndpoint, FileFormat, FileMethod, FilePushgateway, FileRemoteWrite};

pub(super) use file::FilePush;

/// Time between pushes to a Pushgateway.
const INTERVAL: Duration = Duration::from_secs(15);

/// Time for one attempt at a Pushgateway, and at a receiver of remote write, as Prometheus has it.
const GATEWAY_TIMEOUT: Duration = Duration::from_secs(10);
const REMOTE_TIMEOUT: Duration = Duration::from_secs(30);

/// Samples of one request, as Prometheus has it, and bytes: enough for that many in most cases.
const BATCH: BatchLimit = BatchLimit {
    samples: 2000,
    bytes: 1024 * 1024,
};

/// Requests under way at a time.
const CONCURRENCY: usize = 4;

/// Time between two times that it is said what families are, as Prometheus has it.
const METADATA_INTERVAL: Duration = Duration::from_mins(1);

/// How much may wait: an hour of polls every 5 seconds, or the memory of the last ones of a proxy
/// with half a million stats.
const QUEUE: QueueSize = QueueSize {
    polls: 720,
    bytes: 128 * 1024 * 1024,
};

/// What else settings are made by.
pub(super) struct Around<'a> {
    pub(super) common: &'a Common<'a>,
    /// Whether targets are polled when they are scraped.
    pub(super) is_on_demand: bool,
    /// Labels that every series of some target has.
    pub(super) target_labels: Vec<&'a Labels>,
}

/// Resolves what is written; mistakes go to `problems`.
pub(super) fn resolve(
    written: Attempt<FilePush>,
    around: &Around<'_>,
    problems: &mut Vec<Problem>,
) -> Settings {
    let mut reading = Reading {
        around,
        problems: Vec::new(),
    };
    let written = written.take(&mut reading.problems).unwrap_or_default();
    let gateway = written.pushgateway.take(&mut reading.problems).flatten();
    let remote = written.remote_write.take(&mut reading.problems).flatten();
    let settings = Settings {
        pushgateway: gateway.and_then(|gateway| reading.pushgateway(&gateway)),
        remote_write: remote.and_then(|remote| reading.remote_write(&remote)),
    };
    problems.extend(reading.problems.into_iter().map(Problem::redacted));
    settings
}

struct Reading<'a> {
    around: &'a Around<'a>,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn take<T: Default>(&mut self, attempt: Attempt<T>) -> T {
        attempt.take(&mut self.problems).unwrap_or_default()
    }

    fn problem<T>(&mut self, at: &Placed<T>, reason: impl std::fmt::Display) {
        self.problems.push(at.problem(reason));
    }

    fn pushgateway(&mut self, written: &Placed<FilePushgateway>) -> Option<pushgateway::Options> {
        const KEY: &str = "push.pushgateway";
        let file = written.value.clone();
        let url = self.take(file.url);
        let job = self.take(file.job);
        let grouping = self.take(file.grouping);
        let grouping = self.grouping(grouping);
        let interval = self.take(file.interval);
        let interval = self.duration(KEY, "interval", interval, INTERVAL, true);
        let method = self.take(file.method);
        let format = self.take(file.format);
        let delete_on_shutdown = self.take(file.delete_on_shutdown);
        let url = self.url(KEY, written, url);
        let endpoint = FileEndpoint {
            timeout: file.timeout,
            basic_auth: file.basic_auth,
            authorization: file.authorization,
            tls_config: file.tls_config,
            headers: file.headers,
        };
        if let Some(empty) = job.as_ref().filter(|job| job.value.is_empty()) {
            self.problem(empty, format!("{KEY}.job: a Pushgateway wants one"));
        }
        let job = job.map_or_else(|| "envoy".to_owned(), |job| job.value);
        let base = url.as_ref().map(|(_, url)| url);
        let group = base
            .map(|base| group_url(base, &job, &grouping))
            .transpose();
        let group = group.unwrap_or_else(|reason| {
            self.problem(written, format!("{KEY}: {reason}"));
            None
        });
        let url = url.zip(group).map(|((place, _), group)| (place, group));
        let endpoint = self.endpoint(KEY, url, endpoint, GATEWAY_TIMEOUT);
        Some(pushgateway::Options {
            endpoint: endpoint?,
            grouping,
            replace: match method {
                None | Some(FileMethod::Put) => Replace::Group,
                Some(FileMethod::Post) => Replace::Families,
            },
            interval,
            format: match format {
                None | Some(FileFormat::Text) => Format::Text,
                Some(FileFormat::Protobuf) => Format::Protobuf,
            },
            delete_on_shutdown: delete_on_shutdown.unwrap_or(true),
        })
    }

    /// The labels of the grouping key, which no series may have.
    fn grouping(&mut self, written: BTreeMap<String, Placed<String>>) -> Labels {
        let mut labels = Labels::new();
        for (name, value) in written {
            let around = &self.around;
            let is_series = name == "target"
                || around
                    .target_labels
                    .iter()
                    .any(|all| all.value(&name).is_some());
            if !names::is_label_name(&name) || name.starts_with("__") || name == "job" {
                let reason = format!("'{name}' is not a label name that may be set");
                self.problem(&value, format!("push.pushgateway.grouping: {reason}"));
            } else if is_series {
                let reason = format!("series have the label '{name}', which would be overwritten");
                self.problem(&value, format!("push.pushgateway.grouping: {reason}"));
            }
            labels.set(name, value.value);
        }
        labels
    }

    fn remote_write(&mut self, written: &Placed<FileRemoteWrite>) -> Option<remote::Options> {
        const KEY: &str = "push.remote_write";
        let file = written.value.clone();
        let url = self.take(file.url);
        let url = self.url(KEY, written, url);
        let external = self.take(file.external_labels);
        let external = self.external_labels(external);
        let labeling = self.labeling(external, file.write_relabel_configs);
        let metadata = self.take(file.metadata_interval);
        let metadata_interval =
            self.duration(KEY, "metadata_interval", metadata, METADATA_INTERVAL, false);
        let samples = self.take(file.max_samples_per_send);
        let bytes = self.take(file.max_bytes_per_send);
        let batch = BatchLimit {
            samples: self.count(KEY, "max_samples_per_send", samples, BATCH.samples),
            bytes: self.size(KEY, "max_bytes_per_send", bytes, BATCH.bytes),
        };
        let concurrency = self.take(file.concurrency);
        let concurrency = self.count(KEY, "concurrency", concurrency, CONCURRENCY);
        let queue = self.take(file.queue);
        let queue = QueueSize {
            polls: self.count(KEY, "queue.polls", queue.polls, QUEUE.polls),
            bytes: self.size(KEY, "queue.bytes", queue.bytes, QUEUE.bytes),
        };
        if self.around.is_on_demand {
            let reason = "polls that wait for scrapes cannot be written: poll.interval is 0s";
            self.problem(written, format!("{KEY}: {reason}"));
        }
        let endpoint = FileEndpoint {
            timeout: file.timeout,
            basic_auth: file.basic_auth,
            authorization: file.authorization,
            tls_config: file.tls_config,
            headers: file.headers,
        };
        let endpoint = self.endpoint(KEY, url, endpoint, REMOTE_TIMEOUT);
        Some(remote::Options {
            endpoint: endpoint?,
            labeling: Arc::new(labeling),
            pace: Pace {
                batch,
                concurrency,
                metadata_interval,
            },
            queue,
        })
    }

    fn external_labels(&mut self, written: BTreeMap<String, Placed<String>>) -> Labels {
        let mut labels = Labels::new();
        for (name, value) in written {
            let is_ours = matches!(name.as_str(), "le" | "quantile") || name.starts_with("__");
            if !names::is_label_name(&name) || is_ours {
                let reason = format!("'{name}' is not a label name that may be set");
                self.problem(
                    &value,
                    format!("push.remote_write.external_labels: {reason}"),
                );
            } else if value.value.is_empty() {
                let reason = format!("'{name}' is empty");
                self.problem(
                    &value,
                    format!("push.remote_write.external_labels: {reason}"),
                );
            }
            labels.set(name, value.value);
        }
        labels
    }

    fn labeling(
        &mut self,
        external: Labels,
        written: Vec<Attempt<Placed<RuleConfig>>>,
    ) -> Labeling {
        let rules = super::compile_relabel(written, &mut self.problems);
        let (written, rules): (Vec<RuleConfig>, relabel::Rules) = rules;
        Labeling {
            external,
            rules,
            written,
        }
    }

    fn duration(
        &mut self,
        key: &str,
        name: &str,
        written: Option<Placed<String>>,
        default: Duration,
        is_above_zero: bool,
    ) -> Duration {
        let Some(written) = written else {
            return default;
        };
        let parsed = match parse_duration(&written.value) {
            Ok(parsed) if is_above_zero && parsed.is_zero() => {
                Err("must be more than 0s".to_owned())
            }
            other => other,
        };
        parsed.unwrap_or_else(|reason| {
            self.problem(&written, format!("{key}.{name}: {reason}"));
            default
        })
    }

    fn count(
        &mut self,
        key: &str,
        name: &str,
        written: Option<Placed<String>>,
        default: usize,
    ) -> usize {
        let Some(written) = written else {
            return default;
        };
        let count = written.value.parse().ok().filter(|count| *count > 0);
        count.unwrap_or_else(|| {
            let reason = format!("'{}' is no whole number above 0", written.value);
            self.problem(&written, format!("{key}.{name}: {reason}"));
            default
        })
    }

    fn size(
        &mut self,
        key: &str,
        name: &str,
        written: Option<Placed<String>>,
        default: usize,
    ) -> usize {
        let Some(written) = written else {
            return default;
        };
        let size = parse_size(&written.value);
        let size = size.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        size.unwrap_or_else(|reason| {
            self.problem(&written, format!("{key}.{name}: {reason}"));
            default
        })
    }
}
