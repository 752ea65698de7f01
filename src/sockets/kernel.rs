//! Asks the kernel for its TCP sockets, IPv4 and IPv6.
//!
//! The kernel makes the answer while it is read, a buffer at a time: nothing waits in between, and
//! nothing is held but that buffer. It belongs on a thread for such work, as a long list takes its
//! time.

use std::io::{self, Read as _};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket as Netlink, Type};

use super::wire::{self, INET, INET6};
use super::{Error, Socket};

const NETLINK: i32 = 16;
const SOCK_DIAG: i32 = 4;

/// More than the kernel ever puts into one datagram of a list, which is half of it.
const BUFFER: usize = 64 * 1024;

/// Shown where a family is none of this kernel's.
const NO_ENTRY: i32 = 2;

/// Hands on every TCP socket that listens, connects, is connected, or has not ended for good. One may
/// come twice, when it moves while the list is made. After an error what came is not all of them.
pub fn each(deadline: Instant, mut take: impl FnMut(Socket)) -> Result<(), Error> {
    if !cfg!(target_os = "linux") {
        return Err(Error::Unsupported);
    }
    let netlink = Netlink::new(
        Domain::from(NETLINK),
        Type::DGRAM,
        Some(Protocol::from(SOCK_DIAG)),
    );
    let netlink = netlink.map_err(Error::Open)?;
    let mut buffer = vec![0; BUFFER];
    for (sequence, family) in [(1, INET), (2, INET6)] {
        match list(
            &netlink,
            &mut buffer,
            (sequence, family),
            deadline,
            &mut take,
        ) {
            // A kernel without IPv6.
            Err(Error::Refused(error))
                if family == INET6 && error.raw_os_error() == Some(NO_ENTRY) => {}
            other => other?,
        }
    }
    Ok(())
}

fn list(
    netlink: &Netlink,
    buffer: &mut [u8],
    (sequence, family): (u32, u8),
    deadline: Instant,
    take: &mut impl FnMut(Socket),
) -> Result<(), Error> {
    // Unless told otherwise, a netlink socket speaks to the kernel.
    let sent = netlink.send(&wire::request(family, sequence));
    sent.map_err(Error::Netlink)?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout);
        }
        let timeout = left.max(Duration::from_millis(1));
        let limited = netlink.set_read_timeout(Some(timeout));
        limited.map_err(Error::Netlink)?;
        let mut reader = netlink;
        let size = match reader.read(buffer) {
            Ok(size) => size,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Error::Timeout),
            Err(error) => return Err(Error::Netlink(error)),
        };
        // A datagram that just fits may have been longer.
        let whole = buffer.get(..size).filter(|whole| whole.len() < BUFFER);
        let whole = whole.ok_or(Error::Malformed("a datagram is larger than any of a list"))?;
        if wire::datagram(whole, sequence, &mut *take)? {
            return Ok(());
        }
    }
}
