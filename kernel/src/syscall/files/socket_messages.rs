//! Sending and receiving through sockets (man 2 send, recv, sendmmsg, recvmmsg; man 3 cmsg).

use super::socket::{endpoint, request};
use super::{description, socket_address};
use crate::errno::Errno;
use crate::fs::unix::{self, Manner, Outgoing, Received, Sender};
use crate::fs::{Description, UserBuffer};
use crate::syscall::time::TimeSpec;
use crate::task::Current;
use crate::user;
use alloc::{sync::Arc, vec::Vec};
use linux_raw_sys::general::O_PATH;
use linux_raw_sys::net::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `struct msghdr` (man 2 recvmsg).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    name: u64,
    name_len: u32,
    padding: u32,
    vectors: u64,
    vector_count: u64,
    control: u64,
    control_len: u64,
    flags: u32,
    more_padding: u32,
}

/// `struct cmsghdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct ControlHead {
    len: u64,
    level: u32,
    kind: u32,
}

/// `struct mmsghdr`.
const MULTI: u64 = size_of::<Header>() as u64 + 8;
/// The most messages that one call handles.
const MOST_MESSAGES: u32 = 1024;

const CONTROL_HEAD: usize = size_of::<ControlHead>();
/// The most descriptors in one message (`SCM_MAX_FD`).
const MOST_DESCRIPTORS: usize = 253;
/// The most bytes of control messages (`/proc/sys/net/core/optmem_max`).
const MOST_CONTROL: u64 = 131_072;
const RIGHTS: u32 = 1;
const CREDENTIALS: u32 = 2;

/// `bits/socket.h`: block for the first message alone.
const MSG_WAITFORONE: u32 = 0x1_0000;

const SEND_FLAGS: u32 = MSG_DONTWAIT | MSG_NOSIGNAL | MSG_EOR | MSG_MORE | MSG_CONFIRM;

pub fn sendto(
    current: &Current,
    descriptor: i32,
    (at, len): (u64, usize),
    flags: u32,
    (to, to_len): (u64, u32),
) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    let mut what = Outgoing::default();
    set_target(current, &description, &mut what, to, to_len)?;
    send(current, &description, UserBuffer::new(at, len), flags, what)
}

/// Whom a message is for, if its address is given.
fn set_target(
    current: &Current,
    description: &Description,
    what: &mut Outgoing,
    to: u64,
    len: u32,
) -> Result<(), Errno> {
    let endpoint = endpoint(description)?;
    if to == 0 || len == 0 {
        return Ok(());
    }
    if endpoint.style != unix::Style::Datagram {
        let is_connected = endpoint.peer_address().is_ok();
        return Err(if is_connected { Errno::EISCONN } else { Errno::EOPNOTSUPP });
    }
    what.to = socket_address::read_target(current, to, len)?;
    Ok(())
}

fn send(
    current: &Current,
    description: &Description,
    mut from: UserBuffer,
    flags: u32,
    mut what: Outgoing,
) -> Result<u64, Errno> {
    let endpoint = endpoint(description)?;
    if flags & !SEND_FLAGS != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    what.is_quiet = flags & MSG_NOSIGNAL != 0;
    Ok(unix::send(endpoint, &request(current, description, flags), &mut from, what)? as u64)
}

pub fn sendmsg(current: &Current, descriptor: i32, message: u64, flags: u32) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    send_header(current, &description, message, flags)
}

fn send_header(current: &Current, description: &Description, message: u64, flags: u32) -> Result<u64, Errno> {
    endpoint(description)?;
    let header: Header = user::read(message)?;
    let from = UserBuffer::from_vectors(header.vectors, vector_count(&header)?)?;
    let mut what = Outgoing::default();
    set_target(current, description, &mut what, header.name, header.name_len)?;
    if header.control_len > 0 {
        read_control(current, &header, &mut what)?;
    }
    send(current, description, from, flags, what)
}

fn vector_count(header: &Header) -> Result<usize, Errno> {
    usize::try_from(header.vector_count).ok().filter(|count| *count <= 1024).ok_or(Errno::EMSGSIZE)
}

