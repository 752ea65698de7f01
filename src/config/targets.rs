//! `targets`: from what is written to what is polled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reqwest::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};

use super::file::{FileAuthorization, FileBasicAuth, FileLimits, FilePoll, FileTarget, FileTls};
use super::{
    CollectorBounds, DEFAULT_ADDRESS, DEFAULT_TARGET, Overrides, Target, resolve_limits,
    resolve_poll,
};
use crate::collectors;
use crate::names::{self, Labels};
use crate::secret::Secret;
use crate::transport::access::{Access, Credentials, Text, Tls};
use crate::transport::{AdminAddress, Transport};
use crate::yaml::{self, Attempt, Placed, Problem};

/// What holds for all targets.
pub(super) struct Common<'c> {
    pub(super) overrides: &'c Overrides,
    pub(super) poll: FilePoll,
    pub(super) limits: FileLimits,
    pub(super) collectors: collectors::Options,
    /// Where paths start.
    pub(super) directory: Option<&'c Path>,
}

impl Common<'_> {
    /// Every target, at least one.
    pub(super) fn resolve(
        &self,
        written: Vec<Attempt<Placed<FileTarget>>>,
        problems: &mut Vec<Problem>,
    ) -> Vec<Target> {
        let written = yaml::take_all(written, problems);
        let given = &self.overrides.admin_address;
        if let (Some(_), Some(second)) = (given, written.get(1)) {
            problems.push(second.problem(
                "targets: a flag or environment variable gives one address for several targets",
            ));
        }
        let mut targets: Vec<Target> = Vec::new();
        for target in &written {
            let name = target.value.name.as_deref().unwrap_or(DEFAULT_TARGET);
            if name.is_empty() {
                problems.push(target.problem("targets: the name is empty"));
            }
            if targets.iter().any(|have| have.name == name) {
                problems.push(target.problem(format!("targets: two are called '{name}'")));
            }
            targets.extend(self.target(name, target.value.clone(), problems));
        }
        if written.is_empty() {
            let address = given.clone().or_else(|| DEFAULT_ADDRESS.parse().ok());
            let poll = resolve_poll(&self.poll, self.overrides, problems);
            let (max_body, limits, bounds) = resolve_limits(&self.limits, problems);
            targets.extend(address.map(|address| Target {
                name: DEFAULT_TARGET.to_owned(),
                address,
                labels: Labels::new(),
                poll,
                collectors: self.collectors(bounds),
                max_body,
                limits,
                access: Access::default(),
            }));
        }
        targets
    }

    fn target(
        &self,
        name: &str,
        written: FileTarget,
        problems: &mut Vec<Problem>,
    ) -> Option<Target> {
        let labels = labels(&written, problems);
        let poll = written.poll.take(problems).unwrap_or_default();
        let poll = resolve_poll(&poll.or(&self.poll), self.overrides, problems);
        let limits = written.limits.take(problems).unwrap_or_default();
        let (max_body, limits, bounds) = resolve_limits(&limits.or(&self.limits), problems);
        let at = &written.admin_address;
        let address = at.value.parse::<AdminAddress>();
        let address = address.map_err(|error| {
            problems.push(at.problem(format!("admin_address: {error}")));
        });
        let address = self.overrides.admin_address.clone().or(address.ok())?;
        // Mistakes in here do not show what is written: it may be a secret.
        let mut hidden = Vec::new();
        let access = Access {
            credentials: self.credentials(
                written.basic_auth.take(&mut hidden).flatten(),
                written.authorization.take(&mut hidden).flatten(),
                &mut hidden,
            ),
            headers: headers(
                written.headers.take(&mut hidden).unwrap_or_default(),
                &mut hidden,
            ),
            tls: self.tls(
                written.tls_config.take(&mut hidden).flatten(),
                matches!(&address, AdminAddress::Url(url) if url.scheme() == "https"),
                &mut hidden,
            ),
        };
        if matches!(address, AdminAddress::File(_)) && access != Access::default() {
            hidden.push(at.problem("a saved capture takes no credentials, headers or TLS"));
        }
        let is_to_be_tried = hidden.is_empty() && access != Access::default();
        problems.extend(hidden.into_iter().map(Problem::redacted));
        let target = Target {
            name: name.to_owned(),
            address,
            labels,
            poll,
            collectors: self.collectors(bounds),
            max_body,
            limits,
            access,
        };
        // Files that it refers to are there and hold what they are to.
        if is_to_be_tried {
            let opened = Transport::open(target.address.clone(), target.transport());
            problems.extend(opened.err().map(|error| at.problem(error)));
        }
        Some(target)
    }

    /// The collectors of a target, of which so many endpoints have series.
    fn collectors(&self, bounds: CollectorBounds) -> collectors::Options {
        let mut collectors = self.collectors.clone();
        collectors.endpoints.most = bounds.endpoints;
        collectors.tcp.sockets = bounds.tcp_sockets;
        collectors
    }

    fn path(&self, written: String) -> PathBuf {
        match self.directory {
            Some(directory) => directory.join(written),
            None => written.into(),
        }
    }

    pub(super) fn credentials(
        &self,
        basic: Option<Placed<FileBasicAuth>>,
        other: Option<Placed<FileAuthorization>>,
        problems: &mut Vec<Problem>,
    ) -> Option<Credentials> {
        let mut text = |at: &Placed<()>,
                        key: &str,
                        inline: Option<Secret>,
                        file: Option<String>| match (inline, file) {
            (Some(secret), None) => Some(Text::Inline(secret)),
            (None, Some(file)) => Some(Text::File(self.path(file))),
            (Some(_), Some(_)) | (None, None) => {
                problems.push(at.problem(format!("one of {key} and {key}_file is wanted")));
                None
            }
        };
        match (basic, other) {
            (Some(basic), None) => {
                let at = Placed {
                    place: basic.place,
                    value: (),
                };
                let basic = basic.value;
                let password = text(
                    &at,
                    "basic_auth.password",
                    basic.password,
                    basic.password_file,
                )?;
                if basic.username.contains(':') {
                    problems.push(at.problem("basic_auth.username: no name holds a colon"));
                }
                Some(Credentials::Basic(basic.username, password))
            }
            (None, Some(other)) => {
                let at = Placed {
                    place: other.place,
                    value: (),
                };
                let other = other.value;
                let key = "authorization.credentials";
                let credentials = text(&at, key, other.credentials, other.credentials_file)?;
                let scheme = other.scheme.unwrap_or_else(|| "Bearer".to_owned());
                if scheme.eq_ignore_ascii_case("basic") {
                    problems.push(at.problem("authorization.type: basic_auth is for users"));
                }
                Some(Credentials::Other(scheme, credentials))
            }
            (Some(_), Some(other)) => {
                problems.push(other.problem("one of basic_auth and authorization is wanted"));
                None
            }
            (None, None) => None,
        }
    }

    pub(super) fn tls(
        &self,
        written: Option<Placed<FileTls>>,
        is_https: bool,
        problems: &mut Vec<Problem>,
    ) -> Tls {
        let Some(written) = written else {
            return Tls::default();
        };
        if !is_https {
            problems.push(written.problem("tls_config: the address is not https"));
        }
        let at = Placed {
            place: written.place,
            value: (),
        };
        let written = written.value;
        let identity = match (written.cert_file, written.key_file) {
            (Some(certificate), Some(key)) => Some((self.path(certificate), self.path(key))),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                problems.push(at.problem("tls_config: cert_file and key_file go together"));
                None
            }
        };
        Tls {
            ca_file: written.ca_file.map(|file| self.path(file)),
            identity,
            insecure_skip_verify: written.insecure_skip_verify,
        }
    }
}

