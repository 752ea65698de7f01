//! What a server is, from `/server_info`: version, node, state. That answer is mostly a list of
//! extensions, so it is asked for when the server starts, when the stats show another state, and
//! seldom else.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Asking, Error, Finding};
use crate::decode;
use crate::transport::Query;

/// The states of a server.
const STATES: [&str; 4] = ["LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING"];

pub(super) async fn run(mut asking: Asking<'_>, finding: &mut Finding<'_>) -> Result<(), Error> {
    let is_live = asking.transport.is_live();
    let info = asking
        .document(Query::ServerInfo, decode::server_info)
        .await?;
    let [revision, version, _, build_type, ssl] = info.version_parts();
    let epoch = info.restart_epoch.to_string();
    let tags = [
        ("envoy.version", version),
        ("envoy.revision", revision),
        ("envoy.build_type", build_type),
        ("envoy.ssl_library", ssl),
        ("envoy.hot_restart_version", &info.hot_restart_version),
        ("envoy.restart_epoch", &epoch),
        ("envoy.node_id", &info.node_id),
        ("envoy.node_cluster", &info.node_cluster),
        ("envoy.node_region", &info.region),
        ("envoy.node_zone", &info.zone),
        ("envoy.node_sub_zone", &info.sub_zone),
    ];
    finding.subject("server", tags);
    finding.info("info");
    let other = Some(info.state.as_str()).filter(|state| !STATES.contains(state));
    for state in STATES.into_iter().chain(other) {
        finding.subject("server", [("envoy.server_state", state)]);
        finding.gauge("current_state", (info.state == state).into());
    }
    // A capture does not say when it was taken.
    if is_live {
        finding.subject("server", []);
        finding.double("start_time_seconds", started(info.uptime));
        finding.double("first_start_time_seconds", started(info.uptime_all_epochs));
    }
    Ok(())
}

/// When it was, to the second: Envoy says no more of it.
fn started(uptime: Duration) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let started = now.unwrap_or_default().saturating_sub(uptime);
    started.as_secs_f64().floor()
}
