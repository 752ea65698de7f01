//! Reads `/clusters?format=json` while it is still arriving, a cluster at a time: 5,000 clusters are
//! 6 MB of JSON, of which this keeps the one under way.
//!
//! The answer is one object with one list. Where an element ends is told by counting braces outside
//! of strings, and each goes to the JSON reader by itself. What does not look like this is kept and
//! read whole. Either way a mistake anywhere is an error.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Error;
use super::documents::{Address, Wide, document};

/// What stands before the list, without white space.
const HEAD: &[u8] = b"{\"cluster_statuses\":[";

/// A head longer than this is none.
const LONGEST_HEAD: usize = 1024;

/// A cluster.
#[derive(Debug, Deserialize)]
pub struct Cluster<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    observability_name: Cow<'a, str>,
    /// Its endpoints.
    #[serde(borrow, default, rename = "host_statuses")]
    pub hosts: Vec<Host<'a>>,
    #[serde(default)]
    circuit_breakers: CircuitBreakers,
    #[serde(default)]
    success_rate_ejection_threshold: Option<Percent>,
    #[serde(default)]
    local_origin_success_rate_ejection_threshold: Option<Percent>,
}

impl Cluster<'_> {
    /// As it is configured.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As its stats are called.
    pub fn stat_name(&self) -> &str {
        if self.observability_name.is_empty() {
            &self.name
        } else {
            &self.observability_name
        }
    }

    /// The limits of its circuit breakers, by priority.
    pub fn limits(&self) -> &[Limits] {
        &self.circuit_breakers.thresholds
    }

    /// The success rates below which outlier detection ejects, in percent: of all errors, and of those
    /// that arose on this side.
    pub fn ejection_thresholds(&self) -> [Option<f64>; 2] {
        [
            self.success_rate_ejection_threshold,
            self.local_origin_success_rate_ejection_threshold,
        ]
        .map(|threshold| threshold.map(|percent| percent.value))
    }
}

#[derive(Debug, Default, Deserialize)]
struct CircuitBreakers {
    #[serde(default)]
    thresholds: Vec<Limits>,
}

/// The limits of a circuit breaker; what is left out is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Of which requests.
    pub priority: Priority,
    /// Connections.
    pub max_connections: u32,
    /// Requests that wait for a connection.
    pub max_pending_requests: u32,
    /// Requests.
    pub max_requests: u32,
    /// Retries.
    pub max_retries: u32,
}

/// A priority of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Priority {
    /// The ordinary one.
    #[default]
    Default,
    /// The other.
    High,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Percent {
    #[serde(default)]
    value: f64,
}

/// An endpoint.
#[derive(Debug, Deserialize)]
pub struct Host<'a> {
    address: Option<Address>,
    /// Empty when there is none.
    #[serde(borrow, default)]
    pub hostname: Cow<'a, str>,
    /// Its counters and gauges.
    #[serde(borrow, default)]
    pub stats: Vec<HostStat<'a>>,
    /// What is known of its health.
    #[serde(borrow, default, rename = "health_status")]
    pub health: Health<'a>,
    success_rate: Option<Percent>,
    local_origin_success_rate: Option<Percent>,
    /// Its weight in load balancing.
    #[serde(default)]
    pub weight: u32,
    /// Its priority: a lower one is used first.
    #[serde(default)]
    pub priority: u32,
    /// Where it is.
    #[serde(borrow, default)]
    pub locality: Locality<'a>,
}

impl Host<'_> {
    /// `address:port`, or the path of a socket.
    pub fn address(&self) -> Option<String> {
        self.address.as_ref()?.text()
    }

    /// Its success rates in percent: of all errors, and of those that arose on this side.
    pub fn success_rates(&self) -> [Option<f64>; 2] {
        [self.success_rate, self.local_origin_success_rate]
            .map(|rate| rate.map(|percent| percent.value))
    }
}

/// A number that Envoy keeps of an endpoint.
#[derive(Debug, Deserialize)]
pub struct HostStat<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(default)]
    value: Wide,
    #[serde(default, rename = "type")]
    kind: HostStatType,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum HostStatType {
    #[default]
    Counter,
    Gauge,
}

