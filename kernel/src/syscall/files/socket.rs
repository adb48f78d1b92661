//! Sockets, as far as there are any: connected local pairs (man 2 socketpair).

use super::description;
use crate::errno::Errno;
use crate::fs::{self, Bounds, Description, Request, UserBuffer};
use crate::task::Current;
use crate::user;
use linux_raw_sys::general::{O_CLOEXEC, O_NONBLOCK, O_RDWR};
use linux_raw_sys::net::*;

pub fn socketpair(current: &Current, family: u32, kind: u32, protocol: u32, ends: u64) -> Result<u64, Errno> {
    // `SOCK_CLOEXEC` and `SOCK_NONBLOCK` are the flags of `open`.
    let flags = kind & (O_CLOEXEC | O_NONBLOCK);
    if family != AF_UNIX {
        return Err(Errno::EAFNOSUPPORT);
    }
    if protocol != 0 {
        return Err(Errno::EPROTONOSUPPORT);
    }
    let bounds = match kind & !flags {
        SOCK_STREAM => Bounds::None,
        SOCK_SEQPACKET | SOCK_DGRAM => Bounds::Kept,
        _ => return Err(Errno::ESOCKTNOSUPPORT),
    };
    let status = O_RDWR | flags & O_NONBLOCK;
    let [first, second] = fs::socket_pair(bounds);
    let pair = [Description::new(first, status)?, Description::new(second, status)?];
    super::pipe::hand_out(current, pair, flags & O_CLOEXEC != 0, ends)
}

/// A socket's description, and how a call with `flags` works on it.
fn request<'c>(current: &'c Current, description: &Description, flags: u32) -> Result<Request<'c>, Errno> {
    if description.file().as_socket().is_none() {
        return Err(Errno::ENOTSOCK);
    }
    let nonblocking = flags & MSG_DONTWAIT != 0 || description.flags() & O_NONBLOCK != 0;
    Ok(Request::unplaced(current, nonblocking))
}

pub fn sendto(
    current: &Current,
    descriptor: i32,
    at: u64,
    len: usize,
    flags: u32,
    to: u64,
) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    let request = request(current, &description, flags)?;
    if flags & !(MSG_DONTWAIT | MSG_NOSIGNAL) != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if to != 0 {
        return Err(Errno::EISCONN);
    }
    let socket = description.file().as_socket().ok_or(Errno::ENOTSOCK)?;
    Ok(socket.send(&request, &mut UserBuffer::new(at, len), flags & MSG_NOSIGNAL == 0)? as u64)
}

/// The sender has no address to report.
pub fn recvfrom(
    current: &Current,
    descriptor: i32,
    at: u64,
    len: usize,
    flags: u32,
    from_len: u64,
) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    let request = request(current, &description, flags)?;
    if flags & !(MSG_DONTWAIT | MSG_NOSIGNAL | MSG_PEEK | MSG_CMSG_CLOEXEC) != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let socket = description.file().as_socket().ok_or(Errno::ENOTSOCK)?;
    let count = socket.receive(&request, &mut UserBuffer::new(at, len), flags & MSG_PEEK != 0)?;
    user::write_if_wanted(from_len, &0u32)?;
    Ok(count as u64)
}

pub fn shutdown(current: &Current, descriptor: i32, how: u32) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    let socket = description.file().as_socket().ok_or(Errno::ENOTSOCK)?;
    if how > SHUT_RDWR {
        return Err(Errno::EINVAL);
    }
    if how != SHUT_WR {
        socket.shut_receiving();
    }
    if how != SHUT_RD {
        socket.shut_sending();
    }
    Ok(0)
}

/// The argument of `shutdown` (`linux/net.h`).
const SHUT_RD: u32 = 0;
const SHUT_WR: u32 = 1;
const SHUT_RDWR: u32 = 2;
