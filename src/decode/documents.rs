//! The admin answers besides `/stats`, as far as mapping, histograms and collectors need them.
//!
//! Here 64-bit numbers are strings and what is zero or default is left out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};

/// An endpoint of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundEndpoint {
    /// The cluster as its stats are called.
    pub cluster: String,
    /// `address:port`, or the path of a socket.
    pub address: String,
    /// Empty when there is none.
    pub hostname: String,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// As it is configured.
    pub name: String,
    /// Where it listens: `address:port`, or the path of a socket.
    pub addresses: Vec<String>,
}

#[derive(Deserialize)]
struct Clusters {
    #[serde(default)]
    cluster_statuses: Vec<Cluster>,
}

#[derive(Deserialize)]
struct Cluster {
    #[serde(default)]
    name: String,
    #[serde(default)]
    observability_name: String,
    #[serde(default)]
    host_statuses: Vec<Host>,
}

#[derive(Deserialize)]
struct Host {
    #[serde(default)]
    hostname: String,
    address: Option<Address>,
}

#[derive(Deserialize)]
struct Address {
    socket_address: Option<SocketAddress>,
    pipe: Option<Pipe>,
}

#[derive(Deserialize)]
struct SocketAddress {
    #[serde(default)]
    address: String,
    #[serde(default)]
    port_value: u32,
}

#[derive(Deserialize)]
struct Pipe {
    #[serde(default)]
    path: String,
}

#[derive(Deserialize)]
struct ServerInfo {
    version: String,
}

/// The endpoints that `/clusters?format=json` lists.
pub fn endpoints(body: &[u8]) -> Result<Vec<FoundEndpoint>, super::Error> {
    let clusters: Clusters = document(body)?;
    let mut found = Vec::new();
    for cluster in clusters.cluster_statuses {
        let name = if cluster.observability_name.is_empty() {
            cluster.name
        } else {
            cluster.observability_name
        };
        for host in cluster.host_statuses {
            let Some(address) = host.address.and_then(Address::text) else {
                continue;
            };
            found.push(FoundEndpoint {
                cluster: name.clone(),
                address,
                hostname: host.hostname,
            });
        }
    }
    Ok(found)
}

#[derive(Deserialize)]
struct Listeners {
    #[serde(default)]
    listener_statuses: Vec<ListenerStatus>,
}

#[derive(Deserialize)]
struct ListenerStatus {
    #[serde(default)]
    name: String,
    local_address: Option<Address>,
    #[serde(default)]
    additional_local_addresses: Vec<Address>,
}

/// A 64-bit number, which is a string here.
struct Wide(u64);

impl<'de> Deserialize<'de> for Wide {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let number = text.parse();
        number
            .map(Self)
            .map_err(|_| de::Error::invalid_value(de::Unexpected::Str(&text), &"a whole number"))
    }
}

/// The listeners that `/listeners?format=json` lists.
pub fn listeners(body: &[u8]) -> Result<Vec<Listener>, super::Error> {
    let listeners: Listeners = document(body)?;
    let of_status = |status: ListenerStatus| {
        let addresses = status.local_address.into_iter();
        let addresses = addresses.chain(status.additional_local_addresses);
        Listener {
            name: status.name,
            addresses: addresses.filter_map(Address::text).collect(),
        }
    };
    let statuses = listeners.listener_statuses.into_iter();
    Ok(statuses.map(of_status).collect())
}

/// The fields of `/memory` and their bytes.
pub fn memory(body: &[u8]) -> Result<BTreeMap<String, u64>, super::Error> {
    let fields: BTreeMap<String, Wide> = document(body)?;
    let fields = fields.into_iter();
    Ok(fields.map(|(field, bytes)| (field, bytes.0)).collect())
}

fn document<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, super::Error> {
    serde_json::from_slice(body).map_err(|error| super::placed(body, &error))
}

/// The version that `/server_info` states.
pub fn version(body: &[u8]) -> Result<String, super::Error> {
    document::<ServerInfo>(body).map(|info| info.version)
}

impl Address {
    fn text(self) -> Option<String> {
        let of_socket = |socket: SocketAddress| {
            let SocketAddress {
                address,
                port_value,
            } = socket;
            if address.contains(':') {
                format!("[{address}]:{port_value}")
            } else {
                format!("{address}:{port_value}")
            }
        };
        self.socket_address
            .map(of_socket)
            .or(self.pipe.map(|pipe| pipe.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_have_their_true_address() {
        let body = br#"{"cluster_statuses":[
            {"name":"a","observability_name":"alt","host_statuses":[
                {"address":{"socket_address":{"address":"10.0.0.1","port_value":80}},"hostname":"h"},
                {"address":{"socket_address":{"address":"::1","port_value":81}}},
                {"address":{"pipe":{"path":"/run/x"}}},
                {}]},
            {"name":"b"}]}"#;
        let found: Vec<_> = endpoints(body)
            .unwrap()
            .into_iter()
            .map(|found| format!("{} {} {}", found.cluster, found.address, found.hostname))
            .collect();
        assert_eq!(found, ["alt 10.0.0.1:80 h", "alt [::1]:81 ", "alt /run/x "]);
        assert_eq!(endpoints(b"{}").unwrap(), []);
        let error = endpoints(b"7").unwrap_err().to_string();
        assert!(error.starts_with("byte 0: invalid type"), "{error}");
    }

    #[test]
    fn listeners_have_all_their_addresses() {
        let body = br#"{"listener_statuses":[
            {"name":"a","local_address":{"socket_address":{"address":"0.0.0.0","port_value":80}},
             "additional_local_addresses":[{"socket_address":{"address":"::","port_value":80}}]},
            {"name":"b","local_address":{"pipe":{"path":"/run/b"}}},{"name":"c"}]}"#;
        let found: Vec<_> = listeners(body).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|listener| (listener.name.as_str(), listener.addresses.join(" ")))
            .collect();
        let want = [("a", "0.0.0.0:80 [::]:80"), ("b", "/run/b"), ("c", "")];
        assert_eq!(found, want.map(|(name, at)| (name, at.to_owned())));
    }

    #[test]
    fn memory_is_in_strings() {
        let body = br#"{"allocated":"18446744073709551615","heap_size":"0"}"#;
        let want = [("allocated", u64::MAX), ("heap_size", 0)];
        let want = want.map(|(field, bytes)| (field.to_owned(), bytes));
        assert_eq!(memory(body).unwrap(), want.into());
        for wrong in [r#"{"a":"-1"}"#, r#"{"a":"1.5"}"#, r#"{"a":{}}"#, "[]"] {
            assert!(memory(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_version_is_read() {
        assert_eq!(
            version(br#"{"state":"LIVE","version":"x/1.40.0/y"}"#).unwrap(),
            "x/1.40.0/y"
        );
        assert!(version(b"{}").is_err());
    }
}
