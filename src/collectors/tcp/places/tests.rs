use super::*;

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

/// The names of cluster or listener, and host.
fn owners(places: &Places, local: &str, remote: &str) -> [Option<(Kind, String)>; 2] {
    let name = |number: u32| {
        let (kind, name) = &places.names[number as usize];
        (*kind, name.to_string())
    };
    let owners = places.owners(address(local), address(remote));
    owners.map(|owner| owner.map(name))
}

/// Endpoints and listeners of every kind.
fn world() -> Places {
    let mut places = Places::new(true);
    for (cluster, hostname, at, is_used) in [
        ("alone", "", "10.0.0.1:80", false),
        ("alone", "", "[2001:db8::1]:80", true),
        ("other_port", "", "10.0.0.1:81", true),
        ("named", "Bob-1.Example.com", "10.0.0.2:80", false),
        // Both may have opened it.
        ("b", "", "10.0.0.3:80", true),
        ("a", "", "10.0.0.3:80", true),
        ("unused", "", "10.0.0.3:80", false),
        // One of them alone opened any.
        ("used", "x", "10.0.0.4:80", true),
        ("idle", "y", "10.0.0.4:80", false),
        // None opened any.
        ("idle", "", "10.0.0.5:80", false),
        ("unused", "", "10.0.0.5:80", false),
        // Twice in one cluster, as with priorities.
        ("twice", "", "10.0.0.6:80", true),
        ("twice", "", "10.0.0.6:80", true),
        ("mapped", "", "[::ffff:10.0.0.7]:80", true),
    ] {
        places.endpoint(cluster, hostname, address(at), is_used);
    }
    for at in [
        "0.0.0.0:8080",
        "[::]:8081",
        "127.0.0.1:8082",
        "/run/listener.sock",
        "envoy://internal/",
    ] {
        places.listener(at);
    }
    places.settle();
    places
}

#[test]
fn connections_are_of_who_opened_or_accepted_them() {
    let places = world();
    let (local, remote) = ("192.0.2.1:40000", "198.51.100.1:50000");
    for (local, remote, want, host) in [
        (
            local,
            "10.0.0.1:80",
            Some((Kind::Cluster, "alone")),
            Some("10__0__0__1"),
        ),
        (
            local,
            "[2001:db8::1]:80",
            Some((Kind::Cluster, "alone")),
            Some("2001:db8::1"),
        ),
        (
            local,
            "10.0.0.1:81",
            Some((Kind::Cluster, "other_port")),
            Some("10__0__0__1"),
        ),
        (local, "10.0.0.1:82", None, None),
        (
            local,
            "10.0.0.2:80",
            Some((Kind::Cluster, "named")),
            Some("bob_1__example__com"),
        ),
        (
            local,
            "10.0.0.3:80",
            Some((Kind::Clusters, "a,b")),
            Some("10__0__0__3"),
        ),
        (
            local,
            "10.0.0.4:80",
            Some((Kind::Cluster, "used")),
            Some("x"),
        ),
        (
            local,
            "10.0.0.5:80",
            Some((Kind::Clusters, "idle,unused")),
            Some("10__0__0__5"),
        ),
        (
            local,
            "10.0.0.6:80",
            Some((Kind::Cluster, "twice")),
            Some("10__0__0__6"),
        ),
        (
            local,
            "10.0.0.7:80",
            Some((Kind::Cluster, "mapped")),
            Some("10__0__0__7"),
        ),
        (
            "192.0.2.1:8080",
            remote,
            Some((Kind::Listener, "0.0.0.0_8080")),
            None,
        ),
        // A client of IPv4 at a socket of IPv6.
        (
            "[::ffff:192.0.2.1]:8081",
            remote,
            Some((Kind::Listener, "[__]_8081")),
            None,
        ),
        (
            "[2001:db8::2]:8081",
            remote,
            Some((Kind::Listener, "[__]_8081")),
            None,
        ),
        ("[2001:db8::2]:8080", remote, None, None),
        (
            "127.0.0.1:8082",
            remote,
            Some((Kind::Listener, "127.0.0.1_8082")),
            None,
        ),
        ("192.0.2.1:8082", remote, None, None),
        // Accepted, whatever the other side's port is.
        (
            "127.0.0.1:8082",
            "10.0.0.1:80",
            Some((Kind::Listener, "127.0.0.1_8082")),
            None,
        ),
        (local, remote, None, None),
    ] {
        let want = want.map(|(kind, name)| (kind, name.to_owned()));
        let host = host.map(|name| (Kind::Host, name.to_owned()));
        assert_eq!(
            owners(&places, local, remote),
            [want, host],
            "{local} {remote}"
        );
    }
}

#[test]
fn clusters_without_connections_are_there_too() {
    let places = world();
    // Who has no connection is known to have none; who may have some is not.
    let has = |name: &str| places.names.contains(&(Kind::Cluster, name.into()));
    assert!(has("idle") && has("unused") && !has("a") && !has("b"));
    assert!(!places.names.iter().any(|(_, name)| name.is_empty()));
}

#[test]
fn hosts_are_told_where_they_are_wanted() {
    let local = "192.0.2.1:40000";
    let mut places = Places::new(false);
    places.endpoint("c", "host", address("10.0.0.1:80"), true);
    places.settle();
    let want = [Some((Kind::Cluster, "c".to_owned())), None];
    assert_eq!(owners(&places, local, "10.0.0.1:80"), want);
}

#[test]
fn many_names_have_a_bound() {
    let mut places = Places::default();
    for at in 0..1000 {
        places.endpoint(
            &format!("cluster-{at:04}"),
            "",
            address("10.0.0.1:80"),
            true,
        );
    }
    places.settle();
    let (kind, name) = &places.names[0];
    assert_eq!(*kind, Kind::Clusters);
    assert!(name.len() <= NAMES + 4, "{}", name.len());
    assert!(name.starts_with("cluster-0000,cluster-0001,") && name.ends_with(",..."));
}

#[test]
fn the_proxy_is_told_by_where_it_listens() {
    for (listener, admin, listening, want) in [
        ("127.0.0.1:80", None, "127.0.0.1:80", true),
        ("127.0.0.1:80", None, "127.0.0.1:81", false),
        ("127.0.0.1:80", None, "0.0.0.0:80", false),
        ("0.0.0.0:80", None, "0.0.0.0:80", true),
        ("/run/x", Some(("127.0.0.1", 9901)), "127.0.0.1:9901", true),
        ("/run/x", Some(("127.0.0.1", 9901)), "0.0.0.0:9901", true),
        ("/run/x", Some(("127.0.0.1", 9901)), "127.0.0.2:9901", false),
        ("/run/x", Some(("[::1]", 9901)), "[::1]:9901", true),
        ("/run/x", Some(("[::1]", 9901)), "[::]:9901", true),
        ("/run/x", Some(("localhost", 9901)), "127.0.0.1:9901", true),
        ("/run/x", Some(("localhost", 9901)), "127.0.0.1:9902", false),
    ] {
        let mut places = Places::default();
        places.listener(listener);
        if let Some((host, port)) = admin {
            places.admin(&(host.to_owned(), port));
        }
        assert!(places.has_own());
        assert_eq!(
            places.is_own(address(listening)),
            want,
            "{listener} {listening}"
        );
    }
    let mut places = Places::default();
    places.listener("/run/x");
    assert!(!places.has_own());
}
