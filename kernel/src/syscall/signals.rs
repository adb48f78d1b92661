//! System calls on signals.

use super::time::TimeSpec;
use crate::errno::Errno;
use crate::signal::{self, Action, AltStack, SigInfo, SigSet, Signal};
use crate::task::{self, Current, Process, Task};
use crate::user;
use alloc::sync::Arc;
use core::mem::size_of;
use core::sync::atomic::Ordering::Relaxed;
use formats::ThreadId;
use linux_raw_sys::general as linux;

/// The size of the kernel's signal sets, which all calls must give.
fn check_size(size: usize) -> Result<(), Errno> {
    if size == size_of::<SigSet>() { Ok(()) } else { Err(Errno::EINVAL) }
}

pub fn rt_sigaction(current: &Current, number: u32, new: u64, old: u64, size: usize) -> Result<u64, Errno> {
    check_size(size)?;
    let signal = Signal::new(number)?;
    let new: Option<Action> = if new == 0 { None } else { Some(user::read(new)?) };
    let before = match new {
        Some(action) => signal::set_action(&current.task.process, signal, action)?,
        None => signal::action(&current.task.process, signal),
    };
    user::write_if_wanted(old, &before)?;
    Ok(0)
}

pub fn rt_sigprocmask(current: &Current, how: u32, set: u64, old: u64, size: usize) -> Result<u64, Errno> {
    check_size(size)?;
    let before = current.task.signals.blocked();
    if set != 0 {
        let set: SigSet = user::read(set)?;
        let mask = match how {
            linux::SIG_BLOCK => before.union(set),
            linux::SIG_UNBLOCK => before.without(set),
            linux::SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL),
        };
        signal::set_mask(current, mask);
    }
    user::write_if_wanted(old, &before)?;
    Ok(0)
}

pub fn rt_sigreturn(current: &Current) -> Result<u64, Errno> {
    signal::sigreturn(current);
    Err(Errno::KEEP_REGISTERS)
}

pub fn rt_sigpending(current: &Current, to: u64, size: usize) -> Result<u64, Errno> {
    // As on Linux, a smaller set is written in part.
    if size > size_of::<SigSet>() {
        return Err(Errno::EINVAL);
    }
    let pending = signal::pending_and_blocked(&current.task).0.to_ne_bytes();
    user::write_bytes(to, &pending[..size])?;
    Ok(0)
}

pub fn rt_sigsuspend(current: &Current, mask: u64, size: usize) -> Result<u64, Errno> {
    check_size(size)?;
    let mask: SigSet = user::read(mask)?;
    signal::suspend(current, Some(mask)).map(|never| match never {})
}

pub fn pause(current: &Current) -> Result<u64, Errno> {
    signal::suspend(current, None).map(|never| match never {})
}

pub fn rt_sigtimedwait(
    current: &Current,
    set: u64,
    info: u64,
    timeout: u64,
    size: usize,
) -> Result<u64, Errno> {
    check_size(size)?;
    let set: SigSet = user::read(set)?;
    let deadline = TimeSpec::read_if_given(timeout)?.map(TimeSpec::to_deadline).transpose()?;
    let taken = signal::wait_for(current, set, deadline)?;
    user::write_if_wanted(info, &taken)?;
    Ok(taken.signal().number().into())
}

pub fn sigaltstack(current: &Current, new: u64, old: u64) -> Result<u64, Errno> {
    let rsp = current.user.borrow().regs.rsp;
    let new: Option<AltStack> = if new == 0 { None } else { Some(user::read(new)?) };
    let before = signal::altstack(current, rsp);
    if let Some(new) = new {
        signal::set_altstack(current, new, rsp)?;
    }
    user::write_if_wanted(old, &before)?;
    Ok(0)
}

/// A signal number that `kill` and its like take: 0 only asks whether there is a target.
fn signal_or_question(number: u32) -> Result<Option<Signal>, Errno> {
    if number == 0 { Ok(None) } else { Signal::new(number).map(Some) }
}

