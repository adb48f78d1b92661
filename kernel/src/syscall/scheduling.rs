//! System calls on scheduling: giving way, where a thread may run, and how important it is.

use crate::cpus;
use crate::errno::Errno;
use crate::task::{self, Current, Process, Task};
use crate::user;
use alloc::sync::Arc;
use core::mem::size_of;
use core::sync::atomic::Ordering::Relaxed;
use formats::{CpuSet, ThreadId};
use linux_raw_sys::general as linux;
use sched::Leave;

use super::time::TimeSpec;

/// The priorities of SCHED_FIFO and SCHED_RR (man 7 sched).
const REAL_TIME_PRIORITIES: core::ops::RangeInclusive<i32> = 1..=99;

pub fn sched_yield(current: &Current) -> Result<u64, Errno> {
    current.schedule(Leave::Yield);
    Ok(0)
}

/// There is one memory node.
pub fn getcpu(_: &Current, cpu: u64, node: u64) -> Result<u64, Errno> {
    user::write_if_wanted(cpu, &arch::cpu::id().0)?;
    user::write_if_wanted(node, &0_u32)?;
    Ok(0)
}

/// The thread with this number; 0 stands for the caller.
fn thread(current: &Current, id: i32) -> Result<Arc<Task>, Errno> {
    match u32::try_from(id).map_err(|_| Errno::EINVAL)? {
        0 => Ok(current.task.clone()),
        id => task::find_thread(ThreadId(id)).ok_or(Errno::ESRCH),
    }
}

/// As [`thread`], for calls that move it. `None`: it has ended, but its parent has not waited for it yet, so that the number
/// still means something; nothing is left to move.
fn movable(current: &Current, id: i32) -> Result<Option<Arc<sched::Thread>>, Errno> {
    match thread(current, id) {
        Ok(task) => Ok(task.thread()),
        Err(Errno::ESRCH) if task::find_process(id.unsigned_abs()).is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Bytes of a set that has a bit for each CPU, in whole words, as the kernel hands it out.
fn set_size() -> usize {
    let cpus = cpus::online().iter().last().map_or(1, |last| last.index() + 1);
    cpus.div_ceil(u64::BITS as usize) * size_of::<u64>()
}

/// Returns how many bytes were written; the C library clears the rest.
pub fn sched_getaffinity(current: &Current, id: i32, size: usize, to: u64) -> Result<u64, Errno> {
    let written = set_size();
    if size < written || !size.is_multiple_of(size_of::<u64>()) {
        return Err(Errno::EINVAL);
    }
    let affinity = movable(current, id)?.map_or(CpuSet::ALL, |thread| thread.affinity());
    let set = affinity.and(&cpus::online());
    for (at, word) in set.words()[..written / size_of::<u64>()].iter().enumerate() {
        user::write(to.wrapping_add((at * size_of::<u64>()) as u64), word)?;
    }
    Ok(written as u64)
}

/// When it returns, the thread runs on none but the given CPUs.
pub fn sched_setaffinity(current: &Current, id: i32, size: usize, from: u64) -> Result<u64, Errno> {
    const MOST: usize = CpuSet::CAPACITY / 8;
    let mut bytes = [0; MOST];
    let given = size.min(MOST);
    user::read_bytes(from, &mut bytes[..given])?;
    let words: [u64; MOST / size_of::<u64>()] = zerocopy::transmute!(bytes);
    let set = CpuSet::from_words(words).and(&cpus::online());
    if set.is_empty() {
        return Err(Errno::EINVAL);
    }
    let Some(thread) = movable(current, id)? else { return Ok(0) };
    cpus::set_affinity(&thread, set);
    // One that runs elsewhere leaves when its CPU takes the interrupt that the call has sent.
    let has_to_move =
        || !thread.is_asleep() && !thread.is_dead() && !thread.affinity().contains(thread.cpu());
    while has_to_move() && !current.task.is_exiting() {
        let itself = Arc::ptr_eq(&thread, &current.thread);
        current.schedule(if itself { Leave::Preempt } else { Leave::Yield });
    }
    Ok(0)
}

/// The policies for ordinary threads. They are kept and told, and all mean the same: the run queue looks at the nice value.
fn is_ordinary(policy: u32) -> bool {
    matches!(policy, linux::SCHED_NORMAL | linux::SCHED_BATCH | linux::SCHED_IDLE)
}

/// Whether a policy and a priority go together, and are to be had.
///
/// # Errors
/// `EINVAL` when they do not; `EPERM` for real-time policies: there is no real-time class, and that is what a program is
/// told that may not use it (man 2 sched_setscheduler).
fn check_policy(policy: u32, priority: i32) -> Result<(), Errno> {
    match policy {
        _ if is_ordinary(policy) && priority == 0 => Ok(()),
        linux::SCHED_FIFO | linux::SCHED_RR if REAL_TIME_PRIORITIES.contains(&priority) => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}

pub fn sched_setscheduler(current: &Current, id: i32, policy: u32, parameters: u64) -> Result<u64, Errno> {
    let task = thread(current, id)?;
    let policy = policy & !linux::SCHED_RESET_ON_FORK;
    check_policy(policy, user::read(parameters)?)?;
    task.policy.store(policy as u8, Relaxed);
    Ok(0)
}

pub fn sched_getscheduler(current: &Current, id: i32) -> Result<u64, Errno> {
    Ok(thread(current, id)?.policy.load(Relaxed).into())
}

pub fn sched_setparam(current: &Current, id: i32, parameters: u64) -> Result<u64, Errno> {
    let task = thread(current, id)?;
    check_policy(task.policy.load(Relaxed).into(), user::read(parameters)?)?;
    Ok(0)
}

pub fn sched_getparam(current: &Current, id: i32, parameters: u64) -> Result<u64, Errno> {
    thread(current, id)?;
    user::write(parameters, &0_i32)?;
    Ok(0)
}

pub fn sched_get_priority_max(_: &Current, policy: u32) -> Result<u64, Errno> {
    priority_bound(policy, *REAL_TIME_PRIORITIES.end())
}

pub fn sched_get_priority_min(_: &Current, policy: u32) -> Result<u64, Errno> {
    priority_bound(policy, *REAL_TIME_PRIORITIES.start())
}

fn priority_bound(policy: u32, real_time: i32) -> Result<u64, Errno> {
    match policy {
        linux::SCHED_FIFO | linux::SCHED_RR => Ok(real_time as u64),
        linux::SCHED_DEADLINE => Ok(0),
        _ if is_ordinary(policy) => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// The time that a thread may run while others wait.
pub fn sched_rr_get_interval(current: &Current, id: i32, to: u64) -> Result<u64, Errno> {
    thread(current, id)?;
    user::write(to, &TimeSpec::from_ns(cpus::quantum().as_ticks()))?;
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
    }
    Ok(0)
}
