//! The Pushgateway: what a scrape would get, put there on a timer and taken away at the end.
//!
//! The grouping key stands in the address, with the values that no path can hold as base64. The
//! Pushgateway sets its labels on every series that it gets, whatever they had: a series that has
//! one of them already would change, and two of them may become one, so nothing is pushed then.
//! Only the newest data is of interest there, so that nothing waits: what failed is tried again
//! with what is known by then.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use futures_util::future::join_all;
use hashbrown::HashSet;
use prometheus::proto::{Metric, MetricFamily};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::client::{Client, Endpoint, Failure, Outgoing, SetupError};
use super::{Feed, Way};
use crate::exposition::{Body, Selection, Shape, own};
use crate::merge;
use crate::names::Labels;
use crate::negotiate::Format;
use crate::poll::Handle;
use crate::snapshot::{Layout, Snapshot};
use crate::telemetry::PushOutcome;

/// The first time between attempts; the last is the interval.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Time for everything that is done at the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Where and how is pushed.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The group, with the address that [`group_url`] makes.
    pub endpoint: Endpoint,
    /// The labels of the grouping key besides the job.
    pub grouping: Labels,
    /// What becomes of families that are not pushed any more.
    pub replace: Replace,
    /// Time between pushes.
    pub interval: Duration,
    /// Text or protobuf.
    pub format: Format,
    /// Take the group away when the program stops.
    pub delete_on_shutdown: bool,
}

/// What a push replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replace {
    /// The whole group: PUT.
    #[default]
    Group,
    /// Families of the same name: POST.
    Families,
}

/// The address of a group: `<base>/metrics/job/<job>{/<label>/<value>}`.
pub fn group_url(base: &Url, job: &str, grouping: &Labels) -> Result<Url, String> {
    let mut text = base.as_str().trim_end_matches('/').to_owned();
    text.push_str("/metrics");
    let job = std::iter::once(("job", job));
    for (name, value) in job.chain(grouping.iter()) {
        text.push('/');
        text.push_str(name);
        // What a path cannot hold, or what URL libraries and routers take for something else.
        if value.is_empty() || value.contains('/') || matches!(value, "." | "..") {
            text.push_str("@base64/");
            let encoded = URL_SAFE.encode(value);
            text.push_str(if encoded.is_empty() { "=" } else { &encoded });
        } else {
            text.push('/');
            push_percent_encoded(&mut text, value);
        }
    }
    text.parse().map_err(|error| format!("'{text}': {error}"))
}

fn push_percent_encoded(out: &mut String, text: &str) {
    use std::fmt::Write as _;
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// Pushing under way.
#[derive(Debug)]
pub(super) struct Running {
    options: Options,
    stop: watch::Sender<Option<End>>,
    task: JoinHandle<()>,
}

/// What is done at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The group is taken away, or gets the last values.
    Whole,
    /// Another task goes on with the group.
    HandOver,
}

impl Running {
    pub(super) fn start(options: Options, feed: &Feed) -> Result<Self, SetupError> {
        let telemetry = Arc::clone(&feed.telemetry);
        let pusher = Pusher {
            client: Client::new(options.endpoint.clone(), Way::Pushgateway, telemetry)?,
            options: options.clone(),
            feed: feed.clone(),
            checked: Vec::new(),
            clashing: Vec::new(),
        };
        let (stop, stopped) = watch::channel(None);
        Ok(Self {
            options,
            stop,
            task: tokio::spawn(pusher.run(stopped)),
        })
    }

    /// Whether these options are of the same group.
    pub(super) fn is_of(&self, options: &Options) -> bool {
        self.options.endpoint.url == options.endpoint.url
    }

    /// Ends after the push under way.
    pub(super) async fn stop(mut self, end: End) {
        self.stop.send_replace(Some(end));
        let ended = tokio::time::timeout(STOP_TIMEOUT, &mut self.task).await;
        if ended.is_err() {
            tracing::warn!("the Pushgateway did not answer in time; what it has stays there");
            self.task.abort();
        }
    }
}

struct Pusher {
    client: Client,
    options: Options,
    feed: Feed,
    /// Layouts that have no label of the grouping key.
    checked: Vec<Arc<Layout>>,
    /// Sources that are not pushed, and for which label.
    clashing: Vec<(String, String)>,
}

