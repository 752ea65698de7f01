//! Memory of the process as its allocator sees it, from `/memory`. `/stats` has some of it, as old as
//! the last flush.

use super::{Asking, Error, Finding};
use crate::decode;
use crate::transport::Query;

pub(super) async fn run(mut asking: Asking<'_>, finding: &mut Finding<'_>) -> Result<(), Error> {
    let memory = asking.document(Query::Memory, decode::memory).await?;
    finding.subject("memory", []);
    for (field, bytes) in memory {
        finding.gauge(&field, bytes);
    }
    Ok(())
}
