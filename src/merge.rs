//! Merging: expositions of others on this machine, read on a timer or when a scrape asks, and served
//! with ours.
//!
//! Each source is a task of its own with a client of its own, so that one that is slow, broken or
//! gone holds up neither polls of Envoy nor scrapes: its last good families are served until they
//! are stale. What may stand beside the proxy's families and the exporter's own is settled by the
//! [`Gate`] for each set of snapshots that meet in a scrape.
//!
//! Only loopback addresses and unix sockets are asked, redirects are not followed, and `localhost` is
//! what it is by its name, whatever a resolver says.

mod gate;
mod source;
mod url;

use std::time::Duration;

use crate::foreign::Bounds;
use crate::names::Labels;

pub use gate::{Admitted, Gate};
pub use source::{Error, Handle, Last, Task, View};
pub use url::{SourceUrl, UrlError};

/// How many sources there may be: a scrape has all of them.
pub const MOST: usize = 8;

/// The label that a source's name is attached as, unless it says otherwise.
pub const LABEL: &str = "source";

/// Largest exposition that is read: some hundred thousand series.
pub const BODY: u64 = 16 * 1024 * 1024;

/// Series of a source: ten times those of a node exporter.
pub const SERIES: usize = 20_000;

/// Header of our requests: who answers one leaves out what it merges itself, so that two exporters
/// that merge each other, or one that merges itself, come to an end.
pub const HEADER: &str = "x-envoy-exporter-merge";

/// A source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Its name in own metrics and logs.
    pub name: String,
    /// Where it is.
    pub url: SourceUrl,
    /// Attached to each of its series.
    pub labels: Labels,
    /// Time from the start of a poll to the start of the next; zero: when a reader asks.
    pub interval: Duration,
    /// Time for one poll.
    pub timeout: Duration,
    /// Age above which its families are not served.
    pub stale_after: Duration,
    /// Largest body in bytes.
    pub max_body: u64,
    /// Bounds on what is in it.
    pub bounds: Bounds,
}

impl Options {
    /// Whether no series of one can be a series of the other: both attach a label, and not the same
    /// value.
    pub fn is_apart_from(&self, other: &Self) -> bool {
        let mut labels = self.labels.iter();
        labels.any(|(name, value)| {
            let theirs = other.labels.value(name);
            theirs.is_some_and(|theirs| theirs != value)
        })
    }
}
