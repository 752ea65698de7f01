//! The admin answers besides `/stats`, as far as mapping and histograms need them: the endpoints of
//! `/clusters?format=json` and the version of `/server_info`.
//!
//! Here 64-bit numbers are strings and what is zero or default is left out.

use serde::Deserialize;

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
    let clusters: Clusters =
        serde_json::from_slice(body).map_err(|error| super::placed(body, &error))?;
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

/// The version that `/server_info` states.
pub fn version(body: &[u8]) -> Result<String, super::Error> {
    serde_json::from_slice::<ServerInfo>(body)
        .map(|info| info.version)
        .map_err(|error| super::placed(body, &error))
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
    fn the_version_is_read() {
        assert_eq!(
            version(br#"{"state":"LIVE","version":"x/1.40.0/y"}"#).unwrap(),
            "x/1.40.0/y"
        );
        assert!(version(b"{}").is_err());
    }
}