impl HostStat<'_> {
    /// Its value.
    pub fn value(&self) -> u64 {
        self.value.0
    }

    /// Whether it only grows.
    pub fn is_counter(&self) -> bool {
        self.kind == HostStatType::Counter
    }
}

/// Where an endpoint is; empty where that is not said.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Locality<'a> {
    /// Region.
    #[serde(borrow)]
    pub region: Cow<'a, str>,
    /// Zone in it.
    #[serde(borrow)]
    pub zone: Cow<'a, str>,
    /// Part of that.
    #[serde(borrow)]
    pub sub_zone: Cow<'a, str>,
}

/// What is known of an endpoint's health.
#[derive(Debug, Default)]
pub struct Health<'a> {
    /// What service discovery says; empty where it says nothing.
    pub discovered: Cow<'a, str>,
    /// The flags that are set.
    pub flags: Vec<Cow<'a, str>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Health<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HealthVisitor)
    }
}

struct HealthVisitor;

impl<'de> Visitor<'de> for HealthVisitor {
    type Value = Health<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of flags")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Health<'de>, A::Error> {
        let mut health = Health::default();
        while let Some(Text(key)) = map.next_key()? {
            if key == "eds_health_status" {
                let Text(status) = map.next_value()?;
                health.discovered = status;
            } else if map.next_value::<Flag>()?.0 {
                health.flags.push(key);
            }
        }
        Ok(health)
    }
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Whether a value is `true`.
#[derive(Deserialize)]
#[serde(from = "Maybe")]
struct Flag(bool);

#[derive(Deserialize)]
#[serde(untagged)]
enum Maybe {
    Flag(bool),
    Other(IgnoredAny),
}

impl From<Maybe> for Flag {
    fn from(value: Maybe) -> Self {
        match value {
            Maybe::Flag(flag) => Self(flag),
            Maybe::Other(_) => Self(false),
        }
    }
}

#[derive(Deserialize)]
struct Clusters<'a> {
    #[serde(borrow, default)]
    cluster_statuses: Vec<Cluster<'a>>,
}

/// An answer under way.
#[derive(Debug, Default)]
pub struct ClusterStream {
    state: State,
    /// What has come of the head, of the element under way, or of the end.
    kept: Vec<u8>,
    /// How many bytes were read before that.
    read: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The list has not begun.
    #[default]
    Head,
    /// An element comes, or the end of the list where that may be.
    Element { may_end: bool },
    /// In an element.
    Inside,
    /// A comma comes, or the end of the list.
    Behind,
    /// The list is read.
    End,
    /// Everything is kept.
    Whole,
}

