//! The endpoints of clusters, from `/clusters`: what each did, how it is, where it is, and the limits
//! of its cluster. The answer is read as it comes.
//!
//! Numbers that Envoy can keep as stats of an endpoint (`per_endpoint_stats`) have the names and
//! labels of those, so that it makes no difference which of the two has them. Where an endpoint is
//! and its priority stand in an info of their own: as labels of each number they would make other
//! series of the same numbers.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use regex::Regex;

use super::{Asking, Error, Finding};
use crate::decode::{Cluster, ClusterStream, Health, Host, Priority};
use crate::transport::Query;

/// Flags that are shown whether they are set or not. Others are shown when they are.
const FLAGS: [&str; 10] = [
    "failed_active_health_check",
    "failed_outlier_check",
    "failed_active_degraded_check",
    "pending_dynamic_removal",
    "pending_active_hc",
    "excluded_via_immediate_hc_fail",
    "active_hc_timeout",
    "eds_unhealthy",
    "eds_degraded",
    "eds_draining",
];

/// With any of these Envoy itself says that an endpoint is not healthy, though a degraded one has its
/// part in load balancing.
const NOT_HEALTHY: [&str; 6] = [
    "failed_active_health_check",
    "failed_outlier_check",
    "failed_active_degraded_check",
    "eds_unhealthy",
    "eds_degraded",
    "eds_draining",
];

/// Which endpoints are shown.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Only those of clusters in whose name this is found.
    pub include: Option<Regex>,
    /// At most so many.
    pub most: usize,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            include: None,
            most: 20_000,
        }
    }
}

pub(super) async fn run(
    asking: Asking<'_>,
    selection: &Selection,
    finding: &mut Finding<'_>,
) -> Result<(), Error> {
    let mut taker = Taker {
        selection,
        finding,
        hosts: 0,
        number: String::new(),
    };
    let mut stream = ClusterStream::default();
    let mut mistake = None;
    let take = |piece: &[u8]| match stream.feed(piece, |cluster| taker.cluster(cluster)) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            mistake = Some(error);
            ControlFlow::Break(())
        }
    };
    let query = Query::Endpoints;
    let size = asking.transport.stream(query, asking.deadline, take).await;
    let ended = if let Some(mistake) = mistake {
        Err(mistake)
    } else {
        *asking.bytes += usize::try_from(size?).unwrap_or(usize::MAX);
        stream.finish(|cluster| taker.cluster(cluster))
    };
    ended.map_err(|source| Error::Decode {
        query: query.name(),
        source,
    })
}

struct Taker<'t, 'c> {
    selection: &'t Selection,
    finding: &'t mut Finding<'c>,
    hosts: usize,
    /// The text of a number.
    number: String,
}

impl Taker<'_, '_> {
    fn cluster(&mut self, cluster: &Cluster<'_>) {
        // Envoy was asked for these alone; a capture was not.
        let include = self.selection.include.as_ref();
        if include.is_some_and(|include| !include.is_match(cluster.name())) {
            return;
        }
        let name = cluster.stat_name().replace(':', "_");
        let tag = ("envoy.cluster_name", name.as_str());
        for limits in cluster.limits() {
            let scope = match limits.priority {
                Priority::Default => "cluster.circuit_breakers.default",
                Priority::High => "cluster.circuit_breakers.high",
            };
            self.finding.subject(scope, [tag]);
            for (word, limit) in [
                ("max_connections", limits.max_connections),
                ("max_pending_requests", limits.max_pending_requests),
                ("max_requests", limits.max_requests),
                ("max_retries", limits.max_retries),
            ] {
                self.finding.gauge(word, limit.into());
            }
        }
        let thresholds = cluster.ejection_thresholds();
        if thresholds.iter().any(Option::is_some) {
            self.finding.subject("cluster.outlier_detection", [tag]);
            let words = [
                "success_rate_ejection_threshold",
                "local_origin_success_rate_ejection_threshold",
            ];
            for (word, threshold) in words.into_iter().zip(thresholds) {
                if let Some(threshold) = threshold {
                    self.finding.double(word, threshold);
                }
            }
        }
        for host in &cluster.hosts {
            self.hosts += 1;
            self.finding.let_fall(self.hosts > self.selection.most);
            self.host(tag, host);
        }
        self.finding.let_fall(false);
    }

    fn host(&mut self, cluster: (&str, &str), host: &Host<'_>) {
        let Some(address) = host.address() else {
            return;
        };
        let address = ("envoy.endpoint_address", address.as_str());
        let hostname = ("envoy.endpoint_hostname", &*host.hostname);
        let own = [cluster, address, hostname];
        let flags = flags(&host.health);
        let is_set = |flag: &&str| flags.iter().any(|set| set == flag);

        self.finding.subject("cluster.endpoint", own);
        for stat in &host.stats {
            if stat.is_counter() {
                self.finding.counter(&stat.name, stat.value());
            } else {
                self.finding.gauge(&stat.name, stat.value());
            }
        }
        let is_healthy = !NOT_HEALTHY.iter().any(&is_set);
        self.finding.gauge("healthy", is_healthy.into());
        self.finding.gauge("weight", host.weight.into());
        let words = ["success_rate", "local_origin_success_rate"];
        for (word, rate) in words.into_iter().zip(host.success_rates()) {
            if let Some(rate) = rate {
                self.finding.double(word, rate);
            }
        }

        let others = flags.iter().map(String::as_str);
        let others = others.filter(|flag| !FLAGS.contains(flag));
        for flag in FLAGS.into_iter().chain(others) {
            let tag = ("envoy.endpoint_health_flag", flag);
            self.finding
                .subject("cluster.endpoint", own.into_iter().chain([tag]));
            self.finding.gauge("health_flag", is_set(&flag).into());
        }

        self.number.clear();
        // Writing to a String cannot fail.
        let _ = write!(self.number, "{}", host.priority);
        let place = [
            ("envoy.endpoint_region", &*host.locality.region),
            ("envoy.endpoint_zone", &*host.locality.zone),
            ("envoy.endpoint_sub_zone", &*host.locality.sub_zone),
            ("envoy.endpoint_priority", self.number.as_str()),
        ];
        self.finding
            .subject("cluster.endpoint", own.into_iter().chain(place));
        self.finding.info("info");
    }
}

/// The flags that are set, one for what service discovery says among them.
fn flags(health: &Health<'_>) -> Vec<String> {
    let own = health.flags.iter().map(ToString::to_string);
    let discovered = match &*health.discovered {
        "" | "HEALTHY" | "UNKNOWN" => None,
        other => Some(format!("eds_{}", other.to_ascii_lowercase())),
    };
    own.chain(discovered).collect()
}
