//! Per-endpoint stats (`track_cluster_stats.per_endpoint_stats`), which no tag rule takes apart.
//!
//! Envoy labels them by code: with the endpoint's true address and its hostname, of which the stat
//! name holds the first only with every `:` as `_`, and the second not at all. `/clusters` has
//! both, so a poll reads it once when such stats are new.

use hashbrown::HashMap;

use super::scopes::ScopedName;

/// The stats that Envoy keeps for an endpoint.
const STATS: [&str; 10] = [
    "cx_active",
    "cx_connect_fail",
    "cx_total",
    "healthy",
    "rq_active",
    "rq_error",
    "rq_pending_active",
    "rq_success",
    "rq_timeout",
    "rq_total",
];

/// An endpoint as `/clusters` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// `address:port`, or the path of a socket.
    pub address: String,
    /// Empty when Envoy knows none.
    pub hostname: String,
}

/// The endpoints of a target, by cluster and address as stat names write them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    known: HashMap<(String, String), Endpoint>,
}

impl Endpoints {
    /// Adds an endpoint of a cluster.
    pub fn add(&mut self, cluster: &str, endpoint: Endpoint) {
        let key = (in_stat_name(cluster), in_stat_name(&endpoint.address));
        self.known.insert(key, endpoint);
    }

    fn find(&self, cluster: &str, address: &str) -> Option<&Endpoint> {
        self.known.get(&(cluster.to_owned(), address.to_owned()))
    }
}

/// A per-endpoint stat taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointStat {
    /// `cluster.endpoint.STAT`.
    pub base: String,
    /// Tag names and values.
    pub tags: Vec<(String, String)>,
}

/// Whether a name is of this kind, by its look alone.
pub fn is_endpoint_stat(raw: &str) -> bool {
    raw.starts_with("cluster.")
        && raw.contains(".endpoint.")
        && raw
            .rsplit_once('.')
            .is_some_and(|(_, stat)| STATS.contains(&stat))
}

/// Takes a per-endpoint stat apart; `None` when the name is not one.
pub fn split(name: &ScopedName<'_>, endpoints: &Endpoints) -> Option<EndpointStat> {
    let rest = name.scoped().strip_prefix("cluster.")?;
    let (cluster, rest) = rest.split_once(".endpoint.")?;
    let (address, stat) = rest.split_once('.')?;
    if !STATS.contains(&stat) || cluster.contains('.') {
        return None;
    }
    let at = "cluster.".len();
    let cluster = name.raw_span(at..at + cluster.len());
    let at = at + cluster.len() + ".endpoint.".len();
    let address = name.raw_span(at..at + address.len());
    let endpoint = endpoints
        .find(&cluster, &address)
        .cloned()
        .unwrap_or_else(|| Endpoint {
            address: likely_address(&address),
            hostname: String::new(),
        });
    let mut tags = vec![
        ("envoy.cluster_name".to_owned(), cluster),
        ("envoy.endpoint_address".to_owned(), endpoint.address),
    ];
    if !endpoint.hostname.is_empty() {
        tags.push(("envoy.endpoint_hostname".to_owned(), endpoint.hostname));
    }
    Some(EndpointStat {
        base: format!("cluster.endpoint.{stat}"),
        tags,
    })
}

fn in_stat_name(text: &str) -> String {
    text.replace(':', "_")
}

/// The address that a stat name's form most likely stands for: `10.0.0.1_80`, `[__1]_80`.
fn likely_address(text: &str) -> String {
    match text.rsplit_once('_') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            let host = if host.starts_with('[') {
                host.replace('_', ":")
            } else {
                host.to_owned()
            };
            format!("{host}:{port}")
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_hostnames_come_from_clusters() {
        let mut endpoints = Endpoints::default();
        endpoints.add(
            "a:b",
            Endpoint {
                address: "[::1]:80".to_owned(),
                hostname: "h".to_owned(),
            },
        );
        for (name, want) in [
            (
                "cluster.a_b.endpoint.[__1]_80.rq_total",
                Some(("cluster.endpoint.rq_total", "[::1]:80", Some("h"))),
            ),
            (
                "cluster.c.endpoint.[__2]_80.cx_total",
                Some(("cluster.endpoint.cx_total", "[::2]:80", None)),
            ),
            ("cluster.c.endpoint.x.other", None),
            ("cluster.c.upstream_rq_total", None),
        ] {
            let got = split(&ScopedName::plain(name), &endpoints);
            let got = got.as_ref().map(|stat| {
                let tag = |at: usize| stat.tags.get(at).map(|(_, value)| value.as_str());
                (stat.base.as_str(), tag(1).unwrap(), tag(2))
            });
            assert_eq!(got, want, "{name}");
            assert_eq!(is_endpoint_stat(name), want.is_some(), "{name}");
        }
        assert_eq!(likely_address("10.0.0.1_80"), "10.0.0.1:80");
        assert_eq!(likely_address("/run/x.sock"), "/run/x.sock");
    }
}
