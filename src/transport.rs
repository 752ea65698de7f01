//! How a target's answers are had: over http, https or a unix socket, or from the files of a saved
//! capture.
//!
//! Only fixed paths are ever asked for, with GET. One request is under way at a time, since a
//! [`Transport`] is borrowed for it; the caller's deadline covers all of it, from the connection to
//! the last byte; a body above the limit is an error as soon as it is one. Redirects are not
//! followed and proxies of the environment are not used: the address that was configured is the
//! only one that is ever connected to.

use std::error::Error as _;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, timeout_at};

use crate::decode;
use crate::demo::Demo;

/// How much of the body of an error status a message shows.
const EXCERPT: usize = 200;

/// Piece in which a file is read.
const PIECE: usize = 256 * 1024;

/// Where a target's admin interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// `http://` or `https://`, without a path.
    Url(reqwest::Url),
    /// A unix socket.
    Unix(PathBuf),
    /// The directory of a capture.
    File(PathBuf),
    /// The capture inside the program. Not to be had from text.
    Demo,
}

/// An address that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("'{address}' is no admin address: {reason}")]
pub struct AddressError {
    address: String,
    reason: String,
}

impl FromStr for AdminAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |reason: &str| AddressError {
            address: text.to_owned(),
            reason: reason.to_owned(),
        };
        let path = |path: &str| {
            if path.starts_with('/') {
                Ok(PathBuf::from(path))
            } else {
                Err(error("the path after the scheme must start with /"))
            }
        };
        if let Some(rest) = text.strip_prefix("unix://") {
            return path(rest).map(Self::Unix);
        }
        if let Some(rest) = text.strip_prefix("file://") {
            return path(rest).map(Self::File);
        }
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Err(error(
                "it starts with none of http://, https://, unix:// and file://",
            ));
        }
        let url: reqwest::Url = text.parse().map_err(|_| error("the URL is not valid"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(error("a user or password is not taken here"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(error(
                "only scheme, host and port are taken; the paths are fixed",
            ));
        }
        Ok(Self::Url(url))
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url.as_str().trim_end_matches('/')),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::File(path) => write!(f, "file://{}", path.display()),
            Self::Demo => f.write_str("demo"),
        }
    }
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// Counters.
    Counters,
    /// Gauges.
    Gauges,
    /// Text readouts.
    TextReadouts,
    /// Histograms in their detailed form.
    Histograms,
    /// Histograms with cumulative buckets, which show the bounds in force.
    HistogramBounds,
    /// Clusters and their endpoints.
    Clusters,
    /// Certificates.
    Certs,
    /// Version and state of the server.
    ServerInfo,
    /// Listeners.
    Listeners,
    /// Stats of all types in one. Only a capture may have nothing else.
    AllStats,
}

impl Query {
    /// What a capture holds.
    pub const CAPTURED: [Self; 9] = [
        Self::Counters,
        Self::Gauges,
        Self::TextReadouts,
        Self::Histograms,
        Self::HistogramBounds,
        Self::Clusters,
        Self::Certs,
        Self::ServerInfo,
        Self::Listeners,
    ];

    /// What messages call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counters => "counters",
            Self::Gauges => "gauges",
            Self::TextReadouts => "text readouts",
            Self::Histograms => "histograms",
            Self::HistogramBounds => "histogram bounds",
            Self::Clusters => "clusters",
            Self::Certs => "certs",
            Self::ServerInfo => "server info",
            Self::Listeners => "listeners",
            Self::AllStats => "stats",
        }
    }

    /// Its file in a capture.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Counters => "counters.json",
            Self::Gauges => "gauges.json",
            Self::TextReadouts => "text_readouts.json",
            Self::Histograms => "histograms.json",
            Self::HistogramBounds => "stats_cumulative.json",
            Self::Clusters => "clusters.json",
            Self::Certs => "certs.json",
            Self::ServerInfo => "server_info.json",
            Self::Listeners => "listeners.json",
            Self::AllStats => "stats.json",
        }
    }

    /// Whether a poll cannot do without it.
    pub const fn is_required(self) -> bool {
        matches!(
            self,
            Self::Counters | Self::Gauges | Self::TextReadouts | Self::Histograms
        )
    }

    /// Path and parameters. Envoy's flags count by being there, whatever their value.
    fn set_on(self, url: &mut reqwest::Url, selection: &Selection) {
        let (path, stat_type, buckets) = match self {
            Self::Counters => ("/stats", Some("Counters"), None),
            Self::Gauges => ("/stats", Some("Gauges"), None),
            Self::TextReadouts => ("/stats", Some("TextReadouts"), None),
            Self::Histograms => ("/stats", Some("Histograms"), Some("detailed")),
            Self::HistogramBounds => ("/stats", Some("Histograms"), Some("cumulative")),
            Self::AllStats => ("/stats", Some("All"), None),
            Self::Clusters => ("/clusters", None, None),
            Self::Listeners => ("/listeners", None, None),
            Self::Certs => ("/certs", None, None),
            Self::ServerInfo => ("/server_info", None, None),
        };
        url.set_path(path);
        if matches!(self, Self::Certs | Self::ServerInfo) {
            return;
        }
        let mut pairs = url.query_pairs_mut();
        pairs.append_pair("format", "json");
        if let Some(stat_type) = stat_type {
            pairs.append_pair("type", stat_type);
            if let Some(buckets) = buckets {
                pairs.append_pair("histogram_buckets", buckets);
            }
            if selection.used_only {
                pairs.append_key_only("usedonly");
            }
            if let Some(filter) = &selection.filter {
                pairs.append_pair("filter", filter);
            }
        }
    }
}

