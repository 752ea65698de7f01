//! Connections between polls.
//!
//! A counter of a connection ends with it, so that their sum would fall when one closes. Here is
//! kept what each showed last, and what it grew by is added to totals of its cluster, which stay.
//! What was there before the first poll is no growth: totals begin at 0, as they do to whoever sees
//! the exporter start again. What a connection does after the last poll that saw it is not seen, nor
//! is one that opens and closes between two polls.
//!
//! Whose connection one is, is settled when it is first seen: an endpoint that goes while connections
//! to it drain takes none of them away.

use hashbrown::{HashMap, HashSet};

use super::measures::{MEASURES, Spread};
use super::places::{Kind, Owners, Places};
use super::{Dump, Finding};
use crate::sockets::{Info, Socket, Stage};

/// All connections of a proxy that were in the last list.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    known: HashMap<u64, Known>,
    numbers: HashMap<(Kind, Box<str>), u32>,
    subjects: Vec<Option<Subject>>,
    /// Places among them that are free.
    free: Vec<u32>,
    /// Which polls there were.
    poll: u64,
    has: Info,
    sockets: Sockets,
}

/// A connection as the last poll saw it.
#[derive(Clone, Copy, Debug)]
struct Known {
    last: Counts,
    /// Cluster or listener, and host.
    owners: Owners,
    poll: u64,
}

/// What connections count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    retransmits: u64,
    segments_sent: u64,
    bytes_sent: u64,
    bytes_acked: u64,
    bytes_received: u64,
}

/// How many sockets there are, by whose they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sockets {
    cluster: u64,
    listener: u64,
    several: u64,
    unknown: u64,
    others: u64,
    over: u64,
}

/// What connections are told apart by, and what they have together.
#[derive(Debug)]
struct Subject {
    kind: Kind,
    name: Box<str>,
    /// The last poll that it was part of.
    poll: u64,
    totals: Counts,
    open: u64,
    /// Of those that are open, retransmitted and sent.
    segments: (u64, u64),
    spreads: [Spread; MEASURES.len()],
}

impl Counts {
    fn of(info: &Info) -> Self {
        Self {
            retransmits: info.retransmits.into(),
            segments_sent: info.segments_sent.unwrap_or_default().into(),
            bytes_sent: info.bytes_sent.unwrap_or_default(),
            bytes_acked: info.bytes_acked.unwrap_or_default(),
            bytes_received: info.bytes_received.unwrap_or_default(),
        }
    }

    /// What was added since. Segments are counted in 32 bits, and begin again at 0 behind them.
    fn since(self, last: Self) -> Self {
        let wrapping = |now: u64, last: u64| now.wrapping_sub(last) & u64::from(u32::MAX);
        Self {
            retransmits: wrapping(self.retransmits, last.retransmits),
            segments_sent: wrapping(self.segments_sent, last.segments_sent),
            bytes_sent: self.bytes_sent.saturating_sub(last.bytes_sent),
            bytes_acked: self.bytes_acked.saturating_sub(last.bytes_acked),
            bytes_received: self.bytes_received.saturating_sub(last.bytes_received),
        }
    }

    fn add(&mut self, more: Self) {
        self.retransmits += more.retransmits;
        self.segments_sent += more.segments_sent;
        self.bytes_sent += more.bytes_sent;
        self.bytes_acked += more.bytes_acked;
        self.bytes_received += more.bytes_received;
    }
}

impl Tracker {
    /// Whether the last list had it.
    pub(super) fn knows(&self, cookie: u64) -> bool {
        self.known.contains_key(&cookie)
    }

    /// How many of a list may be new.
    pub(super) fn room(&self, limit: usize) -> usize {
        limit.saturating_sub(self.known.len())
    }

    /// Takes a list. Connections of other users than these are others', where any is known.
    pub(super) fn take(&mut self, dump: &Dump, places: &Places, users: &HashSet<u32>) {
        self.poll += 1;
        self.has = dump.has;
        self.sockets = Sockets {
            over: dump.over as u64,
            ..Sockets::default()
        };
        for subject in self.subjects.iter_mut().flatten() {
            subject.begin();
        }
        let names = places.names.iter();
        let numbers: Vec<_> = names.map(|name| self.number(name)).collect();
        let own = |at: u32| numbers.get(at as usize).copied();
        for socket in &dump.connections {
            let owners = || places.owners(socket.local, socket.remote);
            let owners = || owners().map(|owner| owner.and_then(own));
            self.see(socket, users, owners);
        }
        let poll = self.poll;
        self.known.retain(|_, known| known.poll == poll);
        for (number, place) in (0_u32..).zip(&mut self.subjects) {
            let gone = place.take_if(|subject| subject.poll != poll);
            if let Some(subject) = gone {
                self.numbers.remove(&(subject.kind, subject.name));
                self.free.push(number);
            }
        }
    }

