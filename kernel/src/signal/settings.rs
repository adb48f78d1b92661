//! What a program says about its signals, and asks.

use super::{Action, AltStack, SigSet, Signal, stop};
use crate::errno::Errno;
use crate::task::{Current, Process, Task};

/// What `process` wants done about `signal`.
pub fn action(process: &Process, signal: Signal) -> Action {
    process.signals.actions.get(signal)
}

/// Changes that, and returns what it was. A pending signal that is ignored from now on is forgotten, blocked or not
/// (POSIX.1-2017, 2.4.3).
///
/// # Errors
/// `EINVAL` for SIGKILL and SIGSTOP.
pub fn set_action(process: &Process, signal: Signal, action: Action) -> Result<Action, Errno> {
    let before = process.signals.actions.set(signal, action)?;
    if action.ignores(signal) {
        stop::discard_pending(process, SigSet::of(signal));
    }
    Ok(before)
}

/// The signals that have been sent to `task` or its process and that it blocks.
pub fn pending_and_blocked(task: &Task) -> SigSet {
    let pending = task.signals.pending.set().union(task.process.signals.pending.set());
    pending.intersection(task.signals.blocked())
}

/// The alternate stack of the current thread, whose stack pointer is `rsp`.
pub fn altstack(current: &Current, rsp: u64) -> AltStack {
    current.task.signals.own.lock().altstack.as_seen_from(rsp)
}

/// Takes another one into use.
///
/// # Errors
/// `EPERM` while the thread runs on the present one, `EINVAL` for unknown flags, `ENOMEM` if it is too small.
pub fn set_altstack(current: &Current, stack: AltStack, rsp: u64) -> Result<(), Errno> {
    current.task.signals.own.lock().set_altstack(stack, rsp)
}
