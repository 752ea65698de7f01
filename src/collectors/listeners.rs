//! Names and addresses of listeners, from `/listeners`: `/stats` calls a listener by its address
//! alone, or by a `stat_prefix`, which this answer does not have.

use super::{Asking, Error, Finding};
use crate::decode;
use crate::transport::Query;

pub(super) async fn run(mut asking: Asking<'_>, finding: &mut Finding<'_>) -> Result<(), Error> {
    let listeners = asking.document(Query::Listeners, decode::listeners).await?;
    for listener in listeners {
        for address in &listener.addresses {
            // As the names of stats have it.
            let in_stats = address.replace(':', "_");
            let tags = [
                ("envoy.listener_address", in_stats.as_str()),
                ("envoy.listener_name", &listener.name),
                ("envoy.address", address),
            ];
            finding.subject("listener", tags);
            finding.info("info");
        }
    }
    Ok(())
}
