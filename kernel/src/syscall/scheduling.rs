//! System calls on scheduling: giving way, and where a thread may run. [`super::policy`] has how it competes.

use crate::cpus;
use crate::errno::Errno;
use crate::task::{self, Current, Process, Task};
use crate::user;
use alloc::{sync::Arc, vec, vec::Vec};
use core::mem::size_of;
use core::sync::atomic::Ordering::Relaxed;
use formats::{CpuSet, ThreadId};
use sched::Leave;

pub fn sched_yield(current: &Current) -> Result<u64, Errno> {
    if cpus::may_yield() {
        current.schedule(Leave::Yield);
    }
    Ok(0)
}

pub fn getcpu(_: &Current, cpu: u64, node: u64) -> Result<u64, Errno> {
    let here = arch::cpu::id();
    user::write_if_wanted(cpu, &here.0)?;
    user::write_if_wanted(node, &cpus::topology().place(here).node)?;
    Ok(0)
}

/// The thread with this number; 0 stands for the caller.
pub(super) fn thread(current: &Current, id: i32) -> Result<Arc<Task>, Errno> {
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
    let cpus = cpus::hotplug::possible().iter().last().map_or(1, |last| last.index() + 1);
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
    let set = CpuSet::from_words(words).and(&cpus::hotplug::possible());
    if set.and(&cpus::online()).is_empty() {
        return Err(Errno::EINVAL);
    }
    let Some(thread) = movable(current, id)? else { return Ok(0) };
    cpus::set_affinity(&thread, set);
    // One that runs elsewhere leaves when its CPU takes the interrupt that the call has sent. It may stay if all CPUs of the
    // set have gone offline meanwhile.
    let has_to_move = || {
        let allowed = thread.affinity();
        let has_where = !allowed.and(&cpus::online()).is_empty();
        has_where && !thread.is_asleep() && !thread.is_dead() && !allowed.contains(thread.cpu())
    };
    while has_to_move() && !current.task.is_exiting() {
        let itself = Arc::ptr_eq(&thread, &current.thread);
        current.schedule(if itself { Leave::Preempt } else { Leave::Yield });
    }
    Ok(0)
}

/// An I/O priority is a class and, below it, a level (`linux/ioprio.h`).
const IO_CLASS_SHIFT: u32 = 13;
const IO_LEVELS: u32 = 8;

/// The classes: none, real time, best effort, idle.
const IO_NONE: u32 = 0;
const IO_BEST_EFFORT: u32 = 2;
const IO_IDLE: u32 = 3;

/// # Errors
/// `EINVAL` for a class or level that does not exist, `ESRCH` when there is no such thread.
pub fn ioprio_set(current: &Current, which: u32, who: i32, priority: u32) -> Result<u64, Errno> {
    let (class, data) = (priority >> IO_CLASS_SHIFT, priority & ((1 << IO_CLASS_SHIFT) - 1));
    if class > IO_IDLE || class == IO_NONE && data % IO_LEVELS != 0 {
        return Err(Errno::EINVAL);
    }
    for task in io_threads(current, which, who)? {
        task.io_priority.store(priority as u16, Relaxed);
    }
    Ok(0)
}

/// The I/O priority of a thread, or the highest of several, for which one that was never set goes by the nice value.
pub fn ioprio_get(current: &Current, which: u32, who: i32) -> Result<u64, Errno> {
    let tasks = io_threads(current, which, who)?;
    let highest = |task: &Arc<Task>| match task.io_priority.load(Relaxed) {
        0 if which != IOPRIO_WHO_PROCESS => {
            let level = (i32::from(task.nice.load(Relaxed)) + 20) / 5;
            (IO_BEST_EFFORT << IO_CLASS_SHIFT | level as u32) as u16
        }
        set => set,
    };
    tasks.iter().map(highest).min().map(u64::from).ok_or(Errno::ESRCH)
}

const IOPRIO_WHO_PROCESS: u32 = 1;
const IOPRIO_WHO_PGRP: u32 = 2;
const IOPRIO_WHO_USER: u32 = 3;

fn io_threads(current: &Current, which: u32, who: i32) -> Result<Vec<Arc<Task>>, Errno> {
    let of = |wanted: &dyn Fn(&Process) -> bool| {
        let processes = task::all_processes();
        let all = processes.iter().filter(|process| wanted(process));
        all.flat_map(|process| process.threads.lock().clone()).collect::<Vec<_>>()
    };
    let tasks = match which {
        IOPRIO_WHO_PROCESS => return Ok(vec![thread(current, who).map_err(|_| Errno::ESRCH)?]),
        IOPRIO_WHO_PGRP => {
            let own = current.task.process.group.load(Relaxed);
            let group = if who == 0 { own } else { who as u32 };
            of(&|process| process.group.load(Relaxed) == group)
        }
        IOPRIO_WHO_USER => of(&|_| true),
        _ => return Err(Errno::EINVAL),
    };
    if tasks.is_empty() { Err(Errno::ESRCH) } else { Ok(tasks) }
}
