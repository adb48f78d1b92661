//! Sending signals.
//!
//! A signal is added to what is pending first, and only then is a thread told to look; see `state` for why that order
//! loses none. SIGKILL is not queued: it ends the process on the spot.
//!
//! The first process is a user's own program in Tine, so default actions apply to it as to any other: Linux would drop
//! all signals that it has no handler for.

use super::{ActionFlags, Disposition, SigInfo, SigSet, Signal, stop};
use crate::errno::Errno;
use crate::task::{self, Current, ExitStatus, Process, Task, attention};
use linux_raw_sys::general as linux;

/// How many of Linux's clock ticks (`USER_HZ`) a second has: the unit of times in SIGCHLD.
const TICK_NS: u64 = 10_000_000;

/// Sends to a process as a whole: one of its threads that does not block the signal takes it.
///
/// To a process that has ended, but was not yet waited for, sending has no effect and is no error.
///
/// # Errors
/// `EAGAIN` when a real-time signal cannot be queued.
pub fn send_to_process(process: &Process, info: SigInfo) -> Result<(), Errno> {
    let signal = info.signal();
    if process.has_ended() {
        return Ok(());
    }
    if signal == Signal::KILL {
        task::exit_group(process, killed_by(signal));
        return Ok(());
    }
    stop::before_sending(process, signal);
    let first = process.any_thread();
    if first.is_none_or(|first| comes_to_nothing(&first, signal)) {
        return Ok(());
    }
    process.signals.pending.add(info, queue_limit(process))?;
    crate::fs::signal_arrived();
    notify_one_thread(process, signal);
    Ok(())
}

/// Sends to one thread. Actions are those of its process, so that a deadly signal ends all its threads.
///
/// # Errors
/// `EAGAIN` when a real-time signal cannot be queued.
pub fn send_to_thread(task: &Task, info: SigInfo) -> Result<(), Errno> {
    let signal = info.signal();
    if signal == Signal::KILL {
        task::exit_group(&task.process, killed_by(signal));
        return Ok(());
    }
    stop::before_sending(&task.process, signal);
    if comes_to_nothing(task, signal) {
        return Ok(());
    }
    task.signals.pending.add(info, queue_limit(&task.process))?;
    crate::fs::signal_arrived();
    if task.signals.is_open_to(signal) {
        task.demand_attention(attention::SIGNAL);
    }
    Ok(())
}

/// Sends the current thread a signal that it cannot escape, such as that of a fault: if it is blocked or ignored, the
/// default action is taken.
pub fn force(current: &Current, info: SigInfo) {
    let task = &current.task;
    let signal = info.signal();
    let actions = &task.process.signals.actions;
    let blocked = task.signals.blocked();
    if blocked.contains(signal) || actions.get(signal).disposition() == Disposition::Ignore {
        actions.force_default(signal);
        task.signals.set_blocked(blocked.without(SigSet::of(signal)));
    }
    // Only a real-time signal can fail to be queued, and none is forced.
    let _ = task.signals.pending.add(info, u64::MAX);
    task.demand_attention(attention::SIGNAL);
}

/// How a process ends that `signal` kills. Tine writes no core files, so there is never one to tell of.
pub(super) fn killed_by(signal: Signal) -> ExitStatus {
    ExitStatus::Killed { signal: signal.number(), core: false }
}

/// How many signals may be queued (RLIMIT_SIGPENDING).
fn queue_limit(process: &Process) -> u64 {
    process.limits.lock().get(linux::RLIMIT_SIGPENDING).map_or(u64::MAX, |limit| limit.soft)
}

/// Whether a signal is dropped at once: ignored, and not blocked by its target, which may change its mind before it
/// unblocks the signal.
fn comes_to_nothing(task: &Task, signal: Signal) -> bool {
    task.process.signals.actions.get(signal).ignores(signal) && !task.signals.blocked().contains(signal)
}

/// Tells a thread that does not block `signal` to look, if there is one.
pub(super) fn notify_one_thread(process: &Process, signal: Signal) {
    let threads = process.threads.lock();
    if let Some(task) = threads.iter().find(|task| task.signals.is_open_to(signal) && !task.is_exiting()) {
        task.demand_attention(attention::SIGNAL);
    }
}

/// Whether `parent` does not want to wait for children that end with `exit_signal` (man 2 wait, NOTES): they are reaped
/// at once.
pub fn parent_ignores_child(parent: &Process, exit_signal: u32) -> bool {
    exit_signal == linux::SIGCHLD && {
        let action = parent.signals.actions.get(Signal::CHLD);
        action.disposition() == Disposition::Ignore || action.flags().contains(ActionFlags::NO_CHILD_WAIT)
    }
}

/// Tells `parent` by `exit_signal` that its child has ended. The caller wakes those that wait for children.
pub fn send_child_ended(parent: &Process, exit_signal: u32, child: &Process, status: ExitStatus) {
    let (code, status) = match status {
        ExitStatus::Exited(status) => (linux::CLD_EXITED, i32::from(status)),
        ExitStatus::Killed { signal, core: false } => (linux::CLD_KILLED, signal.into()),
        ExitStatus::Killed { signal, core: true } => (linux::CLD_DUMPED, signal.into()),
    };
    send_child_changed(parent, exit_signal, child, code, status);
}

/// Tells `parent` of a change of its child's state; `code` is one of `CLD_*`.
pub(super) fn send_child_changed(parent: &Process, signal: u32, child: &Process, code: u32, status: i32) {
    let Ok(signal) = Signal::new(signal) else { return };
    // A parent that ignores SIGCHLD explicitly does not get it even when it blocks it.
    if parent.signals.actions.get(signal).disposition() == Disposition::Ignore {
        return;
    }
    let ticks = child.cpu_time().as_ticks() / TICK_NS;
    // With a queue that is full of real-time signals, the parent still finds the child by waiting.
    let _ = send_to_process(parent, SigInfo::child(signal, code, child.id, status, ticks as i64));
}
