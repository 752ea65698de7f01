//! The admin answers besides `/stats`, as far as mapping, histograms and collectors need them.
//!
//! Here 64-bit numbers are strings and what is zero or default is left out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

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

#[derive(Debug, Deserialize)]
pub(super) struct Address {
    #[serde(rename = "socket_address")]
    socket: Option<SocketAddress>,
    pipe: Option<Pipe>,
    #[serde(rename = "envoy_internal_address")]
    internal: Option<InternalAddress>,
}

#[derive(Debug, Deserialize)]
struct SocketAddress {
    #[serde(default)]
    address: String,
    #[serde(default)]
    port_value: u32,
}

#[derive(Debug, Deserialize)]
struct InternalAddress {
    #[serde(default)]
    server_listener_name: String,
    #[serde(default)]
    endpoint_id: String,
}

#[derive(Debug, Deserialize)]
struct Pipe {
    #[serde(default)]
    path: String,
}

/// What `/server_info` says of a server; texts are empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// `revision/version/state of the sources/build type/TLS library`.
    pub version: String,
    /// LIVE, or another state.
    pub state: String,
    /// How long this process has run.
    pub uptime: Duration,
    /// The same of the first one, in a row of hot restarts.
    pub uptime_all_epochs: Duration,
    /// Which versions can take over from each other.
    pub hot_restart_version: String,
    /// Which of several processes it is, in a row of hot restarts.
    pub restart_epoch: u64,
    /// The node by its id.
    pub node_id: String,
    /// The cluster that the node is of.
    pub node_cluster: String,
    /// Where the node is: region.
    pub region: String,
    /// Zone in it.
    pub zone: String,
    /// Part of that.
    pub sub_zone: String,
}

impl ServerInfo {
    /// The parts of the version; the second one is all of it where it has other parts.
    pub fn version_parts(&self) -> [&str; 5] {
        let parts: Vec<_> = self.version.split('/').collect();
        <[&str; 5]>::try_from(parts).unwrap_or(["", &self.version, "", "", ""])
    }
}

#[derive(Deserialize)]
struct Info {
    version: String,
    #[serde(default = "live")]
    state: String,
    #[serde(default)]
    uptime_current_epoch: Seconds,
    #[serde(default)]
    uptime_all_epochs: Seconds,
    #[serde(default)]
    hot_restart_version: String,
    #[serde(default)]
    command_line_options: CommandLine,
    #[serde(default)]
    node: Node,
}

/// The state that is left out by writers who leave out what is zero.
fn live() -> String {
    "LIVE".to_owned()
}

#[derive(Default, Deserialize)]
struct CommandLine {
    #[serde(default)]
    restart_epoch: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Node {
    id: String,
    cluster: String,
    locality: Place,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Place {
    region: String,
    zone: String,
    sub_zone: String,
}

/// A time span, a text like `213s` or `0.5s`.
#[derive(Default)]
struct Seconds(Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let seconds = text.strip_suffix('s').and_then(|text| text.parse().ok());
        let span = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let wrong = || de::Error::invalid_value(de::Unexpected::Str(&text), &"a text like 213s");
        span.map(Self).ok_or_else(wrong)
    }
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
            let Some(address) = host.address.as_ref().and_then(Address::text) else {
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
#[derive(Debug, Default)]
pub(super) struct Wide(pub(super) u64);

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
            addresses: addresses.filter_map(|at| at.text()).collect(),
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

/// Reads a whole document.
pub(super) fn document<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, super::Error> {
    serde_json::from_slice(body).map_err(|error| super::placed(body, &error))
}

/// What `/server_info` says.
pub fn server_info(body: &[u8]) -> Result<ServerInfo, super::Error> {
    let info: Info = document(body)?;
    Ok(ServerInfo {
        version: info.version,
        state: info.state,
        uptime: info.uptime_current_epoch.0,
        uptime_all_epochs: info.uptime_all_epochs.0,
        hot_restart_version: info.hot_restart_version,
        restart_epoch: info.command_line_options.restart_epoch,
        node_id: info.node.id,
        node_cluster: info.node.cluster,
        region: info.node.locality.region,
        zone: info.node.locality.zone,
        sub_zone: info.node.locality.sub_zone,
    })
}

/// The version that `/server_info` states.
pub fn version(body: &[u8]) -> Result<String, super::Error> {
    server_info(body).map(|info| info.version)
}

impl Address {
    /// As Envoy writes it.
    pub(super) fn text(&self) -> Option<String> {
        if let Some(socket) = &self.socket {
            let SocketAddress {
                address,
                port_value,
            } = socket;
            return Some(if address.contains(':') {
                format!("[{address}]:{port_value}")
            } else {
                format!("{address}:{port_value}")
            });
        }
        let internal = self.internal.as_ref().map(|internal| {
            let (listener, id) = (&internal.server_listener_name, &internal.endpoint_id);
            format!("envoy://{listener}/{id}")
        });
        internal.or_else(|| Some(self.pipe.as_ref()?.path.clone()))
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
                {"address":{"envoy_internal_address":{"server_listener_name":"l","endpoint_id":"1"}}},
                {}]},
            {"name":"b"}]}"#;
        let found: Vec<_> = endpoints(body)
            .unwrap()
            .into_iter()
            .map(|found| format!("{} {} {}", found.cluster, found.address, found.hostname))
            .collect();
        let want = [
            "alt 10.0.0.1:80 h",
            "alt [::1]:81 ",
            "alt /run/x ",
            "alt envoy://l/1 ",
        ];
        assert_eq!(found, want);
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
        let info = server_info(br#"{"version":"a","uptime_current_epoch":"1.5s"}"#).unwrap();
        assert_eq!(
            (info.state.as_str(), info.uptime),
            ("LIVE", Duration::from_millis(1500))
        );
        assert_eq!(info.version_parts(), ["", "a", "", "", ""]);
        for wrong in ["5", "-1s", "s", "1e99s", "NaNs"] {
            let body = format!(r#"{{"version":"a","uptime_current_epoch":"{wrong}"}}"#);
            assert!(server_info(body.as_bytes()).is_err(), "{wrong}");
        }
    }
}
