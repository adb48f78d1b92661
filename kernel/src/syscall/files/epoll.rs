//! Event polls (man 2 epoll_create, epoll_ctl, epoll_wait).

use super::description;
use super::poll::read_mask;
use crate::errno::Errno;
use crate::fs::{self, Description, Epoll, Trigger};
use crate::signal;
use crate::syscall::time::TimeSpec;
use crate::task::Current;
use crate::user;
use alloc::sync::Arc;
use formats::Instant;
use linux_raw_sys::general::{EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, O_RDWR};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `struct epoll_event`, which is packed on x86-64. `data` in two halves.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Event {
    events: u32,
    data: [u32; 2],
}

const _: () = assert!(size_of::<Event>() == 12);

/// The most events that one call may ask for (`EP_MAX_EVENTS`).
const MOST_EVENTS: usize = i32::MAX as usize / size_of::<Event>();

/// `size` is only checked (man 2 epoll_create).
pub fn epoll_create(current: &Current, size: i32) -> Result<u64, Errno> {
    if size <= 0 { Err(Errno::EINVAL) } else { epoll_create1(current, 0) }
}

pub fn epoll_create1(current: &Current, flags: u32) -> Result<u64, Errno> {
    if flags & !EPOLL_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    let description = Description::new(Epoll::new(), O_RDWR)?;
    Ok(current.task.process.files().insert(description, 0, flags != 0)? as u64)
}

pub fn epoll_ctl(
    current: &Current,
    poll: i32,
    operation: u32,
    descriptor: i32,
    event: u64,
) -> Result<u64, Errno> {
    let trigger = if operation == EPOLL_CTL_DEL {
        Trigger { events: 0, data: 0 }
    } else {
        let Event { events, data: [low, high] } = user::read(event)?;
        Trigger { events, data: u64::from(high) << 32 | u64::from(low) }
    };
    let outer = description(current, poll)?;
    let watched = description(current, descriptor)?;
    if watched.is_path_only() || outer.is_path_only() {
        return Err(Errno::EBADF);
    }
    let mut can_wait = false;
    watched.file().queues(&mut |_| can_wait = true);
    if !can_wait {
        return Err(Errno::EPERM);
    }
    let epoll = fs::downcast::<Epoll>(&outer).ok_or(Errno::EINVAL)?;
    if Arc::ptr_eq(&outer, &watched) || !trigger.is_valid() {
        return Err(Errno::EINVAL);
    }
    match operation {
        EPOLL_CTL_ADD => epoll.add(&watched, descriptor, trigger)?,
        EPOLL_CTL_MOD => epoll.modify(&watched, descriptor, trigger)?,
        EPOLL_CTL_DEL => epoll.remove(&watched, descriptor)?,
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

/// `timeout` is in milliseconds; a negative one is for ever.
fn deadline(timeout: i32) -> Result<Option<Instant>, Errno> {
    let ns = u64::try_from(timeout).ok().map(|ms| ms * 1_000_000);
    ns.map(|ns| TimeSpec::from_ns(ns).to_deadline()).transpose()
}

pub fn epoll_wait(current: &Current, poll: i32, events: u64, most: i32, timeout: i32) -> Result<u64, Errno> {
    wait(current, poll, events, most, deadline(timeout)?)
}

pub fn epoll_pwait(
    current: &Current,
    poll: i32,
    events: u64,
    most: i32,
    timeout: i32,
    mask: (u64, usize),
) -> Result<u64, Errno> {
    let deadline = deadline(timeout)?;
    let mask = read_mask(mask.0, mask.1)?;
    signal::with_mask(current, mask, || wait(current, poll, events, most, deadline))
}

pub fn epoll_pwait2(
    current: &Current,
    poll: i32,
    events: u64,
    most: i32,
    timeout: u64,
    mask: (u64, usize),
) -> Result<u64, Errno> {
    let deadline = TimeSpec::read_if_given(timeout)?.map(TimeSpec::to_deadline).transpose()?;
    let mask = read_mask(mask.0, mask.1)?;
    signal::with_mask(current, mask, || wait(current, poll, events, most, deadline))
}

fn wait(
    current: &Current,
    poll: i32,
    events: u64,
    most: i32,
    deadline: Option<Instant>,
) -> Result<u64, Errno> {
    let most = usize::try_from(most).ok().filter(|most| (1..=MOST_EVENTS).contains(most));
    let most = most.ok_or(Errno::EINVAL)?;
    let description = description(current, poll)?;
    let epoll = fs::downcast::<Epoll>(&description).ok_or(Errno::EINVAL)?;
    let count = epoll.wait(current, most, deadline, |at, report| {
        let data = [report.data as u32, (report.data >> 32) as u32];
        let event = Event { events: report.found.bits(), data };
        let to = events.checked_add((at * size_of::<Event>()) as u64).ok_or(Errno::EFAULT)?;
        user::write(to, &event)
    })?;
    Ok(count as u64)
}