    fn see(&mut self, socket: &Socket, users: &HashSet<u32>, owners: impl Fn() -> Owners) {
        let now = Counts::of(&socket.info);
        let (grown, owners) = match self.known.get_mut(&socket.cookie) {
            // It moved while the list was made, and stands there twice.
            Some(known) if known.poll == self.poll => return,
            Some(known) => {
                let grown = now.since(known.last);
                if known.owners == [None; 2] {
                    known.owners = owners();
                }
                (known.last, known.poll) = (now, self.poll);
                (grown, known.owners)
            }
            None if !users.is_empty() && !users.contains(&socket.uid) => {
                self.sockets.others += 1;
                return;
            }
            None => {
                let owners = owners();
                let known = Known {
                    last: now,
                    owners,
                    poll: self.poll,
                };
                self.known.insert(socket.cookie, known);
                let is_growth = self.poll > 1;
                (if is_growth { now } else { Counts::default() }, owners)
            }
        };
        let mut kind = None;
        for number in owners.into_iter().flatten() {
            let subject = self.subjects.get_mut(number as usize);
            if let Some(subject) = subject.and_then(Option::as_mut) {
                subject.poll = self.poll;
                subject.see(socket, grown);
                kind = kind.or(Some(subject.kind));
            }
        }
        let place = match kind {
            Some(Kind::Cluster) => &mut self.sockets.cluster,
            Some(Kind::Clusters) => &mut self.sockets.several,
            Some(Kind::Listener) => &mut self.sockets.listener,
            Some(Kind::Host) | None => &mut self.sockets.unknown,
        };
        *place += 1;
    }

    /// The number of a subject, which is part of this poll.
    fn number(&mut self, name: &(Kind, Box<str>)) -> u32 {
        let number = self.numbers.get(name).copied().unwrap_or_else(|| {
            let number = self.free.pop().unwrap_or_else(|| {
                self.subjects.push(None);
                u32::try_from(self.subjects.len() - 1).unwrap_or(u32::MAX)
            });
            self.numbers.insert(name.clone(), number);
            number
        });
        if let Some(place) = self.subjects.get_mut(number as usize) {
            place.get_or_insert_with(|| Subject::new(name)).poll = self.poll;
        }
        number
    }

    /// Says what there is.
    pub(super) fn tell(&self, finding: &mut Finding<'_>) {
        for subject in self.subjects.iter().flatten() {
            subject.tell(&self.has, finding);
        }
        for (owner, count) in [
            ("cluster", self.sockets.cluster),
            ("listener", self.sockets.listener),
            ("several_clusters", self.sockets.several),
            ("unknown", self.sockets.unknown),
            ("other_user", self.sockets.others),
            ("over_limit", self.sockets.over),
        ] {
            finding.subject("tcp_info", [("envoy.socket_owner", owner)]);
            finding.gauge("sockets", count);
        }
    }
}

impl Subject {
    fn new((kind, name): &(Kind, Box<str>)) -> Self {
        Self {
            kind: *kind,
            name: name.clone(),
            poll: 0,
            totals: Counts::default(),
            open: 0,
            segments: (0, 0),
            spreads: Default::default(),
        }
    }

    fn begin(&mut self) {
        (self.open, self.segments) = (0, (0, 0));
        self.spreads.iter_mut().for_each(Spread::begin);
    }

    fn see(&mut self, socket: &Socket, grown: Counts) {
        self.totals.add(grown);
        if socket.stage != Stage::Open {
            return;
        }
        self.open += 1;
        let info = &socket.info;
        if let Some(sent) = info.segments_sent {
            self.segments.0 += u64::from(info.retransmits);
            self.segments.1 += u64::from(sent);
        }
        for (spread, measure) in self.spreads.iter_mut().zip(&MEASURES) {
            spread.see(measure, info);
        }
    }

    fn tell(&self, has: &Info, finding: &mut Finding<'_>) {
        let (scope, tag) = match self.kind {
            Kind::Cluster | Kind::Clusters => ("cluster.tcp", "envoy.cluster_name"),
            Kind::Listener => ("listener.tcp", "envoy.listener_address"),
            Kind::Host => ("tcp_info.host", "envoy.remote_domain"),
        };
        finding.subject(scope, [(tag, &*self.name)]);
        finding.gauge("connections", self.open);
        for (word, total, is_there) in [
            ("retransmits", self.totals.retransmits, true),
            (
                "segments_sent",
                self.totals.segments_sent,
                has.segments_sent.is_some(),
            ),
            (
                "bytes_sent",
                self.totals.bytes_sent,
                has.bytes_sent.is_some(),
            ),
            (
                "bytes_acked",
                self.totals.bytes_acked,
                has.bytes_acked.is_some(),
            ),
            (
                "bytes_received",
                self.totals.bytes_received,
                has.bytes_received.is_some(),
            ),
        ] {
            if is_there {
                finding.counter(word, total);
            }
        }
        let (again, sent) = self.segments;
        if sent > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a ratio")]
            finding.double("retransmit_ratio", again as f64 / sent as f64);
        }
        for (spread, measure) in self.spreads.iter().zip(&MEASURES) {
            spread.tell(measure, finding);
        }
    }
}

#[cfg(test)]
mod tests;
