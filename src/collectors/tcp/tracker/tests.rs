use super::*;

const OWN: u32 = 101;

/// A connection: its cookie, its user, where it leads, and what it counts.
#[derive(Clone, Copy)]
struct Made {
    cookie: u64,
    uid: u32,
    remote: &'static str,
    stage: Stage,
    bytes: u64,
    retransmits: u32,
    rtt: u32,
}

const PLAIN: Made = Made {
    cookie: 1,
    uid: OWN,
    remote: "10.0.0.1:80",
    stage: Stage::Open,
    bytes: 0,
    retransmits: 0,
    rtt: 1000,
};

impl Made {
    fn socket(self) -> Socket {
        Socket {
            cookie: self.cookie,
            local: "192.0.2.1:40000".parse().unwrap(),
            remote: self.remote.parse().unwrap(),
            stage: self.stage,
            uid: self.uid,
            info: Info {
                rtt: self.rtt,
                rto: 204_000,
                retransmits: self.retransmits,
                bytes_sent: Some(self.bytes),
                bytes_acked: Some(self.bytes),
                bytes_received: Some(self.bytes * 2),
                segments_sent: Some(100),
                ..Info::default()
            },
        }
    }
}

/// Clusters `a` at 10.0.0.1, `b` at 10.0.0.2, of which both are at 10.0.0.3, and a host for each.
fn places(clusters: &[&str]) -> Places {
    let mut places = Places::new(true);
    for (cluster, at) in [
        ("a", "10.0.0.1:80"),
        ("b", "10.0.0.2:80"),
        ("a", "10.0.0.3:80"),
        ("b", "10.0.0.3:80"),
    ] {
        if clusters.contains(&cluster) {
            places.endpoint(cluster, "", at.parse().unwrap(), true);
        }
    }
    places.settle();
    places
}

struct World {
    tracker: Tracker,
    clusters: Vec<&'static str>,
    users: HashSet<u32>,
}

impl World {
    fn new() -> Self {
        Self {
            tracker: Tracker::default(),
            clusters: vec!["a", "b"],
            users: [OWN].into(),
        }
    }

    fn poll(&mut self, made: &[Made]) {
        let dump = Dump {
            connections: made.iter().map(|made| made.socket()).collect(),
            ..Dump::default()
        };
        let places = places(&self.clusters);
        self.tracker.take(&dump, &places, &self.users);
    }

    fn subject(&self, kind: Kind, name: &str) -> Option<&Subject> {
        let number = self.tracker.numbers.get(&(kind, name.into()))?;
        self.tracker.subjects[*number as usize].as_ref()
    }

    /// Connections, bytes sent and retransmissions of a cluster.
    #[track_caller]
    fn check(&self, cluster: &str, want: Option<(u64, u64, u64)>) {
        let of = |subject: &Subject| {
            let totals = subject.totals;
            assert_eq!(totals.bytes_received, totals.bytes_sent * 2);
            (subject.open, totals.bytes_sent, totals.retransmits)
        };
        assert_eq!(
            self.subject(Kind::Cluster, cluster).map(of),
            want,
            "{cluster}"
        );
    }
}

#[test]
fn totals_do_not_fall_when_connections_close() {
    let mut world = World::new();
    let [one, other] = [1, 2].map(|cookie| Made { cookie, ..PLAIN });
    // What was there before anyone looked is no growth.
    world.poll(&[Made {
        bytes: 500,
        retransmits: 3,
        ..one
    }]);
    world.check("a", Some((1, 0, 0)));
    world.check("b", Some((0, 0, 0)));
    // What is new counts from its beginning.
    world.poll(&[
        Made {
            bytes: 600,
            retransmits: 4,
            ..one
        },
        Made { bytes: 70, ..other },
    ]);
    world.check("a", Some((2, 170, 1)));
    // One closes, and still sends.
    let closing = Stage::Closing;
    world.poll(&[
        Made {
            bytes: 610,
            retransmits: 4,
            stage: closing,
            uid: 0,
            ..one
        },
        Made { bytes: 71, ..other },
    ]);
    world.check("a", Some((1, 181, 1)));
    world.poll(&[Made { bytes: 71, ..other }]);
    world.check("a", Some((1, 181, 1)));
    world.poll(&[]);
    world.check("a", Some((0, 181, 1)));
    assert_eq!(world.tracker.known.len(), 0);
    // The same cookie would be another connection.
    world.poll(&[Made { bytes: 5, ..one }]);
    world.check("a", Some((1, 186, 1)));
    // A list in which it stands twice.
    world.poll(&[Made { bytes: 6, ..one }, Made { bytes: 6, ..one }]);
    world.check("a", Some((1, 187, 1)));
    // What falls all the same does not count backwards.
    world.poll(&[Made { bytes: 0, ..one }]);
    world.check("a", Some((1, 187, 1)));
}