/// Which stats are asked for.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only those that were ever written.
    pub used_only: bool,
    /// Only those whose name the regex finds.
    pub filter: Option<String>,
}

/// What holds for every request.
#[derive(Clone, Debug)]
pub struct Options {
    /// Largest body in bytes.
    pub max_body: u64,
    /// Which stats are asked for.
    pub selection: Selection,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client could not be set up.
    #[error("{address}: the HTTP client cannot be set up: {reason}")]
    Setup {
        /// The target.
        address: String,
        /// The cause.
        reason: String,
    },
    /// No connection.
    #[error("{query} from {address}: cannot connect: {reason}")]
    Connect {
        /// The request.
        query: &'static str,
        /// The target.
        address: String,
        /// The cause.
        reason: String,
    },
    /// The deadline passed.
    #[error("{query} from {address}: not answered within the time for a poll")]
    Timeout {
        /// The request.
        query: &'static str,
        /// The target.
        address: String,
    },
    /// Another status than 200.
    #[error("{query} from {address}: answered with status {status}: {excerpt:?}")]
    Status {
        /// The request.
        query: &'static str,
        /// The target.
        address: String,
        /// The status.
        status: u16,
        /// The start of the body, or where a redirect leads.
        excerpt: String,
    },
    /// A body above the limit.
    #[error("{query} from {address}: the answer is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The request.
        query: &'static str,
        /// The target.
        address: String,
        /// The limit.
        limit: u64,
    },
    /// An answer that broke off, or a file that cannot be read.
    #[error("{query} from {address}: {reason}")]
    Read {
        /// The request.
        query: &'static str,
        /// The target.
        address: String,
        /// The cause.
        reason: String,
    },
    /// A capture without this file.
    #[error("{query} from {address}: the capture has no file {file}")]
    Missing {
        /// The request.
        query: &'static str,
        /// The capture.
        address: String,
        /// The file.
        file: &'static str,
    },
}

/// The kinds of [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No connection.
    Connect,
    /// The deadline passed.
    Timeout,
    /// Another status than 200.
    Status,
    /// A body above the limit.
    TooLarge,
    /// An answer that broke off, or a file that cannot be read.
    Read,
}

impl Error {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Setup { .. } | Self::Connect { .. } => Kind::Connect,
            Self::Timeout { .. } => Kind::Timeout,
            Self::Status { .. } => Kind::Status,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::Read { .. } | Self::Missing { .. } => Kind::Read,
        }
    }
}

/// The way to one target.
#[derive(Debug)]
pub struct Transport {
    address: AdminAddress,
    options: Options,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Http {
        client: reqwest::Client,
        base: reqwest::Url,
    },
    File(PathBuf),
    Demo(Demo),
}

impl Transport {
    /// Sets a way up; nothing is connected or read yet.
    pub fn open(address: AdminAddress, options: Options) -> Result<Self, Error> {
        let source = match &address {
            AdminAddress::Url(url) => Source::Http {
                client: client(&address, client_builder())?,
                base: url.clone(),
            },
            AdminAddress::Unix(path) => Source::Http {
                client: client(&address, client_builder().unix_socket(path.clone()))?,
                base: unix_base(&address)?,
            },
            AdminAddress::File(path) => Source::File(path.clone()),
            AdminAddress::Demo => Source::Demo(Demo::new()),
        };
        Ok(Self {
            address,
            options,
            source,
        })
    }

    /// Whether this is a capture that holds stats of all types in one file and no others.
    pub fn has_only_all_stats(&self) -> bool {
        let Source::File(dir) = &self.source else {
            return false;
        };
        let has = |query: Query| dir.join(query.file_name()).exists();
        has(Query::AllStats) && !has(Query::Counters)
    }

    /// Reads the whole answer into `body`, which is cleared first.
    pub async fn fetch(
        &mut self,
        query: Query,
        body: &mut Vec<u8>,
        deadline: Instant,
    ) -> Result<(), Error> {
        body.clear();
        let request = Request {
            query,
            address: &self.address,
            limit: self.options.max_body,
        };
        let fetched = async {
            match &self.source {
                Source::Http { client, base } => {
                    let mut url = base.clone();
                    query.set_on(&mut url, &self.options.selection);
                    request.fetch(client, url, body).await
                }
                Source::File(dir) => request.read_file(dir, body).await,
                Source::Demo(demo) => demo
                    .answer(query, body)
                    .map_err(|error: decode::Error| request.broken(error.to_string())),
            }
        };
        timeout_at(deadline, fetched)
            .await
            .unwrap_or_else(|_| Err(request.timeout()))
    }
}

