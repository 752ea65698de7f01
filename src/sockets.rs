//! The TCP sockets of this network namespace, as the kernel tells of them: addresses, owner, and
//! what `TCP_INFO` knows of each.
//!
//! They are read by netlink (`sock_diag`), which needs no privilege and no other program. What
//! the kernel sends is taken apart in [`wire`], which knows nothing of sockets; [`kernel`] asks for it.
//! Fields are read one by one and by their place, since what `TCP_INFO` holds grew with the kernel: a
//! field that an older one has not is no field, and not a zero.

pub mod kernel;
pub mod wire;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Why the sockets are not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing here.
    #[error("sockets can be read from Linux alone")]
    Unsupported,
    /// No netlink socket is to be had.
    #[error(
        "the kernel gives no netlink socket for sock_diag; a seccomp profile or the container's \
         runtime may forbid it"
    )]
    Open(#[source] io::Error),
    /// It was to be had, and failed.
    #[error("netlink failed")]
    Netlink(#[source] io::Error),
    /// The kernel answered with an error.
    #[error("the kernel refuses to list sockets")]
    Refused(#[source] io::Error),
    /// Its answer is not what it is known to send.
    #[error("the kernel's answer is not understood: {0}")]
    Malformed(&'static str),
    /// The list changed under the kernel's hands, each time that it was asked for.
    #[error("the kernel's list of sockets was interrupted")]
    Interrupted,
    /// It was not all read in time.
    #[error("the kernel's list of sockets was not read within the time of the poll")]
    Timeout,
}

/// An address and a port. Of an IPv4 address inside an IPv6 one it is the IPv4 address, so that both
/// kinds of sockets agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
}

impl Address {
    /// Brings the address to its plain form.
    pub fn new(ip: IpAddr, port: u16) -> Self {
        Self {
            ip: ip.to_canonical(),
            port,
        }
    }
}

impl FromStr for Address {
    type Err = std::net::AddrParseError;

    /// As Envoy writes it: `10.0.0.1:80`, `[::1]:80`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed: SocketAddr = text.parse()?;
        Ok(Self::new(parsed.ip(), parsed.port()))
    }
}

/// Where a socket is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits for connections.
    Listening,
    /// It connects.
    Opening,
    /// Both sides may send, or the other one alone has ended.
    Open,
    /// This side has ended, and the kernel sends what is left.
    Closing,
}

/// A socket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Socket {
    /// Tells it from all others since the machine was started.
    pub cookie: u64,
    /// This side.
    pub local: Address,
    /// The other side; of one that listens no address.
    pub remote: Address,
    /// Where it is in its life.
    pub stage: Stage,
    /// The user that it belongs to; 0 also when nobody holds it any more.
    pub uid: u32,
    /// What the kernel knows of the connection; of one that listens it means other things.
    pub info: Info,
}

/// What the kernel knows of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Smoothed round trip time in microseconds; 0: none was measured.
    pub rtt: u32,
    /// Retransmission timeout in microseconds.
    pub rto: u32,
    /// Segments that are sent and not acknowledged.
    pub unacked: u32,
    /// Congestion window in segments.
    pub congestion_window: u32,
    /// Segments retransmitted since the connection was opened.
    pub retransmits: u32,
    /// Bytes that the other side has acknowledged. Kernel 4.1 and later.
    pub bytes_acked: Option<u64>,
    /// Bytes received. Kernel 4.1 and later.
    pub bytes_received: Option<u64>,
    /// Segments sent, those that were retransmitted among them. Kernel 4.2 and later.
    pub segments_sent: Option<u32>,
    /// Bytes in each second that were delivered last. Kernel 4.9 and later.
    pub delivery_rate: Option<u64>,
    /// Bytes sent, those that were retransmitted among them. Kernel 4.19 and later.
    pub bytes_sent: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_envoy() {
        for (text, want) in [
            ("10.0.0.1:80", Some(("10.0.0.1", 80))),
            ("[::1]:65535", Some(("::1", 65535))),
            ("[::ffff:10.0.0.1]:80", Some(("10.0.0.1", 80))),
            ("[fe80::1%2]:80", Some(("fe80::1", 80))),
            ("/run/envoy.sock", None),
            ("envoy://listener/1", None),
            ("10.0.0.1", None),
            ("::1:80", None),
        ] {
            let found = text.parse::<Address>().ok();
            let want = want.map(|(ip, port)| Address {
                ip: ip.parse().unwrap(),
                port,
            });
            assert_eq!(found, want, "{text}");
        }
    }
}
