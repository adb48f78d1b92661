//! Options of sockets (man 7 socket, man 7 unix).

use super::description;
use super::socket::endpoint;
use crate::errno::Errno;
use crate::fs::unix::{CAPACITY, Sender, Style};
use crate::task::Current;
use crate::user;
use formats::Duration;
use linux_raw_sys::net::*;
use zerocopy::IntoBytes;

/// The most room that can be asked for, which is then doubled (`/proc/sys/net/core/wmem_max`).
const MOST_ROOM: u32 = CAPACITY as u32;
/// The least room for sending and for receiving.
const LEAST_ROOM: [usize; 2] = [4608, 2304];

/// Whether `option` is known and of no consequence for a local socket.
fn is_of_no_consequence(option: u32) -> bool {
    matches!(
        option,
        SO_REUSEADDR
            | SO_KEEPALIVE
            | SO_BROADCAST
            | SO_DONTROUTE
            | SO_OOBINLINE
            | SO_PRIORITY
            | SO_REUSEPORT
            | SO_TIMESTAMP_OLD
            | SO_MARK
            | SO_LINGER
    )
}

/// `struct timeval` as a limit; 0 is none.
fn read_timeout(from: u64, len: u32) -> Result<Option<Duration>, Errno> {
    if len < 16 {
        return Err(Errno::EINVAL);
    }
    let [seconds, micros]: [i64; 2] = user::read(from)?;
    if !(0..1_000_000).contains(&micros) {
        return Err(Errno::EDOM);
    }
    let ns = u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000) + micros as u64 * 1000;
    Ok((ns > 0).then_some(Duration::from_ticks(ns)))
}

pub fn setsockopt(
    current: &Current,
    descriptor: i32,
    level: u32,
    option: u32,
    value: u64,
    len: u32,
) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    let endpoint = endpoint(&description)?;
    if level != SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP);
    }
    if len < 4 {
        return Err(Errno::EINVAL);
    }
    let number: u32 = user::read(value)?;
    let doubled = |least: usize| (number.min(MOST_ROOM) as usize * 2).max(least);
    let [least_out, least_in] = LEAST_ROOM;
    match option {
        SO_SNDBUF | SO_SNDBUFFORCE => {
            endpoint.set_options(|options| options.send_room = doubled(least_out));
        }
        SO_RCVBUF | SO_RCVBUFFORCE => {
            endpoint.set_options(|options| options.receive_room = doubled(least_in));
        }
        SO_PASSCRED => endpoint.set_options(|options| options.passes_credentials = number != 0),
        SO_RCVTIMEO_OLD => {
            let limit = read_timeout(value, len)?;
            endpoint.set_options(|options| options.receive_timeout = limit);
        }
        SO_SNDTIMEO_OLD => {
            let limit = read_timeout(value, len)?;
            endpoint.set_options(|options| options.send_timeout = limit);
        }
        option if is_of_no_consequence(option) => {}
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(0)
}

pub fn getsockopt(
    current: &Current,
    descriptor: i32,
    level: u32,
    option: u32,
    to: u64,
    len: u64,
) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    let endpoint = endpoint(&description)?;
    let room: i32 = user::read(len)?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    if level != SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP);
    }
    let options = endpoint.options();
    let timeout = |limit: Option<Duration>| {
        let micros = limit.map_or(0, |limit| limit.as_ticks() / 1000);
        [micros / 1_000_000, micros % 1_000_000]
    };
    let number = match option {
        SO_TYPE => match endpoint.style {
            Style::Stream => SOCK_STREAM,
            Style::Datagram => SOCK_DGRAM,
            Style::SeqPacket => SOCK_SEQPACKET,
        },
        SO_DOMAIN => AF_UNIX,
        SO_PROTOCOL => 0,
        SO_ERROR => endpoint.take_error().map_or(0, |error| error.0.into()),
        SO_ACCEPTCONN => endpoint.is_listening().into(),
        SO_SNDBUF => options.send_room as u32,
        SO_RCVBUF => options.receive_room as u32,
        SO_PASSCRED => options.passes_credentials.into(),
        SO_SNDLOWAT | SO_RCVLOWAT => 1,
        SO_PEERCRED => {
            const NOBODY: Sender = Sender { process: 0, user: u32::MAX, group: u32::MAX };
            return report(endpoint.peer_sender().unwrap_or(NOBODY).as_bytes(), room, to, len);
        }
        SO_RCVTIMEO_OLD => return report(timeout(options.receive_timeout).as_bytes(), room, to, len),
        SO_SNDTIMEO_OLD => return report(timeout(options.send_timeout).as_bytes(), room, to, len),
        SO_LINGER => return report(&[0; 8], room, to, len),
        option if is_of_no_consequence(option) => 0,
        _ => return Err(Errno::ENOPROTOOPT),
    };
    report(number.as_bytes(), room, to, len)
}

/// Writes as much as there is room for, and how much that was.
fn report(value: &[u8], room: usize, to: u64, len: u64) -> Result<u64, Errno> {
    let count = value.len().min(room);
    user::write_bytes(to, &value[..count])?;
    user::write(len, &(count as u32))?;
    Ok(0)
}
