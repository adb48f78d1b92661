//! System calls on how a thread competes for its CPU: policy, priority, nice value (man 7 sched).

use super::scheduling::thread;
use super::time::TimeSpec;
use crate::cpus;
use crate::errno::Errno;
use crate::futex;
use crate::task::{self, Current, Process, Task};
use crate::user;
use alloc::sync::Arc;
use core::mem::size_of;
use core::ops::RangeInclusive;
use core::sync::atomic::Ordering::Relaxed;
use formats::Duration;
use linux_raw_sys::general as linux;
use sched::{Policy, Reservation, Share};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The priorities of SCHED_FIFO and SCHED_RR.
const REAL_TIME_PRIORITIES: RangeInclusive<u8> = 1..=99;

/// The bounds of a slice that a thread may ask for: Linux's, from 100 us to 100 ms.
const SLICES: RangeInclusive<u64> = 100_000..=100_000_000;

/// The least runtime and the longest period of a reservation that Linux takes, in nanoseconds.
const LEAST_RUNTIME: u64 = 1 << 10;
const LONGEST_PERIOD: u64 = 1 << 32;

/// `struct sched_attr` (man 2 sched_setattr).
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util_min: u32,
    util_max: u32,
}

/// The size of the first version of the structure: without utilisation clamps.
const FIRST_SIZE: u32 = 48;

const KNOWN_FLAGS: u64 =
    (linux::SCHED_FLAG_RESET_ON_FORK | linux::SCHED_FLAG_KEEP_POLICY | linux::SCHED_FLAG_KEEP_PARAMS) as u64;

/// The number by which programs know a policy.
fn number(policy: &Policy) -> u32 {
    match policy {
        Policy::Normal(_) => linux::SCHED_NORMAL,
        Policy::Batch(_) => linux::SCHED_BATCH,
        Policy::Idle => linux::SCHED_IDLE,
        Policy::Fifo { .. } => linux::SCHED_FIFO,
        Policy::RoundRobin { .. } => linux::SCHED_RR,
        Policy::Deadline(_) => linux::SCHED_DEADLINE,
    }
}

/// A thread that has been lent a priority keeps that for now.
fn set(task: &Arc<Task>, thread: &sched::Thread, policy: Policy) -> Result<(), Errno> {
    futex::set_policy(task, thread, policy).map_err(|sched::NoBandwidth| Errno::EBUSY)
}

/// The policy with this number and priority; `nice` is for those that have one.
///
/// # Errors
/// `EINVAL` when they do not go together, and for SCHED_DEADLINE, which needs more than a priority.
fn simple_policy(policy: u32, priority: i64, nice: i8) -> Result<Policy, Errno> {
    let priority = u8::try_from(priority).map_err(|_| Errno::EINVAL)?;
    let real_time = REAL_TIME_PRIORITIES.contains(&priority);
    match policy {
        linux::SCHED_NORMAL if priority == 0 => Ok(Policy::normal(nice)),
        linux::SCHED_BATCH if priority == 0 => Ok(Policy::Batch(Share::of_nice(nice))),
        linux::SCHED_IDLE if priority == 0 => Ok(Policy::Idle),
        linux::SCHED_FIFO if real_time => Ok(Policy::Fifo { priority }),
        linux::SCHED_RR if real_time => Ok(Policy::RoundRobin { priority }),
        _ => Err(Errno::EINVAL),
    }
}

/// The scheduler's side of the thread with this number.
fn scheduled(current: &Current, id: i32) -> Result<(Arc<Task>, Arc<sched::Thread>), Errno> {
    let task = thread(current, id)?;
    let scheduled = task.thread().ok_or(Errno::ESRCH)?;
    Ok((task, scheduled))
}

/// Reads a `struct sched_param`. As on Linux, a null pointer is `EINVAL` and comes before an unknown thread.
fn read_priority(id: i32, parameters: u64) -> Result<i32, Errno> {
    if id < 0 || parameters == 0 {
        return Err(Errno::EINVAL);
    }
    user::read(parameters)
}

pub fn sched_setscheduler(current: &Current, id: i32, policy: u32, parameters: u64) -> Result<u64, Errno> {
    let priority = read_priority(id, parameters)?;
    let (task, scheduled) = scheduled(current, id)?;
    let resets = policy & linux::SCHED_RESET_ON_FORK != 0;
    let nice = task.nice.load(Relaxed);
    let policy = simple_policy(policy & !linux::SCHED_RESET_ON_FORK, priority.into(), nice)?;
    set(&task, &scheduled, policy)?;
    task.resets_policy_on_fork.store(resets, Relaxed);
    Ok(0)
}

pub fn sched_getscheduler(current: &Current, id: i32) -> Result<u64, Errno> {
    let (task, scheduled) = scheduled(current, id)?;
    let resets = task.resets_policy_on_fork.load(Relaxed);
    let flag = if resets { linux::SCHED_RESET_ON_FORK } else { 0 };
    Ok((number(&futex::own_policy(&task, &scheduled)) | flag).into())
}

