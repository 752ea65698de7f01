//! The web configuration file, in the format of the Prometheus exporter-toolkit: TLS, users,
//! response headers and a rate limit.
//!
//! A path in, with what it refers to; out what connections and requests go by, ready to be used, or
//! every mistake with its place. What the toolkit accepts is accepted, and what it refuses is
//! refused; what cannot be had of rustls is refused where nothing would be left and else a warning.
//! Messages never show what stands in the file where a secret might.

mod clients;
mod names;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use serde::Deserialize;
use warp::http::{HeaderName, HeaderValue};

use super::auth::Users;
use super::rate::{self, Rate};
use crate::files::Files;
use crate::secret::Secret;
use crate::yaml::{self, Attempt, Placed, Problem};

/// A web configuration that cannot be used, with every reason, one line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct WebConfigError(pub Vec<String>);

/// What connections and requests go by.
#[derive(Debug, Default)]
pub(super) struct WebConfig {
    /// How connections are encrypted; none: not at all.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// Who may ask; none: everybody.
    pub(super) users: Users,
    /// Set on every response.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// How often may be asked.
    pub(super) rate: Option<Rate>,
    /// What is worth a second look.
    pub(super) warnings: Vec<String>,
}

/// The file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    tls_server_config: Attempt<Option<Placed<tls::FileTls>>>,
    http_server_config: Attempt<Option<FileHttp>>,
    basic_auth_users: Attempt<Option<BTreeMap<String, Attempt<Placed<Secret>>>>>,
    rate_limit: Attempt<Option<FileRate>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileHttp {
    http2: Attempt<Option<bool>>,
    headers: Attempt<Option<FileHeaders>>,
}

type FileHeaders = BTreeMap<String, Attempt<Placed<Option<String>>>>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileRate {
    interval: Attempt<Option<Placed<String>>>,
    burst: Attempt<Option<Placed<String>>>,
}

/// What mistakes and warnings are noted in while a file is worked through.
#[derive(Debug, Default)]
struct Notes {
    problems: Vec<Problem>,
    warnings: Vec<String>,
    files: Files,
}

impl Notes {
    fn take<T>(&mut self, attempt: Attempt<T>) -> Option<T> {
        attempt.take(&mut self.problems)
    }

    fn problem<T>(&mut self, at: &Placed<T>, reason: impl fmt::Display) {
        self.problems.push(at.problem(reason));
    }

    fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }
}

/// Reads a file and what it refers to; the files are given back whatever became of them.
pub(super) fn load(path: &Path) -> (Files, Result<WebConfig, WebConfigError>) {
    let mut notes = Notes::default();
    let shown = path.display();
    let text = match notes.files.read_text(path) {
        Ok(text) => text,
        Err(error) => {
            let error = WebConfigError(vec![format!("{shown}: {error}")]);
            return (notes.files, Err(error));
        }
    };
    let (file, problems) = yaml::read::<File>(&text);
    notes.problems.extend(problems);
    let file = file.unwrap_or_default();
    let directory = path.parent().unwrap_or(Path::new(""));
    let tls = notes.take(file.tls_server_config).flatten();
    let tls = tls.and_then(|tls| tls::resolve(tls, directory, &mut notes));
    let http = notes.take(file.http_server_config).flatten();
    let http = http.unwrap_or_default();
    // Responses are HTTP/1.1 in any case, which every client takes.
    let _ = notes.take(http.http2);
    let headers = notes.take(http.headers).flatten().unwrap_or_default();
    let headers = resolve_headers(headers, &mut notes);
    let users = notes.take(file.basic_auth_users).flatten();
    let users = resolve_users(users.unwrap_or_default(), &mut notes);
    let rate = notes.take(file.rate_limit).flatten().unwrap_or_default();
    let rate = resolve_rate(rate, &mut notes);
    if tls.is_none() && !users.is_empty() {
        notes.warn("passwords come in clear text: there are users, and no TLS");
    }
    if !notes.problems.is_empty() {
        notes.problems.sort();
        let lines = notes.problems.into_iter().map(Problem::redacted);
        let lines = lines.map(|problem| format!("{shown}:{problem}"));
        return (notes.files, Err(WebConfigError(lines.collect())));
    }
    let config = WebConfig {
        tls,
        users,
        headers,
        rate,
        warnings: notes.warnings,
    };
    (notes.files, Ok(config))
}

/// The headers that may be set, with the values that they may have; none: any.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

fn resolve_headers(written: FileHeaders, notes: &mut Notes) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for (name, attempt) in written {
        let Some(written) = notes.take(attempt) else {
            continue;
        };
        let Some((_, allowed)) = HEADERS.iter().find(|(have, _)| *have == name) else {
            let names: Vec<_> = HEADERS.iter().map(|(name, _)| *name).collect();
            let names = names.join(", ");
            notes.problem(
                &written,
                format!("headers: '{name}' cannot be configured; what can is {names}"),
            );
            continue;
        };
        // One that is blank is not set.
        let Some(text) = written.value.as_deref().filter(|text| !text.is_empty()) else {
            continue;
        };
        if !allowed.is_empty() && !allowed.contains(&text) {
            let allowed = allowed.join(", ");
            notes.problem(
                &written,
                format!("headers: {name}: '{text}' is none of {allowed}"),
            );
            continue;
        }
        match (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(text),
        ) {
            (Ok(name), Ok(value)) => headers.push((name, value)),
            _ => notes.problem(
                &written,
                format!("headers: {name}: the value is not one that a header can have"),
            ),
        }
    }
    headers
}

fn resolve_users(written: BTreeMap<String, Attempt<Placed<Secret>>>, notes: &mut Notes) -> Users {
    let mut users = Users::default();
    for (name, attempt) in written {
        let Some(hash) = notes.take(attempt) else {
            continue;
        };
        if name.contains(':') {
            // A client has no way to send such a name.
            notes.problem(&hash, format!("basic_auth_users: '{name}' holds a colon"));
        }
        if let Err(reason) = users.add(name.clone(), &hash.value) {
            notes.problem(&hash, format!("basic_auth_users: {name}: {reason}"));
        }
    }
    users
}

fn resolve_rate(written: FileRate, notes: &mut Notes) -> Option<Rate> {
    let interval = notes.take(written.interval).flatten();
    let interval = interval.and_then(|written| {
        let parsed = rate::parse_interval(&written.value);
        parsed
            .map_err(|reason| notes.problem(&written, format!("rate_limit.interval: {reason}")))
            .ok()
    });
    let burst = notes.take(written.burst).flatten();
    let burst = burst.and_then(|written| {
        let parsed = written.value.parse::<u32>();
        let reason = format!("rate_limit.burst: '{}' is no whole number", written.value);
        parsed.map_err(|_| notes.problem(&written, reason)).ok()
    });
    let interval = interval.filter(|interval| *interval > Duration::ZERO)?;
    let burst = burst.unwrap_or(0);
    if burst == 0 {
        notes.warn("rate_limit: with a burst of 0 every request is refused");
    }
    Some(Rate { interval, burst })
}