pub fn kill(current: &Current, target: i32, number: u32) -> Result<u64, Errno> {
    let signal = signal_or_question(number)?;
    let this = &current.task.process;
    match target {
        1.. => {
            // As on Linux, the number of any of its threads stands for a process.
            let of_thread = || Some(task::find_thread(ThreadId(target as u32))?.process.clone());
            let process = task::find_process(target as u32).or_else(of_thread).ok_or(Errno::ESRCH)?;
            send(current, &process, signal)
        }
        0 => send_to_all(current, signal, in_group(this.group.load(Relaxed))),
        // All but the first process and the sender.
        -1 => send_to_all(current, signal, |process| process.id > 1 && process.id != this.id),
        i32::MIN => Err(Errno::ESRCH),
        _ => send_to_all(current, signal, in_group(target.unsigned_abs())),
    }
}

fn in_group(group: u32) -> impl Fn(&Process) -> bool {
    move |process| process.group.load(Relaxed) == group
}

fn send(current: &Current, process: &Process, signal: Option<Signal>) -> Result<u64, Errno> {
    if let Some(signal) = signal {
        signal::send_to_process(process, SigInfo::from_process(signal, current.task.process.id))?;
    }
    Ok(0)
}

/// Sends to all processes that are `wanted`; it is enough if one got it.
fn send_to_all(
    current: &Current,
    signal: Option<Signal>,
    wanted: impl Fn(&Process) -> bool,
) -> Result<u64, Errno> {
    let mut outcome = Err(Errno::ESRCH);
    for process in task::all_processes().iter().filter(|process| wanted(process)) {
        let sent = send(current, process, signal);
        if outcome.is_err() {
            outcome = sent;
        }
    }
    outcome
}

/// The thread `thread`, if it is one of process `process` or that does not matter.
fn thread_of(process: Option<i32>, thread: i32) -> Result<Arc<Task>, Errno> {
    if thread <= 0 || process.is_some_and(|process| process <= 0) {
        return Err(Errno::EINVAL);
    }
    let task = task::find_thread(ThreadId(thread as u32)).ok_or(Errno::ESRCH)?;
    match process {
        Some(process) if task.process.id != process as u32 => Err(Errno::ESRCH),
        _ => Ok(task),
    }
}

fn send_to_thread(current: &Current, process: Option<i32>, thread: i32, number: u32) -> Result<u64, Errno> {
    let task = thread_of(process, thread)?;
    if let Some(signal) = signal_or_question(number)? {
        signal::send_to_thread(&task, SigInfo::from_thread(signal, current.task.process.id))?;
    }
    Ok(0)
}

pub fn tkill(current: &Current, thread: i32, number: u32) -> Result<u64, Errno> {
    send_to_thread(current, None, thread, number)
}

pub fn tgkill(current: &Current, process: i32, thread: i32, number: u32) -> Result<u64, Errno> {
    send_to_thread(current, Some(process), thread, number)
}

pub fn rt_sigqueueinfo(current: &Current, target: u32, number: u32, info: u64) -> Result<u64, Errno> {
    let info: SigInfo = user::read(info)?;
    let process = task::find_process(target).ok_or(Errno::ESRCH)?;
    if let Some(signal) = signal_or_question(number)? {
        let to_itself = Arc::ptr_eq(&process, &current.task.process);
        signal::send_to_process(&process, info.sent_by_program(signal, to_itself)?)?;
    }
    Ok(0)
}

pub fn rt_tgsigqueueinfo(
    current: &Current,
    process: i32,
    thread: i32,
    number: u32,
    info: u64,
) -> Result<u64, Errno> {
    let info: SigInfo = user::read(info)?;
    let task = thread_of(Some(process), thread)?;
    if let Some(signal) = signal_or_question(number)? {
        let to_itself = Arc::ptr_eq(&task, &current.task);
        signal::send_to_thread(&task, info.sent_by_program(signal, to_itself)?)?;
    }
    Ok(0)
}