impl Pusher {
    async fn run(mut self, mut stopped: watch::Receiver<Option<End>>) {
        let interval = self.options.interval;
        tokio::select! {
            () = first_polls(&self.feed.targets, interval) => {}
            _ = stopped.wait_for(Option::is_some) => {}
        }
        let mut backoff = Backoff::new(FIRST_WAIT, interval);
        let mut next = Instant::now();
        let end = loop {
            if let Some(end) = *stopped.borrow() {
                break end;
            }
            next += interval;
            let wait = match self.push().await {
                Ok(()) => {
                    backoff = Backoff::new(FIRST_WAIT, interval);
                    next
                }
                Err(failure) if failure.is_final() => next,
                Err(failure) => Instant::now() + backoff.wait(failure.retry_after),
            };
            // What took longer than the interval is not made up for.
            next = next.max(Instant::now());
            tokio::select! {
                () = tokio::time::sleep_until(wait) => {}
                _ = stopped.wait_for(Option::is_some) => {}
            }
        };
        if end == End::Whole {
            self.end().await;
        }
    }

    async fn end(&mut self) {
        if self.options.delete_on_shutdown {
            let empty = Outgoing::whole(bytes::Bytes::new());
            let deleted = self.client.send(Method::DELETE, HeaderMap::new(), empty);
            if deleted.await.is_ok() {
                tracing::info!("took the group out of the Pushgateway");
            }
        } else {
            let _ = self.push().await;
        }
    }

    async fn push(&mut self) -> Result<(), Failure> {
        let on_demand = self
            .feed
            .targets
            .iter()
            .filter(|target| target.is_on_demand());
        let sources = self.feed.sources.iter();
        let sources = sources.filter(|source| source.is_on_demand());
        tokio::join!(
            join_all(on_demand.map(Handle::polled)),
            join_all(sources.map(merge::Handle::polled)),
        );
        let targets = self.feed.targets.iter();
        let mut snapshots: Vec<_> = targets
            .filter_map(Handle::fresh)
            .flat_map(|last| last.snapshots().cloned().collect::<Vec<_>>())
            .collect();
        let sources = self.sources();
        let admitted = self.feed.gate.admit(&snapshots, &sources);
        let mut gathered = self.feed.telemetry.gather();
        if let Some(label) = self.clash(&snapshots, &gathered) {
            let reason = format!("series have the label '{label}', which the grouping key sets");
            let failure = Failure::new(PushOutcome::Clash, reason);
            self.client.refused(&failure);
            return Err(failure);
        }
        snapshots.extend(admitted.snapshots);
        own::join(&mut gathered, &admitted.with_own);
        let format = self.options.format;
        let selection = Selection::default();
        let mut end = Vec::new();
        own::write(&mut end, &gathered, &selection, format);
        let shape = Shape {
            format,
            histograms: self.feed.histograms,
            reserved: Arc::clone(&self.feed.reserved),
        };
        let body = Body::new(snapshots, &shape, &selection, end);
        let method = match self.options.replace {
            Replace::Group => Method::PUT,
            Replace::Families => Method::POST,
        };
        let mut headers = HeaderMap::new();
        let content_type = HeaderValue::from_static(match format {
            Format::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited"
            }
            _ => "text/plain; version=0.0.4",
        });
        headers.insert(CONTENT_TYPE, content_type);
        self.client
            .send(method, headers, Outgoing::pieces(body))
            .await
    }

    /// The sources that can be pushed. One that has a label of the grouping key is left out alone:
    /// what others expose is to keep nothing of ours from being pushed.
    fn sources(&mut self) -> Vec<merge::Handle> {
        let mut fits = Vec::new();
        let mut clashing = Vec::new();
        for source in &self.feed.sources {
            let label = source.fresh().and_then(|last| {
                let mut names = label_names(last.snapshot.layout());
                names.find(|name| is_key(&self.options, name))
            });
            match label {
                Some(label) => clashing.push((source.name().to_owned(), label)),
                None => fits.push(source.clone()),
            }
        }
        if clashing != self.clashing {
            for (source, label) in &clashing {
                tracing::warn!(
                    source,
                    label,
                    "the source is not pushed: its series have a label that the grouping key sets"
                );
            }
            self.clashing = clashing;
        }
        fits
    }

    /// A label of the grouping key that a series has. Looked for once in a layout.
    fn clash(&mut self, snapshots: &[Arc<Snapshot>], own: &[MetricFamily]) -> Option<String> {
        let known = std::mem::take(&mut self.checked);
        let is_key = |name: &str| is_key(&self.options, name);
        let own = own.iter().flat_map(MetricFamily::get_metric);
        let mut own = own.flat_map(Metric::get_label);
        if let Some(label) = own.find(|label| is_key(label.name())) {
            return Some(label.name().to_owned());
        }
        for snapshot in snapshots {
            let layout = snapshot.layout();
            if !known.iter().any(|have| Arc::ptr_eq(have, layout)) {
                let names: HashSet<String> = label_names(layout).collect();
                if let Some(label) = names.into_iter().find(|name| is_key(name)) {
                    return Some(label);
                }
            }
            self.checked.push(Arc::clone(layout));
        }
        None
    }
}