/// Headers that the connection or the credentials need for themselves.
const TAKEN: [HeaderName; 4] = [AUTHORIZATION, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING];

pub(super) fn headers(
    written: BTreeMap<String, Placed<Secret>>,
    problems: &mut Vec<Problem>,
) -> Vec<(HeaderName, Secret)> {
    let mut headers = Vec::new();
    for (name, value) in written {
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) if !TAKEN.contains(&name) => headers.push((name, value.value)),
            _ => problems.push(value.problem(format!("headers: '{name}' cannot be set"))),
        }
    }
    headers
}

/// The labels of a target's series. One that has a name says so in `target`, so that its series
/// never mix with another's; a lone target without a name gives the series that Envoy would.
fn labels(target: &FileTarget, problems: &mut Vec<Problem>) -> Labels {
    let mut labels = Labels::new();
    if let Some(name) = &target.name {
        labels.set("target".to_owned(), name.clone());
    }
    for (label, value) in &target.labels {
        if !names::is_label_name(label) || label.starts_with("__") || label == "le" {
            problems.push(value.problem(format!("'{label}' is not a label name that may be set")));
        }
        if labels.set(label.clone(), value.value.clone()).is_some() {
            problems.push(value.problem("the label 'target' is set by the target's name"));
        }
    }
    labels
}
