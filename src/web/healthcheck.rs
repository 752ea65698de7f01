//! `healthcheck`: asks a running exporter whether it serves, for images without a shell.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::ListenAddress;

/// How long a healthy exporter may take to say so.
const TIMEOUT: Duration = Duration::from_secs(3);

/// An exporter that is not healthy.
#[derive(Debug, thiserror::Error)]
#[error("{url} is not healthy: {reason}")]
pub struct HealthError {
    url: String,
    reason: String,
}

/// Asks the exporter that listens at `address`; one that listens everywhere is asked on loopback.
pub async fn healthcheck(address: &ListenAddress) -> Result<(), HealthError> {
    let mut client = reqwest::Client::builder()
        .no_proxy()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT);
    let host = match address {
        ListenAddress::Tcp { host, port } => {
            let host = match host.as_deref() {
                None => Ipv4Addr::LOCALHOST.to_string(),
                Some(host) => asked(host),
            };
            format!("{host}:{port}")
        }
        ListenAddress::Unix(path) => {
            client = client.unix_socket(path.clone());
            "localhost".to_owned()
        }
    };
    let url = format!("http://{host}/-/healthy");
    let unhealthy = |reason: String| HealthError {
        url: url.clone(),
        reason,
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = client
        .build()
        .map_err(|error| unhealthy(error.to_string()))?;
    let response = client.get(&url).send().await;
    let status = response
        .map_err(|error| unhealthy(crate::transport::causes(&error)))?
        .status();
    if status.is_success() {
        Ok(())
    } else {
        Err(unhealthy(format!("status {status}")))
    }
}

/// The host to ask for one that is listened on.
fn asked(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(address)) if address.is_unspecified() => "[::1]".to_owned(),
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::asked;

    #[test]
    fn wildcards_are_asked_on_loopback() {
        for (host, want) in [
            ("0.0.0.0", "127.0.0.1"),
            ("::", "[::1]"),
            ("10.0.0.1", "10.0.0.1"),
            ("fe80::1", "[fe80::1]"),
            ("exporter", "exporter"),
        ] {
            assert_eq!(asked(host), want, "{host}");
        }
    }
}