/// Whether the grouping key sets a label.
fn is_key(options: &Options, name: &str) -> bool {
    name == "job" || options.grouping.value(name).is_some()
}

fn label_names(layout: &Layout) -> impl Iterator<Item = String> {
    layout.label_blocks().flat_map(|block| {
        let labels = Labels::from_block(block);
        let names: Vec<_> = labels.iter().map(|(name, _)| name.to_owned()).collect();
        names
    })
}

/// Waits until every target was polled once, and at most for an interval.
async fn first_polls(targets: &[Handle], most: Duration) {
    let polled = targets.iter().map(|target| async {
        let mut view = target.watch();
        // An error means that the target is no longer polled.
        let _ = view
            .wait_for(|view| view.polls > 0 || target.is_on_demand())
            .await;
    });
    let _ = tokio::time::timeout(most, join_all(polled)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(base: &str, job: &str, grouping: &[(&str, &str)], want: &str) {
        let mut labels = Labels::new();
        for (name, value) in grouping {
            labels.set((*name).to_owned(), (*value).to_owned());
        }
        let url = group_url(&base.parse().unwrap(), job, &labels).unwrap();
        assert_eq!(url.as_str(), want, "{job:?} {grouping:?}");
    }

    #[test]
    fn addresses_of_groups() {
        let base = "http://push:9091";
        check(base, "envoy", &[], "http://push:9091/metrics/job/envoy");
        check(
            "http://push/prefix/",
            "envoy",
            &[("zone", "eu"), ("instance", "a:1")],
            "http://push/prefix/metrics/job/envoy/instance/a%3A1/zone/eu",
        );
        // The examples of the Pushgateway's documentation.
        check(
            base,
            "directory_cleaner",
            &[("path", "/var/tmp")],
            "http://push:9091/metrics/job/directory_cleaner/path@base64/L3Zhci90bXA=",
        );
        check(
            base,
            "titan",
            &[(
                "name",
                "\u{3a0}\u{3c1}\u{3bf}\u{3bc}\u{3b7}\u{3b8}\u{3b5}\u{3cd}\u{3c2}",
            )],
            "http://push:9091/metrics/job/titan/name/%CE%A0%CF%81%CE%BF%CE%BC%CE%B7%CE%B8%CE%B5%CF%8D%CF%82",
        );
        for (value, want) in [
            ("", "x@base64/="),
            ("/", "x@base64/Lw=="),
            (".", "x@base64/Lg=="),
            ("..", "x@base64/Li4="),
            ("...", "x/..."),
            ("a b", "x/a%20b"),
            ("a%2Fb", "x/a%252Fb"),
            ("a\\b", "x/a%5Cb"),
            ("a?b#c", "x/a%3Fb%23c"),
            ("a\n\tb", "x/a%0A%09b"),
            ("a+b", "x/a%2Bb"),
            ("\u{ff}/\u{ff}", "x@base64/w78vw78="),
            ("~~~/???", "x@base64/fn5-Lz8_Pw=="),
        ] {
            let want = format!("http://push:9091/metrics/job/j/{want}");
            check(base, "j", &[("x", value)], &want);
        }
        check(base, "a/b", &[], "http://push:9091/metrics/job@base64/YS9i");
    }
}