fn client_builder() -> reqwest::ClientBuilder {
    // One TLS provider for the whole program; a second call finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(1)
        .user_agent(concat!("envoy-exporter/", env!("CARGO_PKG_VERSION")))
}

fn client(
    address: &AdminAddress,
    builder: reqwest::ClientBuilder,
) -> Result<reqwest::Client, Error> {
    builder.build().map_err(|error| Error::Setup {
        address: address.to_string(),
        reason: causes(&error),
    })
}

/// The host is only what the header says; the socket is fixed.
fn unix_base(address: &AdminAddress) -> Result<reqwest::Url, Error> {
    "http://localhost/".parse().map_err(|_| Error::Setup {
        address: address.to_string(),
        reason: "no URL for a unix socket".to_owned(),
    })
}

/// A request under way.
#[derive(Clone, Copy)]
struct Request<'r> {
    query: Query,
    address: &'r AdminAddress,
    limit: u64,
}

impl Request<'_> {
    async fn fetch(
        self,
        client: &reqwest::Client,
        url: reqwest::Url,
        body: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let request = client.get(url).header("accept", "application/json");
        let mut response = request.send().await.map_err(|error| self.failed(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(self.refused(response).await);
        }
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.failed(&error))?
        {
            self.push(body, &chunk)?;
        }
        if status == reqwest::StatusCode::OK {
            Ok(())
        } else {
            Err(self.status(status.as_u16(), String::from_utf8_lossy(body).into_owned()))
        }
    }

    /// Describes an answer that is none, from where it leads or the start of its body.
    async fn refused(self, mut response: reqwest::Response) -> Error {
        let status = response.status().as_u16();
        let location = response.headers().get("location");
        if let Some(location) = location.and_then(|location| location.to_str().ok()) {
            return self.status(status, format!("redirect to {location}"));
        }
        let mut start = Vec::new();
        while start.len() < EXCERPT {
            match response.chunk().await {
                Ok(Some(chunk)) => start.extend_from_slice(&chunk),
                Ok(None) | Err(_) => break,
            }
        }
        start.truncate(EXCERPT);
        self.status(status, String::from_utf8_lossy(&start).into_owned())
    }

    async fn read_file(self, dir: &Path, body: &mut Vec<u8>) -> Result<(), Error> {
        let path = dir.join(self.query.file_name());
        // Looked at before it is opened: opening a pipe would wait for its other end.
        let metadata = match tokio::fs::metadata(&path).await {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && dir.is_dir() => {
                return Err(Error::Missing {
                    query: self.query.name(),
                    address: self.address.to_string(),
                    file: self.query.file_name(),
                });
            }
            Err(error) => return Err(self.broken(format!("{}: {error}", path.display()))),
        };
        if !metadata.is_file() {
            return Err(self.broken(format!("{} is not a regular file", path.display())));
        }
        let broken = |error: std::io::Error| self.broken(format!("{}: {error}", path.display()));
        let mut file = tokio::fs::File::open(&path).await.map_err(broken)?;
        let mut piece = vec![0; PIECE];
        loop {
            let count = file.read(&mut piece).await.map_err(broken)?;
            if count == 0 {
                return Ok(());
            }
            self.push(body, piece.get(..count).unwrap_or_default())?;
        }
    }

    fn push(self, body: &mut Vec<u8>, chunk: &[u8]) -> Result<(), Error> {
        if (body.len() + chunk.len()) as u64 > self.limit {
            return Err(Error::TooLarge {
                query: self.query.name(),
                address: self.address.to_string(),
                limit: self.limit,
            });
        }
        body.extend_from_slice(chunk);
        Ok(())
    }

    fn failed(self, error: &reqwest::Error) -> Error {
        if error.is_timeout() {
            self.timeout()
        } else if error.is_connect() {
            Error::Connect {
                query: self.query.name(),
                address: self.address.to_string(),
                reason: causes(error),
            }
        } else {
            self.broken(causes(error))
        }
    }

    fn timeout(self) -> Error {
        Error::Timeout {
            query: self.query.name(),
            address: self.address.to_string(),
        }
    }

    fn status(self, status: u16, excerpt: String) -> Error {
        Error::Status {
            query: self.query.name(),
            address: self.address.to_string(),
            status,
            excerpt,
        }
    }

    fn broken(self, reason: String) -> Error {
        Error::Read {
            query: self.query.name(),
            address: self.address.to_string(),
            reason,
        }
    }
}

/// The innermost causes: reqwest's own message says little more than that there was an error.
pub(crate) fn causes(error: &reqwest::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
        source = cause.source();
    }
    if texts.is_empty() {
        error.to_string()
    } else {
        texts.join(": ")
    }
}

#[cfg(test)]
mod tests;