#[test]
fn segments_begin_again_behind_32_bits() {
    let mut world = World::new();
    world.poll(&[Made {
        retransmits: u32::MAX - 1,
        ..PLAIN
    }]);
    world.poll(&[Made {
        retransmits: 2,
        ..PLAIN
    }]);
    world.check("a", Some((1, 0, 4)));
}

#[test]
fn a_connection_stays_whose_it_was() {
    let mut world = World::new();
    world.poll(&[]);
    world.poll(&[Made { bytes: 10, ..PLAIN }]);
    // The endpoint goes while its connection drains, and with it the cluster.
    world.clusters = vec!["b"];
    world.poll(&[Made { bytes: 15, ..PLAIN }]);
    world.check("a", Some((1, 15, 0)));
    world.poll(&[]);
    world.check("a", None);
    world.check("b", Some((0, 0, 0)));
    // It comes again, and counts anew.
    world.clusters = vec!["a", "b"];
    world.poll(&[Made {
        bytes: 20,
        cookie: 9,
        ..PLAIN
    }]);
    world.check("a", Some((1, 20, 0)));

    // One that was nobody's gets an owner, and counts from then on.
    let mut world = World::new();
    world.clusters = vec![];
    world.poll(&[]);
    world.poll(&[Made {
        bytes: 100,
        ..PLAIN
    }]);
    assert_eq!(world.tracker.sockets.unknown, 1);
    world.clusters = vec!["a"];
    world.poll(&[Made {
        bytes: 130,
        ..PLAIN
    }]);
    world.check("a", Some((1, 30, 0)));
}

#[test]
fn every_socket_is_counted_once() {
    let mut world = World::new();
    let made = [
        PLAIN,
        Made {
            cookie: 2,
            remote: "10.0.0.3:80",
            ..PLAIN
        },
        Made {
            cookie: 3,
            remote: "10.9.9.9:80",
            ..PLAIN
        },
        Made {
            cookie: 4,
            uid: 1000,
            ..PLAIN
        },
        Made {
            cookie: 5,
            stage: Stage::Opening,
            rtt: 0,
            ..PLAIN
        },
    ];
    world.poll(&made);
    let want = Sockets {
        cluster: 2,
        several: 1,
        unknown: 1,
        others: 1,
        ..Sockets::default()
    };
    assert_eq!(world.tracker.sockets, want);
    let both = world.subject(Kind::Clusters, "a,b").unwrap();
    assert_eq!(both.open, 1);
    world.check("a", Some((1, 0, 0)));
    let host = world.subject(Kind::Host, "10__0__0__3").unwrap();
    assert_eq!(host.open, 1);
    // Where nobody is known to be the proxy's user, all are.
    world.users.clear();
    world.poll(&made);
    assert_eq!(world.tracker.sockets.others, 0);
    world.check("a", Some((2, 0, 0)));
}

#[test]
fn a_limit_leaves_room_for_what_is_known() {
    let mut tracker = Tracker::default();
    let made = |cookie| Made { cookie, ..PLAIN }.socket();
    let list = |cookies: &[u64], tracker: &Tracker| {
        let mut dump = Dump::default();
        for cookie in cookies {
            dump.take(made(*cookie), 3, tracker);
        }
        let cookies: Vec<_> = dump.connections.iter().map(|of| of.cookie).collect();
        (dump, cookies)
    };
    let places = places(&["a"]);
    for (listed, want, over) in [
        (&[1, 2][..], &[1, 2][..], 0),
        (&[3, 4, 2, 1], &[3, 2, 1], 1),
        (&[5, 4, 3, 1], &[3, 1], 2),
        (&[5, 4, 3, 1], &[5, 3, 1], 1),
    ] {
        let (dump, cookies) = list(listed, &tracker);
        assert_eq!((cookies.as_slice(), dump.over), (want, over));
        tracker.take(&dump, &places, &HashSet::new());
        assert!(tracker.known.len() <= 3);
        assert_eq!(tracker.sockets.over, over as u64);
    }
}
