//! System calls on what threads and processes have used (man 2 getrusage, times).

use super::process::ResourceUsage;
use crate::errno::Errno;
use crate::task::Current;
use crate::user;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general as linux;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Linux's unit of `times` (`USER_HZ`, man 7 time).
const TICK_NS: u64 = 10_000_000;

/// `struct tms`, in ticks. All time is booked as user time.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Times {
    user: u64,
    system: u64,
    children_user: u64,
    children_system: u64,
}

pub fn times(current: &Current, to: u64) -> Result<u64, Errno> {
    let process = &current.task.process;
    let times = Times {
        user: process.cpu_time().as_ticks() / TICK_NS,
        system: 0,
        children_user: process.children_ns.load(Relaxed) / TICK_NS,
        children_system: 0,
    };
    user::write_if_wanted(to, &times)?;
    Ok(arch::time::now().as_ticks() / TICK_NS)
}

pub fn getrusage(current: &Current, who: i32, to: u64) -> Result<u64, Errno> {
    const SELF: i32 = linux::RUSAGE_SELF as i32;
    const THREAD: i32 = linux::RUSAGE_THREAD as i32;
    let process = &current.task.process;
    let usage = match who {
        SELF => process.usage(),
        THREAD => current.task.usage(),
        linux::RUSAGE_CHILDREN => process.children_usage(),
        _ => return Err(Errno::EINVAL),
    };
    user::write(to, &ResourceUsage::of(&usage))?;
    Ok(0)
}