impl ClusterStream {
    /// Takes the next piece of the answer.
    pub fn feed(
        &mut self,
        piece: &[u8],
        mut on_cluster: impl FnMut(&Cluster<'_>),
    ) -> Result<(), Error> {
        let mut rest = piece;
        while let Some((first, behind)) = rest.split_first() {
            match self.state {
                State::Head => {
                    self.kept.push(*first);
                    rest = behind;
                    if *first == b'[' || self.kept.len() > LONGEST_HEAD {
                        self.end_head();
                    }
                }
                State::Element { .. } | State::Behind if first.is_ascii_whitespace() => {
                    self.read += 1;
                    rest = behind;
                }
                State::Element { .. } if *first == b'{' => self.state = State::Inside,
                State::Element { may_end: true } | State::Behind if *first == b']' => {
                    (self.state, rest) = (State::End, behind);
                    self.read += 1;
                }
                State::Behind if *first == b',' => {
                    (self.state, rest) = (State::Element { may_end: false }, behind);
                    self.read += 1;
                }
                State::Element { .. } | State::Behind => {
                    return Err(self.error(rest, "expected a cluster, `,` or `]`"));
                }
                State::Inside => {
                    let length = self.element_length(rest);
                    let (element, behind) = rest.split_at(length.unwrap_or(rest.len()));
                    rest = behind;
                    if length.is_none() {
                        self.kept.extend_from_slice(element);
                    } else if self.kept.is_empty() {
                        self.element(element, &mut on_cluster)?;
                    } else {
                        let mut kept = std::mem::take(&mut self.kept);
                        kept.extend_from_slice(element);
                        self.element(&kept, &mut on_cluster)?;
                        kept.clear();
                        self.kept = kept;
                    }
                }
                State::End | State::Whole => {
                    self.kept.extend_from_slice(rest);
                    rest = &[];
                }
            }
        }
        Ok(())
    }

    /// Takes the end of the answer.
    pub fn finish(self, mut on_cluster: impl FnMut(&Cluster<'_>)) -> Result<(), Error> {
        match self.state {
            State::Head | State::Whole => {
                let clusters: Clusters<'_> = document(&self.kept)?;
                clusters.cluster_statuses.iter().for_each(&mut on_cluster);
                Ok(())
            }
            State::End if self.kept.trim_ascii() == b"}" => Ok(()),
            State::End => Err(self.error(&self.kept, "expected `}` and the end")),
            State::Element { .. } | State::Inside | State::Behind => {
                Err(self.error(&self.kept, "EOF while parsing a list"))
            }
        }
    }

    fn end_head(&mut self) {
        let solid = |byte: &&u8| !byte.is_ascii_whitespace();
        if self.kept.iter().filter(solid).eq(HEAD) {
            self.state = State::Element { may_end: true };
            self.read = self.kept.len();
            self.kept.clear();
        } else {
            self.state = State::Whole;
        }
    }

    /// The length of what is left of the element under way; nothing where it has not come whole.
    fn element_length(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if self.escaped {
                self.escaped = false;
                at += 1;
                continue;
            }
            let found = if self.in_string {
                memchr::memchr2(b'"', b'\\', rest)?
            } else {
                memchr::memchr3(b'"', b'{', b'}', rest)?
            };
            at += found + 1;
            match rest.get(found) {
                Some(b'"') => self.in_string = !self.in_string,
                Some(b'\\') => self.escaped = true,
                Some(b'{') => self.depth += 1,
                _ => self.depth -= 1,
            }
            if self.depth == 0 {
                return Some(at);
            }
        }
        None
    }

    fn element(
        &mut self,
        bytes: &[u8],
        on_cluster: &mut impl FnMut(&Cluster<'_>),
    ) -> Result<(), Error> {
        let cluster: Cluster<'_> = document(bytes).map_err(|error| Error {
            byte: error.byte + self.read,
            ..error
        })?;
        on_cluster(&cluster);
        self.read += bytes.len();
        self.state = State::Behind;
        Ok(())
    }