/// Takes descriptors and credentials out of the control messages.
fn read_control(current: &Current, header: &Header, what: &mut Outgoing) -> Result<(), Errno> {
    if header.control_len > MOST_CONTROL {
        return Err(Errno::ENOBUFS);
    }
    let bytes = user::read_array::<u8>(header.control, header.control_len as usize)?;
    let mut rest = bytes.as_slice();
    while rest.len() >= CONTROL_HEAD {
        let head = ControlHead::read_from_bytes(&rest[..CONTROL_HEAD]).map_err(|_| Errno::EINVAL)?;
        let len = usize::try_from(head.len).ok().filter(|len| (CONTROL_HEAD..=rest.len()).contains(len));
        let len = len.ok_or(Errno::EINVAL)?;
        let data = &rest[CONTROL_HEAD..len];
        if head.level == SOL_SOCKET {
            match head.kind {
                RIGHTS => take_descriptors(current, data, what)?,
                CREDENTIALS => what.sender = Some(check_sender(current, data)?),
                _ => return Err(Errno::EINVAL),
            }
        }
        rest = &rest[len.next_multiple_of(8).min(rest.len())..];
    }
    Ok(())
}

fn take_descriptors(current: &Current, data: &[u8], what: &mut Outgoing) -> Result<(), Errno> {
    let files = current.task.process.files();
    let (numbers, _) = data.as_chunks::<4>();
    if what.descriptors.len() + numbers.len() > MOST_DESCRIPTORS {
        return Err(Errno::EINVAL);
    }
    for number in numbers {
        let description = files.get(i32::from_ne_bytes(*number))?;
        if description.flags() & O_PATH != 0 {
            return Err(Errno::EBADF);
        }
        what.descriptors.push(description);
    }
    Ok(())
}

/// Only root may say that it is somebody else.
fn check_sender(current: &Current, data: &[u8]) -> Result<Sender, Errno> {
    let claimed = Sender::read_from_bytes(data).map_err(|_| Errno::EINVAL)?;
    let who = super::credentials(current);
    let is_own = claimed.process == current.task.process.id
        && [who.user.real, who.user.effective, who.user.saved].contains(&claimed.user)
        && [who.group.real, who.group.effective, who.group.saved].contains(&claimed.group);
    if is_own || who.is_root() { Ok(claimed) } else { Err(Errno::EPERM) }
}

/// Sends several messages; an error after the first is not reported.
pub fn sendmmsg(
    current: &Current,
    descriptor: i32,
    messages: u64,
    count: u32,
    flags: u32,
) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    let mut done = 0;
    for at in 0..u64::from(count.min(MOST_MESSAGES)) {
        let message = messages + at * MULTI;
        match send_header(current, &description, message, flags) {
            Ok(sent) => user::write(message + size_of::<Header>() as u64, &(sent as u32))?,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
        done += 1;
    }
    Ok(done)
}

pub fn recvfrom(
    current: &Current,
    descriptor: i32,
    (at, len): (u64, usize),
    flags: u32,
    (from, from_len): (u64, u64),
) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    let received = receive(current, &description, &mut UserBuffer::new(at, len), flags)?;
    if from != 0 {
        socket_address::report(received.from.as_deref(), from, from_len)?;
    }
    Ok(reported(&received, flags))
}

/// With `MSG_TRUNC`, the length that the message had.
fn reported(received: &Received, flags: u32) -> u64 {
    if flags & MSG_TRUNC != 0 { received.full as u64 } else { received.count as u64 }
}

fn receive(
    current: &Current,
    description: &Description,
    to: &mut UserBuffer,
    flags: u32,
) -> Result<Received, Errno> {
    const KNOWN: u32 = MSG_DONTWAIT
        | MSG_NOSIGNAL
        | MSG_PEEK
        | MSG_CMSG_CLOEXEC
        | MSG_WAITALL
        | MSG_TRUNC
        | MSG_WAITFORONE
        | MSG_ERRQUEUE;
    let endpoint = endpoint(description)?;
    if flags & MSG_ERRQUEUE != 0 {
        return Err(Errno::EAGAIN);
    }
    if flags & !KNOWN != 0 {
        return Err(if flags & MSG_OOB != 0 { Errno::EINVAL } else { Errno::EOPNOTSUPP });
    }
    let manner = Manner { peeks: flags & MSG_PEEK != 0, fills: flags & MSG_WAITALL != 0 };
    unix::receive(endpoint, &request(current, description, flags), to, manner)
}

