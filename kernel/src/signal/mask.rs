//! Blocking signals.

use super::{SigSet, send};
use crate::errno::Errno;
use crate::task::{Current, Task, attention};

/// Whether a signal is pending that the thread takes, or the thread has to stop.
pub fn is_deliverable(task: &Task) -> bool {
    let process = &task.process.signals;
    let pending = task.signals.pending.set().union(process.pending.set());
    !pending.without(task.signals.closed_to()).is_empty() || process.stop_state.is_stopped()
}

/// Changes the mask of the current thread. SIGKILL and SIGSTOP are never blocked.
///
/// A signal that becomes deliverable is delivered before the thread goes back to user mode. A signal of the process that
/// this thread was to take and now blocks goes to another one.
pub fn set_mask(current: &Current, mask: SigSet) {
    let task = &current.task;
    let newly_blocked = mask.without(task.signals.blocked());
    task.signals.set_blocked(mask);
    hand_on(task, newly_blocked);
    if is_deliverable(task) {
        task.demand_attention(attention::SIGNAL);
    }
}

/// Finds other threads for the pending signals of `task`'s process that it will not take.
pub(super) fn hand_on(task: &Task, unwanted: SigSet) {
    for signal in task.process.signals.pending.set().intersection(unwanted).iter() {
        send::notify_one_thread(&task.process, signal);
    }
}

/// Runs a system call with another mask, as `ppoll`, `pselect` and `sigsuspend` do; `None` changes nothing.
///
/// When a signal interrupts the call, its handler runs with that mask still in force, and the old one comes back when the
/// handler returns.
pub fn with_mask<T>(
    current: &Current,
    mask: Option<SigSet>,
    call: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let Some(mask) = mask else { return call() };
    let old = current.task.signals.blocked();
    set_mask(current, mask);
    let result = call();
    match result {
        Err(Errno::EINTR | Errno::RESTART | Errno::RESTART_NO_HANDLER) => {
            current.task.signals.own.lock().saved_mask = Some(old);
            current.task.demand_attention(attention::SIGNAL);
        }
        _ => set_mask(current, old),
    }
    result
}

/// What a thread that ends leaves to the others: signals of the process that it was to take.
pub fn thread_ends(task: &Task) {
    let blocked = task.signals.blocked();
    task.signals.set_blocked(SigSet::ALL);
    hand_on(task, SigSet::ALL.without(blocked));
}
