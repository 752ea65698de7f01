//! The configuration file as it is written.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Overrides, parse_regex};
use crate::collectors::{Name, Options, Selection, TcpBounds};
use crate::histogram::native::Form;
use crate::relabel;
use crate::secret::Secret;
use crate::yaml::{Attempt, Placed, Problem};

/// The configuration file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) targets: Vec<Attempt<Placed<FileTarget>>>,
    pub(super) poll: Attempt<FilePoll>,
    pub(super) mapping: Vec<Placed<String>>,
    pub(super) metric_relabel_configs: Vec<Attempt<Placed<relabel::RuleConfig>>>,
    pub(super) histograms: Attempt<FileHistograms>,
    pub(super) created_timestamps: Attempt<bool>,
    pub(super) limits: Attempt<FileLimits>,
    pub(super) collectors: Attempt<FileCollectors>,
    pub(super) push: Attempt<super::push::FilePush>,
    pub(super) merge: Vec<Attempt<Placed<super::merge::FileSource>>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTarget {
    pub(super) name: Option<String>,
    pub(super) admin_address: Placed<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, Placed<String>>,
    #[serde(default)]
    pub(super) poll: Attempt<FilePoll>,
    #[serde(default)]
    pub(super) limits: Attempt<FileLimits>,
    #[serde(default)]
    pub(super) basic_auth: Attempt<Option<Placed<FileBasicAuth>>>,
    #[serde(default)]
    pub(super) authorization: Attempt<Option<Placed<FileAuthorization>>>,
    #[serde(default)]
    pub(super) headers: Attempt<BTreeMap<String, Placed<Secret>>>,
    #[serde(default)]
    pub(super) tls_config: Attempt<Option<Placed<FileTls>>>,
}

/// As in Prometheus.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileBasicAuth {
    pub(super) username: String,
    pub(super) password: Option<Secret>,
    pub(super) password_file: Option<String>,
}

/// As in Prometheus.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileAuthorization {
    #[serde(rename = "type")]
    pub(super) scheme: Option<String>,
    pub(super) credentials: Option<Secret>,
    pub(super) credentials_file: Option<String>,
}

/// As in Prometheus.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileTls {
    pub(super) ca_file: Option<String>,
    pub(super) cert_file: Option<String>,
    pub(super) key_file: Option<String>,
    pub(super) insecure_skip_verify: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FilePoll {
    pub(super) interval: Option<Placed<String>>,
    pub(super) timeout: Option<Placed<String>>,
    pub(super) stale_after: Option<Placed<String>>,
    pub(super) used_only: Option<bool>,
    pub(super) push_down: Option<bool>,
    pub(super) filter: Option<String>,
}

impl FilePoll {
    /// What is said here, or else there.
    pub(super) fn or(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            interval: self.interval.or(other.interval),
            timeout: self.timeout.or(other.timeout),
            stale_after: self.stale_after.or(other.stale_after),
            used_only: self.used_only.or(other.used_only),
            push_down: self.push_down.or(other.push_down),
            filter: self.filter.or(other.filter),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileCollectors {
    certificates: Option<bool>,
    endpoints: Option<bool>,
    endpoints_include: Option<Placed<String>>,
    listeners: Option<bool>,
    memory: Option<bool>,
    server_info: Option<bool>,
    tcp: Option<bool>,
}

impl FileCollectors {
    /// What the file says of one.
    const fn says(&self, name: Name) -> Option<bool> {
        match name {
            Name::Certificates => self.certificates,
            Name::Endpoints => self.endpoints,
            Name::Listeners => self.listeners,
            Name::Memory => self.memory,
            Name::ServerInfo => self.server_info,
            Name::Tcp => self.tcp,
        }
    }

    /// The collectors that run.
    pub(super) fn resolved(&self, overrides: &Overrides, problems: &mut Vec<Problem>) -> Options {
        let include = self.endpoints_include.as_ref().and_then(|written| {
            let regex = parse_regex(&written.value);
            let problem =
                |reason| written.problem(format!("collectors.endpoints_include: {reason}"));
            regex.map_err(|reason| problems.push(problem(reason))).ok()
        });
        let is_on = |name: &Name| {
            let mut above = overrides.collectors.iter();
            let above = above.find(|(have, _)| have == name).map(|(_, on)| *on);
            above.or(self.says(*name)).unwrap_or(name.is_on())
        };
        Options {
            on: Name::ALL.iter().copied().filter(is_on).collect(),
            endpoints: Selection {
                include: overrides.endpoints_include.clone().or(include),
                ..Selection::default()
            },
            tcp: TcpBounds::default(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileHistograms {
    pub(super) form: Attempt<Option<Form>>,
    pub(super) buckets: BTreeMap<String, Attempt<Placed<Vec<f64>>>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileLimits {
    pub(super) body: Option<Placed<String>>,
    pub(super) stats: Option<Placed<String>>,
    pub(super) stat_bytes: Option<Placed<String>>,
    pub(super) series: Option<Placed<String>>,
    pub(super) series_per_family: Option<Placed<String>>,
    pub(super) label_value_bytes: Option<Placed<String>>,
    pub(super) labels_per_series: Option<Placed<String>>,
    pub(super) endpoints: Option<Placed<String>>,
    pub(super) tcp_sockets: Option<Placed<String>>,
}

impl FileLimits {
    /// What is said here, or else there.
    pub(super) fn or(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            body: self.body.or(other.body),
            series: self.series.or(other.series),
            series_per_family: self.series_per_family.or(other.series_per_family),
            label_value_bytes: self.label_value_bytes.or(other.label_value_bytes),
            labels_per_series: self.labels_per_series.or(other.labels_per_series),
            endpoints: self.endpoints.or(other.endpoints),
            tcp_sockets: self.tcp_sockets.or(other.tcp_sockets),
            stat_bytes: self.stat_bytes.or(other.stat_bytes),
            stats: self.stats.or(other.stats),
        }
    }
}
