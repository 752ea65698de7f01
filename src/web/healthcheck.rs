//! `healthcheck`: asks a running exporter whether it serves, for images without a shell.

use std::error::Error as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use rustls::AlertDescription;
use warp::http::StatusCode;

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
///
/// One that is `secured` by a web configuration file is asked by TLS first. No password and no
/// certificate is sent: that it asks for one shows that it serves. Nothing secret goes out, so on
/// loopback and on a unix socket it does not matter whose certificate it has.
pub async fn healthcheck(address: &ListenAddress, secured: bool) -> Result<(), HealthError> {
    if !secured {
        return ask(address, "http", false).await;
    }
    let Err(by_tls) = ask(address, "https", true).await else {
        return Ok(());
    };
    // The file may say nothing of TLS, and may have changed since the start.
    let plain = ask(address, "http", true).await;
    plain.map_err(|plain| HealthError {
        reason: format!("{}; without TLS: {}", by_tls.reason, plain.reason),
        url: by_tls.url,
    })
}

async fn ask(address: &ListenAddress, scheme: &str, secured: bool) -> Result<(), HealthError> {
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
            client = client.tls_danger_accept_invalid_certs(is_loopback(&host));
            format!("{host}:{port}")
        }
        ListenAddress::Unix { path, .. } => {
            client = client
                .unix_socket(path.clone())
                .tls_danger_accept_invalid_certs(true);
            "localhost".to_owned()
        }
    };
    let url = format!("{scheme}://{host}/-/healthy");
    let unhealthy = |reason: String| HealthError {
        url: url.clone(),
        reason,
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = client
        .build()
        .map_err(|error| unhealthy(error.to_string()))?;
    let status = match client.get(&url).send().await {
        Ok(response) => response.status(),
        Err(error) if secured && wants_certificate(&error) => return Ok(()),
        Err(error) => return Err(unhealthy(crate::transport::causes(&error))),
    };
    let asks = [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS];
    if status.is_success() || secured && asks.contains(&status) {
        Ok(())
    } else {
        Err(unhealthy(format!("status {status}")))
    }
}

/// Whether a host is this one, by name or address.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address: Result<IpAddr, _> = address.parse();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Whether a connection ended since a certificate of ours was wanted: then somebody is there who
/// takes connections and keeps to the rules.
fn wants_certificate(error: &reqwest::Error) -> bool {
    let wanted = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
    let mut next = error.source();
    while let Some(cause) = next {
        if cause.downcast_ref() == Some(&wanted) {
            return true;
        }
        // An I/O error gives not what is in it as its source, but the source of that.
        let inner = cause.downcast_ref::<std::io::Error>();
        let inner = inner.and_then(std::io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    false
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
    use super::{asked, is_loopback};

    #[test]
    fn loopback() {
        for (host, want) in [
            ("127.0.0.1", true),
            ("127.8.9.1", true),
            ("[::1]", true),
            ("localhost", true),
            ("10.0.0.1", false),
            ("[fe80::1]", false),
            ("exporter", false),
            ("localhost.example.com", false),
        ] {
            assert_eq!(is_loopback(host), want, "{host}");
        }
    }

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