pub fn recvmsg(current: &Current, descriptor: i32, message: u64, flags: u32) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    receive_header(current, &description, message, flags)
}

fn receive_header(
    current: &Current,
    description: &Description,
    message: u64,
    flags: u32,
) -> Result<u64, Errno> {
    let endpoint = endpoint(description)?;
    let mut header: Header = user::read(message)?;
    let mut to = UserBuffer::from_vectors(header.vectors, vector_count(&header)?)?;
    let mut received = receive(current, description, &mut to, flags)?;
    header.flags = flags & MSG_CMSG_CLOEXEC;
    if received.full > received.count && endpoint.style != unix::Style::Stream {
        header.flags |= MSG_TRUNC;
    }
    if header.name != 0 {
        let bytes = socket_address::bytes(received.from.as_deref());
        // A stream's messages carry no names.
        let bytes = if endpoint.style == unix::Style::Stream { &[] } else { bytes.as_slice() };
        let room = bytes.len().min(header.name_len as usize);
        user::write_bytes(header.name, &bytes[..room])?;
        header.name_len = bytes.len() as u32;
    }
    write_control(current, &mut header, &mut received, endpoint.options().passes_credentials, flags)?;
    user::write(message, &header)?;
    Ok(reported(&received, flags))
}

/// Writes what came besides the bytes: first the credentials, then the descriptors.
fn write_control(
    current: &Current,
    header: &mut Header,
    received: &mut Received,
    passes_credentials: bool,
    flags: u32,
) -> Result<(), Errno> {
    let room = header.control_len as usize;
    let mut at = 0;
    if passes_credentials {
        let bytes = received.sender.as_bytes();
        let wanted = CONTROL_HEAD + bytes.len();
        if room >= wanted {
            put_control(header.control, CREDENTIALS, bytes)?;
            at = wanted.next_multiple_of(8).min(room);
        } else {
            header.flags |= MSG_CTRUNC;
        }
    }
    let descriptors: Vec<Arc<Description>> = core::mem::take(&mut received.descriptors);
    if !descriptors.is_empty() {
        let fitting = room.saturating_sub(at + CONTROL_HEAD) / size_of::<i32>();
        let files = current.task.process.files();
        let mut numbers = Vec::new();
        let total = descriptors.len();
        for description in descriptors.into_iter().take(fitting) {
            let Ok(number) = files.insert(description, 0, flags & MSG_CMSG_CLOEXEC != 0) else { break };
            numbers.push(number);
        }
        if numbers.len() < total {
            header.flags |= MSG_CTRUNC;
        }
        if !numbers.is_empty() {
            put_control(header.control + at as u64, RIGHTS, numbers.as_bytes())?;
            let wanted = CONTROL_HEAD + size_of_val(numbers.as_slice());
            at = (at + wanted.next_multiple_of(8)).min(room);
        }
    }
    header.control_len = at as u64;
    Ok(())
}

fn put_control(at: u64, kind: u32, data: &[u8]) -> Result<(), Errno> {
    let head = ControlHead { len: (CONTROL_HEAD + data.len()) as u64, level: SOL_SOCKET, kind };
    user::write(at, &head)?;
    user::write_bytes(at + CONTROL_HEAD as u64, data)
}

/// Receives several messages. The timeout is looked at between them (man 2 recvmmsg, BUGS).
pub fn recvmmsg(
    current: &Current,
    descriptor: i32,
    messages: u64,
    count: u32,
    flags: u32,
    timeout: u64,
) -> Result<u64, Errno> {
    let deadline = TimeSpec::read_if_given(timeout)?.map(TimeSpec::to_deadline).transpose()?;
    let description = description(current, descriptor)?;
    let mut done = 0;
    for at in 0..u64::from(count.min(MOST_MESSAGES)) {
        let message = messages + at * MULTI;
        let waits = done == 0 || flags & MSG_WAITFORONE == 0;
        let flags = if waits { flags } else { flags | MSG_DONTWAIT };
        match receive_header(current, &description, message, flags) {
            Ok(received) => user::write(message + size_of::<Header>() as u64, &(received as u32))?,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
        done += 1;
        if deadline.is_some_and(|deadline| arch::time::now() >= deadline) {
            break;
        }
    }
    Ok(done)
}
