//! Whose connection one is: that of the cluster which has its other end among its endpoints, or of the
//! listener at this end.
//!
//! An endpoint may be of several clusters, and nothing in the kernel tells which of them opened a
//! connection to it. Such a connection is of none of them: any share of it would be a guess.

use hashbrown::HashMap;

use crate::sockets::Address;

/// What connections are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Cluster,
    Listener,
    Host,
}

/// Whose something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Owner {
    /// Nobody's that is known.
    #[default]
    Nobody,
    /// It could be of more than one.
    Several,
    /// Of the one with this number.
    One(u32),
}

impl Owner {
    fn or(self, number: u32) -> Self {
        match self {
            Self::Nobody => Self::One(number),
            Self::One(have) if have == number => self,
            Self::One(_) | Self::Several => Self::Several,
        }
    }
}

/// The endpoints and listeners of a proxy.
#[derive(Debug, Default)]
pub(super) struct Places {
    by_host: bool,
    numbers: HashMap<(Kind, Box<str>), u32>,
    /// Names in the order of their numbers.
    pub(super) names: Vec<(Kind, Box<str>)>,
    /// Cluster and host by an address of the other side.
    remote: HashMap<Address, (Owner, Owner)>,
    /// Listener by an address of this side.
    local: HashMap<Address, Owner>,
    /// Where the proxy listens for its administration.
    admin: Option<(Option<Address>, u16)>,
}

impl Places {
    pub(super) fn new(by_host: bool) -> Self {
        Self {
            by_host,
            ..Self::default()
        }
    }

    fn number(&mut self, kind: Kind, name: &str) -> u32 {
        let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let key = (kind, Box::from(name));
        *self.numbers.entry(key).or_insert_with_key(|key| {
            self.names.push(key.clone());
            next
        })
    }

    /// An endpoint of a cluster; its host name may be empty.
    pub(super) fn endpoint(&mut self, cluster: &str, hostname: &str, address: Address) {
        let cluster = self.number(Kind::Cluster, cluster);
        let host = self.by_host.then(|| {
            let name = match hostname {
                "" => domain(&address.ip.to_string()),
                hostname => domain(hostname),
            };
            self.number(Kind::Host, &name)
        });
        let owners = self.remote.entry(address).or_default();
        owners.0 = owners.0.or(cluster);
        if let Some(host) = host {
            owners.1 = owners.1.or(host);
        }
    }

    /// An address of a listener, as Envoy writes it.
    pub(super) fn listener(&mut self, address: &str) {
        let Ok(parsed) = address.parse() else {
            // A path, or a name inside of the proxy.
            return;
        };
        // As the names of stats have it.
        let number = self.number(Kind::Listener, &address.replace(':', "_"));
        let owner = self.local.entry(parsed).or_default();
        *owner = owner.or(number);
    }

    /// The host and port of the administration, where it is reached by TCP.
    pub(super) fn admin(&mut self, (host, port): &(String, u16)) {
        let ip = host.trim_matches(['[', ']']).parse();
        let address = ip.ok().map(|ip| Address::new(ip, *port));
        self.admin = Some((address, *port));
    }

    /// Whether the proxy is known to listen anywhere.
    pub(super) fn has_own(&self) -> bool {
        self.admin.is_some() || !self.local.is_empty()
    }

    /// Whether a socket that listens at this address is the proxy's.
    pub(super) fn is_own(&self, listening: Address) -> bool {
        let is_admin = self.admin.is_some_and(|(address, port)| {
            let any = listening.ip.is_unspecified();
            listening.port == port && (any || address.is_none_or(|address| address == listening))
        });
        is_admin || self.local.contains_key(&listening)
    }

    /// The listener that accepted a connection at this address.
    pub(super) fn accepted(&self, local: Address) -> Owner {
        let wildcards: &[&str] = if local.ip.is_ipv4() {
            // A listener of IPv6 may take IPv4 too.
            &["0.0.0.0", "::"]
        } else {
            &["::"]
        };
        let wildcards = wildcards.iter().filter_map(|ip| ip.parse().ok());
        let wildcards = wildcards.map(|ip| Address {
            ip,
            port: local.port,
        });
        let mut places = std::iter::once(local).chain(wildcards);
        let found = places.find_map(|place| self.local.get(&place));
        found.copied().unwrap_or_default()
    }

    /// Cluster and host of a connection that was opened to this address.
    pub(super) fn opened(&self, remote: Address) -> (Owner, Owner) {
        self.remote.get(&remote).copied().unwrap_or_default()
    }
}

/// A host as Kuscia's dashboards write it.
pub(super) fn domain(host: &str) -> String {
    let plain = host.replace('-', "_").replace('.', "__");
    plain.to_lowercase()
}