pub fn sched_setparam(current: &Current, id: i32, parameters: u64) -> Result<u64, Errno> {
    let priority = read_priority(id, parameters)?;
    let (task, scheduled) = scheduled(current, id)?;
    let policy = number(&futex::own_policy(&task, &scheduled));
    set(&task, &scheduled, simple_policy(policy, priority.into(), task.nice.load(Relaxed))?)?;
    Ok(0)
}

pub fn sched_getparam(current: &Current, id: i32, parameters: u64) -> Result<u64, Errno> {
    if parameters == 0 {
        return Err(Errno::EINVAL);
    }
    let (task, scheduled) = scheduled(current, id)?;
    user::write(parameters, &i32::from(futex::own_policy(&task, &scheduled).priority()))?;
    Ok(0)
}

/// # Errors
/// `E2BIG` when the caller's structure has parts that are not known here and not zero, `EBUSY` when a reservation cannot be
/// met, `EINVAL` for what does not go together.
pub fn sched_setattr(current: &Current, id: i32, from: u64, flags: u32) -> Result<u64, Errno> {
    if flags != 0 || from == 0 || id < 0 {
        return Err(Errno::EINVAL);
    }
    let attributes = read_attributes(from)?;
    if attributes.flags & !KNOWN_FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    let (task, scheduled) = scheduled(current, id)?;
    let policy = requested(&attributes, &futex::own_policy(&task, &scheduled))?;
    set(&task, &scheduled, policy)?;
    if let Policy::Normal(share) | Policy::Batch(share) = policy {
        task.nice.store(share.nice, Relaxed);
    }
    let resets = attributes.flags & u64::from(linux::SCHED_FLAG_RESET_ON_FORK) != 0;
    task.resets_policy_on_fork.store(resets, Relaxed);
    Ok(0)
}

fn read_attributes(from: u64) -> Result<Attributes, Errno> {
    const SIZE: usize = size_of::<Attributes>();
    const PAGE: u32 = 4096;
    let size = match user::read::<u32>(from)? {
        0 => FIRST_SIZE,
        size => size,
    };
    if !(FIRST_SIZE..=PAGE).contains(&size) {
        // As Linux does: the caller learns the size that is known here.
        user::write(from, &(SIZE as u32))?;
        return Err(Errno::E2BIG);
    }
    let mut bytes = [0; SIZE];
    let known = SIZE.min(size as usize);
    user::read_bytes(from, &mut bytes[..known])?;
    for at in known..size as usize {
        if user::read::<u8>(from + at as u64)? != 0 {
            user::write(from, &(SIZE as u32))?;
            return Err(Errno::E2BIG);
        }
    }
    Ok(zerocopy::transmute!(bytes))
}

/// The policy that `attributes` describe, for a thread that has `old`.
fn requested(attributes: &Attributes, old: &Policy) -> Result<Policy, Errno> {
    let flag = |flag: u32| attributes.flags & u64::from(flag) != 0;
    if flag(linux::SCHED_FLAG_KEEP_PARAMS) {
        return Ok(*old);
    }
    let policy = if flag(linux::SCHED_FLAG_KEEP_POLICY) { number(old) } else { attributes.policy };
    if policy == linux::SCHED_DEADLINE {
        return reservation(attributes).map(Policy::Deadline);
    }
    let nice = attributes.nice.clamp(linux::PRIO_MIN, linux::PRIO_MAX as i32 - 1) as i8;
    let slice = match attributes.runtime {
        0 => None,
        asked => Some(Duration::from_ticks(asked.clamp(*SLICES.start(), *SLICES.end()))),
    };
    let share = Share { nice, slice };
    match simple_policy(policy, attributes.priority.into(), nice)? {
        Policy::Normal(_) => Ok(Policy::Normal(share)),
        Policy::Batch(_) => Ok(Policy::Batch(share)),
        other => Ok(other),
    }
}

/// The rules of man 7 sched: runtime <= deadline <= period, and bounds on all of them.
fn reservation(attributes: &Attributes) -> Result<Reservation, Errno> {
    let period = if attributes.period == 0 { attributes.deadline } else { attributes.period };
    let (runtime, deadline) = (attributes.runtime, attributes.deadline);
    let ordered = LEAST_RUNTIME <= runtime && runtime <= deadline && deadline <= period;
    if !ordered || period > LONGEST_PERIOD || attributes.priority != 0 {
        return Err(Errno::EINVAL);
    }
    let ticks = Duration::from_ticks;
    Ok(Reservation { runtime: ticks(runtime), deadline: ticks(deadline), period: ticks(period) })
}

