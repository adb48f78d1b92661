//! Making sockets and bringing them together (man 2 socket, bind, listen, accept, connect, shutdown). There are local ones.

use super::{description, socket_address};
use crate::errno::Errno;
use crate::fs::unix::{self, Endpoint, Sender, Socket, Style};
use crate::fs::{self, Description, Request};
use crate::task::Current;
use alloc::sync::Arc;
use linux_raw_sys::general::{O_CLOEXEC, O_NONBLOCK, O_RDWR};
use linux_raw_sys::net::*;

/// The style of a local socket, and the flags of `open` that came with it.
fn style(family: u32, kind: u32, protocol: u32) -> Result<(Style, u32), Errno> {
    // `SOCK_CLOEXEC` and `SOCK_NONBLOCK` are the flags of `open`.
    const FLAGS: u32 = O_CLOEXEC | O_NONBLOCK;
    const KINDS: u32 = 0xf;
    if kind & !(FLAGS | KINDS) != 0 {
        return Err(Errno::EINVAL);
    }
    if family != AF_UNIX {
        return Err(Errno::EAFNOSUPPORT);
    }
    if protocol != 0 && protocol != AF_UNIX {
        return Err(Errno::EPROTONOSUPPORT);
    }
    let style = match kind & KINDS {
        SOCK_STREAM => Style::Stream,
        // As on Linux, a raw local socket is one for datagrams.
        SOCK_DGRAM | SOCK_RAW => Style::Datagram,
        SOCK_SEQPACKET => Style::SeqPacket,
        _ => return Err(Errno::ESOCKTNOSUPPORT),
    };
    Ok((style, kind & FLAGS))
}

fn describe(socket: Socket, flags: u32) -> Result<Arc<Description>, Errno> {
    Description::new(Arc::new(socket), O_RDWR | flags & O_NONBLOCK)
}

fn hand_out(current: &Current, description: Arc<Description>, flags: u32) -> Result<u64, Errno> {
    Ok(current.task.process.files().insert(description, 0, flags & O_CLOEXEC != 0)? as u64)
}

pub fn socket(current: &Current, family: u32, kind: u32, protocol: u32) -> Result<u64, Errno> {
    let (style, flags) = style(family, kind, protocol)?;
    hand_out(current, describe(Socket::new(style), flags)?, flags)
}

pub fn socketpair(current: &Current, family: u32, kind: u32, protocol: u32, ends: u64) -> Result<u64, Errno> {
    let (style, flags) = style(family, kind, protocol)?;
    let [first, second] = unix::pair(style, Sender::of(current));
    let pair = [describe(first, flags)?, describe(second, flags)?];
    super::pipe::hand_out(current, pair, flags & O_CLOEXEC != 0, ends)
}

/// The endpoint behind a descriptor.
///
/// # Errors
/// `EBADF`, `ENOTSOCK`.
pub fn endpoint(description: &Description) -> Result<&Arc<Endpoint>, Errno> {
    if description.is_path_only() {
        return Err(Errno::EBADF);
    }
    Ok(&fs::downcast::<Socket>(description).ok_or(Errno::ENOTSOCK)?.0)
}

/// How a call with the message flags `flags` works on it.
pub fn request<'c>(current: &'c Current, description: &Description, flags: u32) -> Request<'c> {
    let nonblocking = flags & MSG_DONTWAIT != 0 || description.flags() & O_NONBLOCK != 0;
    Request::unplaced(current, nonblocking)
}

pub fn bind(current: &Current, descriptor: i32, address: u64, len: u32) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    socket_address::bind(current, endpoint(&description)?, address, len)?;
    Ok(0)
}

pub fn listen(current: &Current, descriptor: i32, backlog: i32) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    unix::listen(endpoint(&description)?, backlog, Sender::of(current))?;
    Ok(0)
}

pub fn connect(current: &Current, descriptor: i32, address: u64, len: u32) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    let endpoint = endpoint(&description)?;
    let place = socket_address::read_target(current, address, len)?;
    unix::connect(endpoint, &request(current, &description, 0), place.as_ref())?;
    Ok(0)
}

pub fn accept(current: &Current, descriptor: i32, address: u64, len: u64) -> Result<u64, Errno> {
    accept4(current, descriptor, address, len, 0)
}

pub fn accept4(current: &Current, descriptor: i32, address: u64, len: u64, flags: u32) -> Result<u64, Errno> {
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let description = description(current, descriptor)?;
    let socket = unix::accept(endpoint(&description)?, &request(current, &description, 0))?;
    let peer = socket.0.peer_address().unwrap_or(None);
    let accepted = describe(socket, flags)?;
    if address != 0 {
        socket_address::report(peer.as_deref(), address, len)?;
    }
    hand_out(current, accepted, flags)
}

pub fn getsockname(current: &Current, descriptor: i32, address: u64, len: u64) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    socket_address::report(endpoint(&description)?.address().as_deref(), address, len)?;
    Ok(0)
}

pub fn getpeername(current: &Current, descriptor: i32, address: u64, len: u64) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    socket_address::report(endpoint(&description)?.peer_address()?.as_deref(), address, len)?;
    Ok(0)
}

pub fn shutdown(current: &Current, descriptor: i32, how: u32) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    let endpoint = endpoint(&description)?;
    if how > SHUT_RDWR {
        return Err(Errno::EINVAL);
    }
    endpoint.shut(how != SHUT_WR, how != SHUT_RD);
    Ok(0)
}