    fn error(&self, rest: &[u8], reason: &str) -> Error {
        Error {
            byte: self.read,
            reason: reason.to_owned(),
            excerpt: super::stream::excerpt_of(rest, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{
 "cluster_statuses": [
  {"name": "a", "observability_name": "alt", "host_statuses": [
    {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}}, "hostname": "h\"}{",
     "stats": [{"name": "cx_total", "value": "18446744073709551615"}, {"name": "rq_active", "type": "GAUGE"}],
     "health_status": {"eds_health_status": "HEALTHY", "failed_outlier_check": true, "x": false, "y": 1},
     "success_rate": {"value": 66.5}, "local_origin_success_rate": {},
     "weight": 3, "priority": 1, "locality": {"region": "r", "zone": "z"}}, {}],
   "circuit_breakers": {"thresholds": [{"max_connections": 5}, {"priority": "HIGH", "max_retries": 7}]},
   "success_rate_ejection_threshold": {"value": 1.5}},
  {"name": "b"}
 ]
}
"#;

    fn read(pieces: &[&[u8]]) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        let mut stream = ClusterStream::default();
        let mut on_cluster = |cluster: &Cluster<'_>| {
            found.push(format!(
                "{} {} {cluster:?}",
                cluster.name(),
                cluster.stat_name()
            ));
        };
        for piece in pieces {
            stream.feed(piece, &mut on_cluster)?;
        }
        stream.finish(&mut on_cluster)?;
        Ok(found)
    }

    #[test]
    fn a_cluster_has_all_that_is_said_of_it() {
        let mut stream = ClusterStream::default();
        let mut clusters = 0;
        let on_cluster = |cluster: &Cluster<'_>| {
            clusters += 1;
            if cluster.name() == "b" {
                assert_eq!(cluster.stat_name(), "b");
                assert!(cluster.hosts.is_empty() && cluster.limits().is_empty());
                return;
            }
            assert_eq!(cluster.stat_name(), "alt");
            assert_eq!(cluster.ejection_thresholds(), [Some(1.5), None]);
            let [ordinary, high] = cluster.limits() else {
                panic!("{cluster:?}");
            };
            assert_eq!(
                (ordinary.priority, ordinary.max_connections),
                (Priority::Default, 5)
            );
            assert_eq!((high.priority, high.max_retries), (Priority::High, 7));
            assert_eq!(high.max_connections, 0);
            let [host, empty] = cluster.hosts.as_slice() else {
                panic!("{cluster:?}");
            };
            assert_eq!(host.address().as_deref(), Some("10.0.0.1:80"));
            assert_eq!(host.hostname, "h\"}{");
            let stats = host.stats.iter();
            let stats: Vec<_> = stats
                .map(|stat| (&*stat.name, stat.value(), stat.is_counter()))
                .collect();
            assert_eq!(
                stats,
                [("cx_total", u64::MAX, true), ("rq_active", 0, false)]
            );
            assert_eq!(host.health.flags, ["failed_outlier_check"]);
            assert_eq!(host.health.discovered, "HEALTHY");
            assert_eq!(host.success_rates(), [Some(66.5), Some(0.0)]);
            assert_eq!((host.weight, host.priority), (3, 1));
            assert_eq!((&*host.locality.zone, &*host.locality.sub_zone), ("z", ""));
            assert_eq!(empty.address(), None);
        };
        stream.feed(ANSWER.as_bytes(), on_cluster).unwrap();
        stream.finish(|_| ()).unwrap();
        assert_eq!(clusters, 2);
    }

    #[test]
    fn any_cut_gives_the_same() {
        let whole = read(&[ANSWER.as_bytes()]).unwrap();
        assert_eq!(whole.len(), 2);
        for at in 0..ANSWER.len() {
            let (one, other) = ANSWER.as_bytes().split_at(at);
            assert_eq!(read(&[one, other]).unwrap(), whole, "{at}");
            assert!(
                read(&[one]).is_err() || other.trim_ascii().is_empty(),
                "{at}"
            );
        }
        let bytes: Vec<&[u8]> = ANSWER.as_bytes().chunks(1).collect();
        assert_eq!(read(&bytes).unwrap(), whole);
        // Keys in another order, and none at all.
        let other = ANSWER.replacen('{', "{\"x\": 1, ", 1);
        assert_eq!(read(&[other.as_bytes()]).unwrap(), whole);
        for empty in [
            "{}",
            "{\"cluster_statuses\":[]}",
            "{\"cluster_statuses\": [ ] }\n",
        ] {
            assert_eq!(
                read(&[empty.as_bytes()]).unwrap(),
                Vec::<String>::new(),
                "{empty}"
            );
        }
    }

    #[test]
    fn mistakes_have_their_place() {
        for (text, want) in [
            (
                "{\"cluster_statuses\":[{\"name\":1}]}",
                "byte 29: invalid type: integer `1`",
            ),
            (
                "{\"cluster_statuses\":[{}{}]}",
                "byte 23: expected a cluster",
            ),
            (
                "{\"cluster_statuses\":[{},]}",
                "byte 24: expected a cluster",
            ),
            ("{\"cluster_statuses\":[{}]", "byte 24: expected `}`"),
            ("{\"cluster_statuses\":[{}]}}", "byte 24: expected `}`"),
            ("{\"cluster_statuses\":[{}", "byte 23: EOF"),
            ("7", "byte 0: invalid type: integer"),
            ("", "byte 0: EOF"),
            (
                "{\"cluster_statuses\":[{\"host_statuses\":[{\"stats\":[{\"name\":\"a\",\"value\":\"-1\"}]}]}]}",
                "invalid value: string \"-1\", expected a whole number",
            ),
        ] {
            let error = read(&[text.as_bytes()]).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
