//! Sleeping until a signal comes (man 2 sigsuspend, sigwaitinfo).

use super::{SigInfo, SigSet, mask, state};
use crate::errno::Errno;
use crate::task::Current;
use crate::wait::Woken;
use core::convert::Infallible;
use formats::Instant;

/// Sleeps until a handler has run, with the mask `mask` if there is one.
///
/// # Errors
/// Always: `EINTR` for the program, once the handler has returned.
pub fn suspend(current: &Current, mask: Option<SigSet>) -> Result<Infallible, Errno> {
    mask::with_mask(current, mask, || {
        let Err(_) = current.sleep_until(None, || None::<Infallible>);
        Err(Errno::RESTART_NO_HANDLER)
    })
}

/// Waits for one of `signals`, which the caller has blocked, and takes it instead of having it delivered.
///
/// # Errors
/// `EAGAIN` when `deadline` passes first, `EINTR` when another signal comes.
pub fn wait_for(current: &Current, signals: SigSet, deadline: Option<Instant>) -> Result<SigInfo, Errno> {
    let task = &current.task;
    let signals = signals.without(SigSet::UNBLOCKABLE);
    let take = || state::take_pending(&task.signals, &task.process.signals, signals);
    task.signals.set_awaited(signals);
    let taken = current.sleep_until(deadline, take);
    task.signals.set_awaited(SigSet::EMPTY);
    // More of them may have come meanwhile, and other threads may wait for them, too.
    mask::hand_on(task, signals.intersection(task.signals.blocked()));
    taken.map_err(|woken| match woken {
        Woken::ByDeadline => Errno::EAGAIN,
        Woken::BySignal => Errno::EINTR,
    })
}
