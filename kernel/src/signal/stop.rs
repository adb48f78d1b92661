//! Stopping and continuing processes (man 7 signal, SIGSTOP and SIGCONT).
//!
//! A stopped process is one whose threads wait here before they go back to user mode. SIGCONT takes effect when it is
//! sent, whatever its action; a stop signal when it is taken, unless a SIGCONT came in between.

use super::{ActionFlags, ProcessSignals, SigSet, Signal, send};
use crate::task::{Current, Process, attention};
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use linux_raw_sys::general as linux;

/// Whether a process is stopped, in the lowest bit, and above it how often it was continued.
pub(super) struct StopState(AtomicU64);

const STOPPED: u64 = 1;
const ONE_CONTINUE: u64 = 2;

/// A moment before a signal was taken: how often the process had been continued.
#[derive(Clone, Copy)]
pub(super) struct Moment(u64);

impl StopState {
    pub const fn running() -> Self {
        Self(AtomicU64::new(0))
    }

    pub fn is_stopped(&self) -> bool {
        self.0.load(SeqCst) & STOPPED != 0
    }

    /// To be noted before a signal that may stop is taken.
    pub fn moment(&self) -> Moment {
        Moment(self.0.load(SeqCst) & !STOPPED)
    }

    /// Stops, unless it is stopped already or was continued since `moment`.
    fn stop(&self, moment: Moment) -> bool {
        self.0.compare_exchange(moment.0, moment.0 | STOPPED, SeqCst, SeqCst).is_ok()
    }

    /// Continues. Says whether it was stopped.
    fn resume(&self) -> bool {
        let next = |state: u64| (state & !STOPPED).wrapping_add(ONE_CONTINUE);
        let mut before = self.0.load(SeqCst);
        while let Err(now) = self.0.compare_exchange(before, next(before), SeqCst, SeqCst) {
            before = now;
        }
        before & STOPPED != 0
    }
}

/// What sending `signal` does besides making it pending: a stop takes back a continue that nobody has taken, and the
/// other way round; SIGCONT lets the process go on.
pub(super) fn before_sending(process: &Process, signal: Signal) {
    if signal == Signal::CONT {
        discard_pending(process, SigSet::STOPPING);
        if process.signals.stop_state.resume() {
            process.signals.continued.wake_all();
            tell_parent(process, linux::CLD_CONTINUED, Signal::CONT);
        }
    } else if SigSet::STOPPING.contains(signal) {
        discard_pending(process, SigSet::of(Signal::CONT));
    }
}

/// Forgets signals of a process and of all its threads.
pub(super) fn discard_pending(process: &Process, unwanted: SigSet) {
    process.signals.pending.discard(unwanted);
    for task in process.threads.lock().iter() {
        task.signals.pending.discard(unwanted);
    }
}

/// The default action of a stop signal that was taken after `moment`.
pub(super) fn stop(process: &Process, signal: Signal, moment: Moment) {
    if process.signals.stop_state.stop(moment) {
        for task in process.threads.lock().iter() {
            task.demand_attention(attention::SIGNAL);
        }
        tell_parent(process, linux::CLD_STOPPED, signal);
    }
}

/// Waits while the process is stopped. Only being killed ends that early.
pub(super) fn wait_while_stopped(current: &Current) {
    let signals: &ProcessSignals = &current.task.process.signals;
    if signals.stop_state.is_stopped() {
        let _registration = signals.continued.register(current);
        // Killed or continued: the caller looks which.
        let _ = current.sleep_unless_killed(|| (!signals.stop_state.is_stopped()).then_some(()));
    }
}

fn tell_parent(process: &Process, code: u32, signal: Signal) {
    let parent = process.parent().upgrade();
    if let Some(parent) = parent {
        let flags = parent.signals.actions.get(Signal::CHLD).flags();
        if !flags.contains(ActionFlags::NO_CHILD_STOP) {
            let status = signal.number().into();
            send::send_child_changed(&parent, linux::SIGCHLD, process, code, status);
        }
    }
}
