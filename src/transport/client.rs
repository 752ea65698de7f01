//! Clients for HTTP: of an admin interface, and of an address that is written to.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::access::Access;
use super::{AdminAddress, Error, causes};
use crate::files::Files;

/// How long a connection is kept for the next request: through a poll, not from one poll to the
/// next. The old process of a hot restart answers on connections that it has until it ends, by
/// default for 15 minutes, and says nothing of what the new one does (Envoy 1.40; 1.36 ends them).
const IDLE: Duration = Duration::from_millis(100);

/// Connections that are kept where several requests may be under way.
const POOL: usize = 16;

/// How long they are kept.
const POOL_IDLE: Duration = Duration::from_mins(1);

pub(super) fn client_builder(is_https: bool) -> reqwest::ClientBuilder {
    // One TLS provider for the whole program; a second call finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder();
    let builder = if is_https {
        builder
    } else {
        // Authorities are not looked for where none is needed: an image may have none.
        builder.tls_certs_only([])
    };
    builder
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(1)
        .user_agent(concat!("envoy-exporter/", env!("CARGO_PKG_VERSION")))
}

/// A client for another address than an admin interface's; what is read for it is remembered in
/// `files`.
pub fn client_for(
    url: &reqwest::Url,
    access: &Access,
    files: &mut Files,
) -> Result<reqwest::Client, String> {
    let builder = client_builder(url.scheme() == "https")
        .pool_max_idle_per_host(POOL)
        .pool_idle_timeout(POOL_IDLE);
    let builder = access.configure(builder, files)?;
    builder.build().map_err(|error| causes(&error))
}

/// A client for this machine alone: over a unix socket, or to loopback addresses. The name
/// `localhost` is not looked up.
pub fn local_client(socket: Option<PathBuf>) -> Result<reqwest::Client, String> {
    // A connection for each request: servers close idle ones after a time of theirs, and on this
    // machine a new one costs next to nothing.
    let builder = client_builder(false).pool_max_idle_per_host(0);
    let builder = if let Some(socket) = socket {
        builder.unix_socket(socket)
    } else {
        // The port is that of the URL.
        let both = [
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
        ];
        builder.resolve_to_addrs("localhost", &both)
    };
    builder.build().map_err(|error| causes(&error))
}

pub(super) fn client(
    address: &AdminAddress,
    builder: reqwest::ClientBuilder,
    access: &Access,
    files: &mut Files,
) -> Result<reqwest::Client, Error> {
    let builder = builder.pool_idle_timeout(IDLE);
    let setup = |reason| Error::Setup {
        address: address.to_string(),
        reason,
    };
    let builder = access.configure(builder, files).map_err(setup)?;
    builder.build().map_err(|error| setup(causes(&error)))
}
