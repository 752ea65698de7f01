//! The proxy's TCP connections, as the kernel sees them: round trip times, retransmissions, bytes, by
//! the cluster whose endpoint is at the other end, or the listener that accepted them.
//!
//! The kernel lists every socket of the network namespace, so that the exporter must be in the
//! proxy's. It tells from sockets that listen at the proxy's addresses, to whose user also the
//! others must belong; without one of them this is another place, and nothing is shown.
//!
//! Sockets come first and clusters after them: an endpoint is known before there are connections to
//! it.

mod measures;
mod places;
mod tracker;

use std::ops::ControlFlow;
use std::time::Instant as Clock;

use hashbrown::HashSet;

use super::{Asking, Error, Finding};
use crate::decode::{self, Cluster, ClusterStream};
use crate::mapping::Mapping;
use crate::sockets::{self, Address, Info, Socket, Stage, kernel};
use crate::transport::Query;
use crate::work;

use places::Places;
use tracker::Tracker;

/// Bounds on what is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Sockets, those of other processes among them.
    pub sockets: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { sockets: 100_000 }
    }
}

/// How many sockets that listen are looked at: there are as many as ports, or few more.
const LISTENING: usize = 100_000;

/// How often a list is asked for anew that changed while it was made.
const ATTEMPTS: usize = 3;

/// A stat that is asked for where connections are wanted by the host at their other end.
const OF_HOSTS: &str = "tcp_info.host.connections";

/// What is kept between polls.
#[derive(Debug)]
pub(super) struct State {
    /// Absent only while a blocking thread has it, and after a panic there.
    tracker: Option<Box<Tracker>>,
    bounds: Bounds,
    by_host: bool,
}

/// A list of sockets.
#[derive(Debug, Default)]
struct Dump {
    connections: Vec<Socket>,
    listening: Vec<(Address, u32)>,
    /// Which fields this kernel has, in any of its sockets.
    has: Info,
    /// How many of the connections were not in the last list.
    new: usize,
    /// Connections beyond the limit.
    over: usize,
}

impl State {
    /// Which table describes stats decides what is asked for.
    pub(super) fn new(bounds: Bounds, mapping: &Mapping) -> Self {
        Self {
            tracker: None,
            bounds,
            by_host: mapping.catalogue().find(OF_HOSTS).is_some(),
        }
    }
}

pub(super) async fn run(
    mut asking: Asking<'_>,
    state: &mut State,
    finding: &mut Finding<'_>,
) -> Result<(), Error> {
    if !asking.transport.is_live() {
        // A capture has no connections.
        return Ok(());
    }
    let (limit, deadline) = (state.bounds.sockets, asking.deadline.into_std());
    let tracker = state.tracker.take().unwrap_or_default();
    let listed = work::POLLS.run(move || {
        let dump = list(limit, &tracker, deadline);
        (tracker, dump)
    });
    let (tracker, dump) = listed.await.map_err(|_| Error::Panicked)?;
    // Whatever happens now, what was counted stays.
    state.tracker = Some(tracker);
    let dump = dump?;
    let mut places = Places::new(state.by_host);
    clusters(&mut asking, &mut places).await?;
    places.settle();
    let listeners = asking.document(Query::Listeners, decode::listeners).await?;
    for listener in listeners {
        for address in &listener.addresses {
            places.listener(address);
        }
    }
    if let Some(address) = asking.transport.tcp_address() {
        places.admin(&address);
    }
    let users = users(&places, &dump)?;
    let mut tracker = state.tracker.take().unwrap_or_default();
    let taken = work::POLLS.run(move || {
        tracker.take(&dump, &places, &users);
        tracker
    });
    let tracker = taken.await.map_err(|_| Error::Panicked)?;
    state.tracker.insert(tracker).tell(finding);
    Ok(())
}

/// The users that the proxy's sockets belong to; none where it listens nowhere.
fn users(places: &Places, dump: &Dump) -> Result<HashSet<u32>, Error> {
    let listening = dump.listening.iter();
    let own = listening.filter(|(address, _)| places.is_own(*address));
    let users: HashSet<_> = own.map(|(_, uid)| *uid).collect();
    if users.is_empty() && places.has_own() {
        return Err(Error::Elsewhere);
    }
    if users.contains(&UNKNOWN_USER) && !is_mapped(UNKNOWN_USER, &user_map()) {
        return Err(Error::Users);
    }
    Ok(users)
}

