//! How a target's answers are had: over http, https or a unix socket, or from the files of a saved
//! capture.
//!
//! Only fixed paths are ever asked for, with GET. One request is under way at a time, since a
//! [`Transport`] is borrowed for it; the caller's deadline covers all of it, from the connection to
//! the last byte; a body above the limit is an error as soon as it is one. Redirects are not
//! followed and proxies of the environment are not used: the address that was configured is the
//! only one that is ever connected to.

pub mod access;
mod address;
mod client;
mod query;

use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, timeout_at};

use crate::decode;
use crate::demo::Demo;
use crate::files::Files;
use crate::telemetry::Outcome;

use access::Access;

pub use address::{AddressError, AdminAddress};
pub use client::{client_for, local_client};
pub use query::{Query, Selection};

use client::{client, client_builder};

/// How much of the body of an error status a message shows.
const EXCERPT: usize = 200;

/// Piece in which a file is read.
const PIECE: usize = 256 * 1024;

/// What holds for every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Largest body in bytes.
    pub max_body: u64,
    /// Which stats are asked for.
    pub selection: Selection,
    /// What the other end asks of who asks it.
    pub access: Access,
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

impl Error {
    /// The outcome to count.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Setup { .. } | Self::Connect { .. } => Outcome::Connect,
            Self::Timeout { .. } => Outcome::Timeout,
            Self::Status { .. } => Outcome::Status,
            Self::TooLarge { .. } => Outcome::TooLarge,
            Self::Read { .. } | Self::Missing { .. } => Outcome::Read,
        }
    }
}

/// The way to one target.
#[derive(Debug)]
pub struct Transport {
    address: AdminAddress,
    options: Options,
    source: Source,
    /// What the access refers to.
    files: Files,
    /// What is wrong with their newest contents.
    complaint: Option<String>,
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
        let mut files = Files::default();
        Ok(Self {
            source: source(&address, &options, &mut files)?,
            address,
            options,
            files,
            complaint: None,
        })
    }

    /// Whether a server answers now, and no capture does.
    pub fn is_live(&self) -> bool {
        matches!(self.source, Source::Http { .. })
    }

    /// Host and port where the target is reached by TCP.
    pub fn tcp_address(&self) -> Option<(String, u16)> {
        let AdminAddress::Url(url) = &self.address else {
            return None;
        };
        Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
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
        let take = |piece: &[u8]| {
            body.extend_from_slice(piece);
            ControlFlow::Continue(())
        };
        self.stream(query, deadline, take).await.map(drop)
    }

    /// Hands over the answer in pieces as it comes, until `take` has enough; gives its size. What is
    /// no success hands over nothing.
    pub async fn stream(
        &mut self,
        query: Query,
        deadline: Instant,
        take: impl FnMut(&[u8]) -> ControlFlow<()> + Send,
    ) -> Result<u64, Error> {
        let request = Request {
            query,
            address: &self.address,
            limit: self.options.max_body,
        };
        let mut pieces = Pieces {
            request,
            size: 0,
            take,
        };
        let fetched = async {
            match &self.source {
                Source::Http { client, base } => {
                    let mut url = base.clone();
                    query.set_on(&mut url, &self.options.selection);
                    request.fetch(client, url, &mut pieces).await
                }
                Source::File(dir) => request.read_file(dir, &mut pieces).await,
                Source::Demo(demo) => {
                    let mut body = Vec::new();
                    demo.answer(query, &mut body)
                        .map_err(|error: decode::Error| request.broken(error.to_string()))?;
                    pieces.push(&body).map(drop)
                }
            }
        };
        timeout_at(deadline, fetched)
            .await
            .unwrap_or_else(|_| Err(request.timeout()))?;
        Ok(pieces.size)
    }
}

/// The pieces of an answer on their way to whom they are for.
struct Pieces<'r, F> {
    request: Request<'r>,
    size: u64,
    take: F,
}

impl<F: FnMut(&[u8]) -> ControlFlow<()> + Send> Pieces<'_, F> {
    fn push(&mut self, piece: &[u8]) -> Result<ControlFlow<()>, Error> {
        self.size += piece.len() as u64;
        if self.size > self.request.limit {
            return Err(Error::TooLarge {
                query: self.request.query.name(),
                address: self.request.address.to_string(),
                limit: self.request.limit,
            });
        }
        Ok((self.take)(piece))
    }
}

/// The way to an address; what is read for it is remembered in `files`.
fn source(address: &AdminAddress, options: &Options, files: &mut Files) -> Result<Source, Error> {
    let mut client = |builder| client(address, builder, &options.access, files);
    Ok(match address {
        AdminAddress::Url(url) => Source::Http {
            client: client(client_builder(url.scheme() == "https"))?,
            base: url.clone(),
        },
        AdminAddress::Unix(path) => Source::Http {
            client: client(client_builder(false).unix_socket(path.clone()))?,
            base: unix_base(address)?,
        },
        AdminAddress::File(path) => Source::File(path.clone()),
        AdminAddress::Demo => Source::Demo(Demo::new()),
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
    async fn fetch<F: FnMut(&[u8]) -> ControlFlow<()> + Send>(
        self,
        client: &reqwest::Client,
        url: reqwest::Url,
        pieces: &mut Pieces<'_, F>,
    ) -> Result<(), Error> {
        let ask = || {
            let request = client.get(url.clone());
            request.header("accept", "application/json").send()
        };
        let mut response = match ask().await {
            // A connection that was kept may end as it is used again: that says nothing of the target.
            Err(error) if is_gone(&error) => ask().await,
            answered => answered,
        }
        .map_err(|error| self.failed(&error))?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(self.refused(response).await);
        }
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|error| self.failed(&error))?
        {
            if pieces.push(&piece)?.is_break() {
                break;
            }
        }
        Ok(())
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

    async fn read_file<F: FnMut(&[u8]) -> ControlFlow<()> + Send>(
        self,
        dir: &Path,
        pieces: &mut Pieces<'_, F>,
    ) -> Result<(), Error> {
        let path = dir.join(self.query.file_name());
        // Looked at before it is opened: opening a pipe would wait for its other end.
        let metadata = match tokio::fs::metadata(&path).await {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound && dir.is_dir() => {
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
        let broken = |error: io::Error| self.broken(format!("{}: {error}", path.display()));
        let mut file = tokio::fs::File::open(&path).await.map_err(broken)?;
        let mut piece = vec![0; PIECE];
        loop {
            let count = file.read(&mut piece).await.map_err(broken)?;
            let piece = piece.get(..count).unwrap_or_default();
            if count == 0 || pieces.push(piece)?.is_break() {
                return Ok(());
            }
        }
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

/// Whether the connection ended before any of the answer came.
fn is_gone(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<hyper::Error>()
            && error.is_incomplete_message()
        {
            return true;
        }
        if let Some(error) = cause.downcast_ref::<io::Error>()
            && matches!(
                error.kind(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            )
        {
            return true;
        }
        source = cause.source();
    }
    false
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
