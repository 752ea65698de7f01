//! Whose connection one is: that of the cluster which has its other end among its endpoints, or of the
//! listener at this end.
//!
//! An endpoint may be of several clusters, and the kernel does not say which of them opened a
//! connection to it. Envoy counts what each opened: where but one opened any, they are its. Else they
//! are of all of these together, under all of their names: any share of one would be a guess.

use hashbrown::HashMap;

use crate::sockets::Address;

/// Room for the names of those who share an address. What does not fit is left out, and said to be by
/// three dots.
const NAMES: usize = 1024;

/// What connections are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Cluster,
    /// Several of them.
    Clusters,
    Listener,
    Host,
}

/// The cluster or listener of a connection, and the host at its other end, by their numbers.
pub(super) type Owners = [Option<u32>; 2];

/// The endpoints and listeners of a proxy.
#[derive(Debug, Default)]
pub(super) struct Places {
    by_host: bool,
    endpoints: Vec<Endpoint>,
    /// Names of clusters and hosts as endpoints have them.
    texts: Texts,
    numbers: HashMap<(Kind, Box<str>), u32>,
    /// Names in the order of their numbers.
    pub(super) names: Vec<(Kind, Box<str>)>,
    /// By an address of the other side.
    remote: HashMap<Address, Owners>,
    /// Listener by an address of this side.
    local: HashMap<Address, u32>,
    /// Where the proxy listens for its administration.
    admin: Option<(Option<Address>, u16)>,
}

#[derive(Clone, Copy, Debug)]
struct Endpoint {
    address: Address,
    cluster: u32,
    host: Option<u32>,
    /// Whether the cluster ever opened a connection to it.
    is_used: bool,
}

#[derive(Debug, Default)]
struct Texts {
    list: Vec<Box<str>>,
    index: HashMap<Box<str>, u32>,
}

impl Texts {
    fn intern(&mut self, text: &str) -> u32 {
        if let Some(known) = self.index.get(text) {
            return *known;
        }
        let number = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.list.push(text.into());
        self.index.insert(text.into(), number);
        number
    }

    fn get(&self, number: u32) -> &str {
        self.list.get(number as usize).map_or("", |text| text)
    }

    /// Several as one, in the order of the alphabet, and how many there are.
    fn joined(&self, numbers: impl Iterator<Item = u32>) -> (usize, String) {
        let mut names: Vec<_> = numbers.map(|number| self.get(number)).collect();
        names.sort_unstable();
        names.dedup();
        let mut joined = String::new();
        for name in &names {
            if !joined.is_empty() {
                joined.push(',');
            }
            if joined.len() + name.len() > NAMES && !joined.is_empty() {
                joined.push_str("...");
                break;
            }
            joined.push_str(name);
        }
        (names.len(), joined)
    }
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
    pub(super) fn endpoint(
        &mut self,
        cluster: &str,
        hostname: &str,
        address: Address,
        is_used: bool,
    ) {
        let host = self.by_host.then(|| match hostname {
            "" => domain(&address.ip.to_string()),
            hostname => domain(hostname),
        });
        let endpoint = Endpoint {
            address,
            cluster: self.texts.intern(cluster),
            host: host.map(|host| self.texts.intern(&host)),
            is_used,
        };
        self.endpoints.push(endpoint);
    }

    /// Settles whose each address is, when all endpoints are there.
    pub(super) fn settle(&mut self) {
        let mut endpoints = std::mem::take(&mut self.endpoints);
        endpoints.sort_by_key(|endpoint| endpoint.address);
        for at_address in endpoints.chunk_by(|a, b| a.address == b.address) {
            let is_used = at_address.iter().any(|endpoint| endpoint.is_used);
            let able = at_address.iter().filter(|of| of.is_used == is_used);
            let (clusters, name) = self.texts.joined(able.clone().map(|of| of.cluster));
            let kind = match clusters {
                1 => Kind::Cluster,
                _ => Kind::Clusters,
            };
            let cluster = self.number(kind, &name);
            let hosts = able.filter_map(|of| of.host);
            let host = self.by_host.then(|| {
                let (_, name) = self.texts.joined(hosts);
                self.number(Kind::Host, &name)
            });
            for endpoint in at_address.iter().filter(|of| of.is_used != is_used) {
                // It has none of these connections, which is something to be said.
                let name = self.texts.get(endpoint.cluster).to_owned();
                self.number(Kind::Cluster, &name);
            }
            if let Some(first) = at_address.first() {
                self.remote.insert(first.address, [Some(cluster), host]);
            }
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
        self.local.entry(parsed).or_insert(number);
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

    /// Whose a connection between these addresses is. What has the address of a listener was not
    /// opened from there.
    pub(super) fn owners(&self, local: Address, remote: Address) -> Owners {
        match self.accepted(local) {
            Some(listener) => [Some(listener), None],
            None => self.remote.get(&remote).copied().unwrap_or_default(),
        }
    }

    /// The listener that accepted a connection at this address.
    fn accepted(&self, local: Address) -> Option<u32> {
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
        places.find_map(|place| self.local.get(&place).copied())
    }
}

/// A host as Kuscia's dashboards write it.
pub(super) fn domain(host: &str) -> String {
    let plain = host.replace('-', "_").replace('.', "__");
    plain.to_lowercase()
}

#[cfg(test)]
mod tests;