/// As whom the kernel shows each user that this user namespace does not know.
const UNKNOWN_USER: u32 = 65534;

/// The users that this user namespace knows, as lines of first one inside, first one outside, and how
/// many. Where there are no such namespaces, all are known.
fn user_map() -> String {
    let all = || "0 0 4294967295".to_owned();
    std::fs::read_to_string("/proc/self/uid_map").unwrap_or_else(|_| all())
}

fn is_mapped(user: u32, map: &str) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
        let (first, count) = (numbers.next(), numbers.nth(1));
        let (Some(Ok(first)), Some(Ok(count))) = (first, count) else {
            return false;
        };
        (first..first.saturating_add(count)).contains(&user.into())
    })
}

/// Runs on a thread for such work.
fn list(limit: usize, tracker: &Tracker, deadline: Clock) -> Result<Dump, sockets::Error> {
    let mut tried = 0;
    loop {
        let mut dump = Dump::default();
        tried += 1;
        match kernel::each(deadline, |socket| dump.take(socket, limit, tracker)) {
            Err(sockets::Error::Interrupted) if tried < ATTEMPTS => {}
            other => return other.map(|()| dump),
        }
    }
}

impl Dump {
    /// Room is left for all that are known already: whoever lost sight of one would count it twice.
    fn take(&mut self, socket: Socket, limit: usize, tracker: &Tracker) {
        self.has.bytes_acked = self.has.bytes_acked.or(socket.info.bytes_acked);
        self.has.bytes_received = self.has.bytes_received.or(socket.info.bytes_received);
        self.has.segments_sent = self.has.segments_sent.or(socket.info.segments_sent);
        self.has.delivery_rate = self.has.delivery_rate.or(socket.info.delivery_rate);
        self.has.bytes_sent = self.has.bytes_sent.or(socket.info.bytes_sent);
        if socket.stage == Stage::Listening {
            if self.listening.len() < LISTENING {
                self.listening.push((socket.local, socket.uid));
            }
        } else if tracker.knows(socket.cookie) {
            self.connections.push(socket);
        } else if self.new < tracker.room(limit) {
            self.new += 1;
            self.connections.push(socket);
        } else {
            self.over += 1;
        }
    }
}

async fn clusters(asking: &mut Asking<'_>, places: &mut Places) -> Result<(), Error> {
    let query = Query::Clusters;
    let mut stream = ClusterStream::default();
    let mut mistake = None;
    let take = |piece: &[u8]| match stream.feed(piece, |cluster| endpoints(cluster, places)) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            mistake = Some(error);
            ControlFlow::Break(())
        }
    };
    let size = asking.transport.stream(query, asking.deadline, take).await;
    let ended = if let Some(mistake) = mistake {
        Err(mistake)
    } else {
        *asking.bytes += usize::try_from(size?).unwrap_or(usize::MAX);
        stream.finish(|cluster| endpoints(cluster, places))
    };
    ended.map_err(|source| Error::Decode {
        query: query.name(),
        source,
    })
}

fn endpoints(cluster: &Cluster<'_>, places: &mut Places) {
    let name = cluster.stat_name().replace(':', "_");
    for host in &cluster.hosts {
        let address = host.address().and_then(|address| address.parse().ok());
        if let Some(address) = address {
            let mut opened = host.stats.iter().filter(|stat| stat.name == "cx_total");
            let is_used = opened.any(|stat| stat.value() > 0);
            places.endpoint(&name, &host.hostname, address, is_used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_a_namespace() {
        for (map, known) in [
            ("         0          0 4294967295\n", true),
            ("0 100000 65536\n", true),
            ("0 100000 65534\n", false),
            ("0 1000 1\n65534 65534 1\n", true),
            ("1000 1000 1\n", false),
            ("65535 0 10", false),
            ("", false),
            ("what else", false),
        ] {
            assert_eq!(is_mapped(UNKNOWN_USER, map), known, "{map:?}");
        }
    }
}
