//! What goes over a netlink socket: the request for a list of sockets, and the messages of the answer.
//!
//! Numbers are in the machine's own order, ports and addresses in the network's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Address, Error, Info, Socket, Stage};

/// IPv4, as the kernel numbers it.
pub const INET: u8 = 2;

/// IPv6.
pub const INET6: u8 = 10;

/// Type of a message with a socket, and of the request for it.
const BY_FAMILY: u16 = 20;
const NOOP: u16 = 1;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const OVERRUN: u16 = 4;

/// The list is asked for, all of it.
const REQUEST_DUMP: u16 = 0x1 | 0x300;

/// Set on messages of a list that changed while it was made.
const INTERRUPTED: u16 = 0x10;

const TCP: u8 = 6;

/// The attribute that holds `TCP_INFO`.
const INFO: u16 = 2;

/// Sizes of a message's head, and of what stands before a socket's attributes.
const HEAD: usize = 16;
const SOCKET: usize = 72;

const LISTEN: u8 = 10;

/// States in which a socket is of interest. What waits after its end, or has not been accepted by the
/// kernel, has no `TCP_INFO`.
const fn stage(state: u8) -> Option<Stage> {
    match state {
        1 | 8 => Some(Stage::Open),
        2 => Some(Stage::Opening),
        4 | 5 | 9 | 11 => Some(Stage::Closing),
        LISTEN => Some(Stage::Listening),
        _ => None,
    }
}

fn states() -> u32 {
    let all = (0..32_u8).filter(|state| stage(*state).is_some());
    all.fold(0, |mask, state| mask | 1 << state)
}

/// The request for all TCP sockets of a family.
pub fn request(family: u8, sequence: u32) -> Vec<u8> {
    let mut message = Vec::with_capacity(SOCKET);
    message.extend_from_slice(&72_u32.to_ne_bytes());
    message.extend_from_slice(&BY_FAMILY.to_ne_bytes());
    message.extend_from_slice(&REQUEST_DUMP.to_ne_bytes());
    message.extend_from_slice(&sequence.to_ne_bytes());
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&[family, TCP, 1 << (INFO - 1), 0]);
    message.extend_from_slice(&states().to_ne_bytes());
    // No address is asked for.
    message.resize(SOCKET, 0);
    message
}

/// Takes a datagram apart; true when it ends the list.
pub fn datagram(
    mut bytes: &[u8],
    sequence: u32,
    mut each: impl FnMut(Socket),
) -> Result<bool, Error> {
    while !bytes.is_empty() {
        let malformed = Error::Malformed("a message is shorter than its head says");
        let length = u32_at(bytes, 0).and_then(|length| usize::try_from(length).ok());
        let message = length.filter(|length| *length >= HEAD);
        let Some(message) = message.and_then(|length| bytes.get(..length)) else {
            return Err(malformed);
        };
        let next = message.len().next_multiple_of(4);
        bytes = bytes.get(next..).unwrap_or_default();
        let (Some(kind), Some(flags)) = (u16_at(message, 4), u16_at(message, 6)) else {
            return Err(malformed);
        };
        if u32_at(message, 8) != Some(sequence) {
            // Of an answer that was given up.
            continue;
        }
        if flags & INTERRUPTED != 0 {
            return Err(Error::Interrupted);
        }
        let payload = message.get(HEAD..).unwrap_or_default();
        match kind {
            BY_FAMILY => {
                if let Some(socket) = socket(payload)? {
                    each(socket);
                }
            }
            DONE | ERROR => {
                let code = u32_at(payload, 0).map_or(0, u32::cast_signed);
                if code < 0 {
                    let error = io::Error::from_raw_os_error(code.saturating_neg());
                    return Err(Error::Refused(error));
                }
                if kind == DONE {
                    return Ok(true);
                }
            }
            OVERRUN => return Err(Error::Malformed("data was lost")),
            NOOP => {}
            _ => return Err(Error::Malformed("a message of another type")),
        }
    }
    Ok(false)
}

/// A socket, unless it is none of interest.
fn socket(bytes: &[u8]) -> Result<Option<Socket>, Error> {
    let short = Error::Malformed("a socket is cut short");
    let (Some(head), Some(mut attributes)) = (bytes.get(..SOCKET), bytes.get(SOCKET..)) else {
        return Err(short);
    };
    let (Some(&[family, number]), Some(cookie), Some(uid)) =
        (head.first_chunk(), u64_at(head, 44), u32_at(head, 64))
    else {
        return Err(short);
    };
    let Some(stage) = stage(number) else {
        return Ok(None);
    };
    let local = address(head, family, 4, 8);
    let remote = address(head, family, 6, 24);
    let (Some(local), Some(remote)) = (local, remote) else {
        return Err(Error::Malformed("a socket is of another family"));
    };
    let mut found = None;
    while !attributes.is_empty() {
        let (length, kind) = (u16_at(attributes, 0), u16_at(attributes, 2));
        let length = length.map(usize::from).filter(|length| *length >= 4);
        let value = length.and_then(|length| attributes.get(4..length));
        let (Some(value), Some(kind)) = (value, kind) else {
            return Err(Error::Malformed("an attribute is cut short"));
        };
        if kind == INFO {
            found = Some(info(value)?);
        }
        let next = (value.len() + 4).next_multiple_of(4);
        attributes = attributes.get(next..).unwrap_or_default();
    }
    let info = match (found, stage) {
        (Some(info), _) => info,
        (None, Stage::Listening) => Info::default(),
        // It waits after its end: what the kernel keeps of it is no connection any more.
        (None, _) => return Ok(None),
    };
    Ok(Some(Socket {
        cookie,
        local,
        remote,
        stage,
        uid,
        info,
    }))
}

fn address(head: &[u8], family: u8, port: usize, address: usize) -> Option<Address> {
    let port = u16::from_be_bytes(*head.get(port..)?.first_chunk()?);
    let bytes = head.get(address..)?;
    let ip = match family {
        INET => IpAddr::V4(Ipv4Addr::from(*bytes.first_chunk::<4>()?)),
        INET6 => IpAddr::V6(Ipv6Addr::from(*bytes.first_chunk::<16>()?)),
        _ => return None,
    };
    Some(Address::new(ip, port))
}

/// What stands in `TCP_INFO`. Everything up to the retransmissions has been there for longer than
/// sockets can be listed.
fn info(bytes: &[u8]) -> Result<Info, Error> {
    let needed = |at| u32_at(bytes, at).ok_or(Error::Malformed("TCP_INFO is cut short"));
    Ok(Info {
        rto: needed(8)?,
        unacked: needed(24)?,
        rtt: needed(68)?,
        congestion_window: needed(80)?,
        retransmits: needed(100)?,
        bytes_acked: u64_at(bytes, 120),
        bytes_received: u64_at(bytes, 128),
        segments_sent: u32_at(bytes, 136),
        delivery_rate: u64_at(bytes, 160),
        bytes_sent: u64_at(bytes, 200),
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests;
