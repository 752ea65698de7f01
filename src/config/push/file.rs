//! The part of the configuration file about pushing as it is written.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::file::{FileAuthorization, FileBasicAuth, FileTls};
use crate::relabel::RuleConfig;
use crate::secret::Secret;
use crate::yaml::{Attempt, Placed};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct FilePush {
    pub(super) pushgateway: Attempt<Option<Placed<FilePushgateway>>>,
    pub(super) remote_write: Attempt<Option<Placed<FileRemoteWrite>>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FilePushgateway {
    pub(super) url: Attempt<Option<Placed<String>>>,
    pub(super) job: Attempt<Option<Placed<String>>>,
    pub(super) grouping: Attempt<BTreeMap<String, Placed<String>>>,
    pub(super) method: Attempt<Option<FileMethod>>,
    pub(super) interval: Attempt<Option<Placed<String>>>,
    pub(super) format: Attempt<Option<FileFormat>>,
    pub(super) delete_on_shutdown: Attempt<Option<bool>>,
    pub(super) timeout: Attempt<Option<Placed<String>>>,
    pub(super) basic_auth: Attempt<Option<Placed<FileBasicAuth>>>,
    pub(super) authorization: Attempt<Option<Placed<FileAuthorization>>>,
    pub(super) tls_config: Attempt<Option<Placed<FileTls>>>,
    pub(super) headers: Attempt<BTreeMap<String, Placed<Secret>>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileRemoteWrite {
    pub(super) url: Attempt<Option<Placed<String>>>,
    pub(super) external_labels: Attempt<BTreeMap<String, Placed<String>>>,
    pub(super) write_relabel_configs: Vec<Attempt<Placed<RuleConfig>>>,
    pub(super) metadata_interval: Attempt<Option<Placed<String>>>,
    pub(super) max_samples_per_send: Attempt<Option<Placed<String>>>,
    pub(super) max_bytes_per_send: Attempt<Option<Placed<String>>>,
    pub(super) concurrency: Attempt<Option<Placed<String>>>,
    pub(super) queue: Attempt<FileQueue>,
    pub(super) timeout: Attempt<Option<Placed<String>>>,
    pub(super) basic_auth: Attempt<Option<Placed<FileBasicAuth>>>,
    pub(super) authorization: Attempt<Option<Placed<FileAuthorization>>>,
    pub(super) tls_config: Attempt<Option<Placed<FileTls>>>,
    pub(super) headers: Attempt<BTreeMap<String, Placed<Secret>>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileQueue {
    pub(super) polls: Option<Placed<String>>,
    pub(super) bytes: Option<Placed<String>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) enum FileMethod {
    #[serde(rename = "PUT", alias = "put")]
    Put,
    #[serde(rename = "POST", alias = "post")]
    Post,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FileFormat {
    Text,
    Protobuf,
}

/// What both ways have.
pub(super) struct FileEndpoint {
    pub(super) timeout: Attempt<Option<Placed<String>>>,
    pub(super) basic_auth: Attempt<Option<Placed<FileBasicAuth>>>,
    pub(super) authorization: Attempt<Option<Placed<FileAuthorization>>>,
    pub(super) tls_config: Attempt<Option<Placed<FileTls>>>,
    pub(super) headers: Attempt<BTreeMap<String, Placed<Secret>>>,
}