pub fn sched_getattr(current: &Current, id: i32, to: u64, size: u32, flags: u32) -> Result<u64, Errno> {
    if flags != 0 || to == 0 || size < FIRST_SIZE {
        return Err(Errno::EINVAL);
    }
    let (task, scheduled) = scheduled(current, id)?;
    let policy = futex::own_policy(&task, &scheduled);
    let written = (size as usize).min(size_of::<Attributes>());
    let resets = task.resets_policy_on_fork.load(Relaxed);
    let mut attributes = Attributes {
        size: written as u32,
        policy: number(&policy),
        flags: if resets { linux::SCHED_FLAG_RESET_ON_FORK.into() } else { 0 },
        priority: policy.priority().into(),
        util_max: 1024,
        ..Attributes::default()
    };
    match policy {
        Policy::Deadline(Reservation { runtime, deadline, period }) => {
            (attributes.runtime, attributes.deadline, attributes.period) =
                (runtime.as_ticks(), deadline.as_ticks(), period.as_ticks());
        }
        Policy::Normal(share) | Policy::Batch(share) => {
            attributes.nice = share.nice.into();
            attributes.runtime = share.slice.unwrap_or(cpus::quantum()).as_ticks();
        }
        Policy::Idle | Policy::Fifo { .. } | Policy::RoundRobin { .. } => {}
    }
    user::write_bytes(to, &attributes.as_bytes()[..written])?;
    Ok(0)
}

pub fn sched_get_priority_max(_: &Current, policy: u32) -> Result<u64, Errno> {
    priority_bound(policy, *REAL_TIME_PRIORITIES.end())
}

pub fn sched_get_priority_min(_: &Current, policy: u32) -> Result<u64, Errno> {
    priority_bound(policy, *REAL_TIME_PRIORITIES.start())
}

fn priority_bound(policy: u32, real_time: u8) -> Result<u64, Errno> {
    match policy {
        linux::SCHED_FIFO | linux::SCHED_RR => Ok(real_time.into()),
        linux::SCHED_NORMAL | linux::SCHED_BATCH | linux::SCHED_IDLE | linux::SCHED_DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// The time that a thread may run while others of its kind wait; 0 for SCHED_FIFO.
pub fn sched_rr_get_interval(current: &Current, id: i32, to: u64) -> Result<u64, Errno> {
    let (task, scheduled) = scheduled(current, id)?;
    let interval = match futex::own_policy(&task, &scheduled) {
        Policy::Fifo { .. } | Policy::Deadline(_) => Duration::from_ticks(0),
        Policy::RoundRobin { .. } => sched::policy::REAL_TIME_QUANTUM,
        Policy::Normal(share) | Policy::Batch(share) => share.slice.unwrap_or(cpus::quantum()),
        Policy::Idle => cpus::quantum(),
    };
    user::write(to, &TimeSpec::from_ns(interval.as_ticks()))?;
    Ok(0)
}

/// The threads that `which` and `who` stand for (man 2 getpriority). Everybody is root.
fn threads(current: &Current, which: u32, who: u32) -> Result<alloc::vec::Vec<Arc<Task>>, Errno> {
    let this = &current.task.process;
    let of_processes = |wanted: &dyn Fn(&Process) -> bool| -> alloc::vec::Vec<Arc<Task>> {
        let processes = task::all_processes();
        let wanted = processes.iter().filter(|process| wanted(process));
        wanted.flat_map(|process| process.threads.lock().clone()).collect()
    };
    let found = match which {
        linux::PRIO_PROCESS => return Ok(alloc::vec![thread(current, who as i32)?]),
        linux::PRIO_PGRP => {
            let group = if who == 0 { this.group.load(Relaxed) } else { who };
            of_processes(&|process| process.group.load(Relaxed) == group)
        }
        linux::PRIO_USER if who == 0 => of_processes(&|_| true),
        linux::PRIO_USER => alloc::vec![],
        _ => return Err(Errno::EINVAL),
    };
    if found.is_empty() { Err(Errno::ESRCH) } else { Ok(found) }
}

/// Returns 20 less the lowest nice value, so that the result is never negative: 1 to 40.
pub fn getpriority(current: &Current, which: u32, who: u32) -> Result<u64, Errno> {
    let threads = threads(current, which, who)?;
    let lowest = threads.iter().map(|task| task.nice.load(Relaxed)).min().ok_or(Errno::ESRCH)?;
    Ok((20 - i64::from(lowest)) as u64)
}

pub fn setpriority(current: &Current, which: u32, who: u32, nice: i32) -> Result<u64, Errno> {
    let nice = nice.clamp(linux::PRIO_MIN, linux::PRIO_MAX as i32 - 1) as i8;
    for task in threads(current, which, who)? {
        task.nice.store(nice, Relaxed);
        let Some(thread) = task.thread() else { continue };
        let share = |share: Share| Share { nice, ..share };
        let policy = match futex::own_policy(&task, &thread) {
            Policy::Normal(old) => Policy::Normal(share(old)),
            Policy::Batch(old) => Policy::Batch(share(old)),
            // It counts again when the thread comes back to one of those.
            _ => continue,
        };
        set(&task, &thread, policy)?;
    }
    Ok(0)
}
