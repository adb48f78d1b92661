//! Stopping and continuing processes (man 7 signal, SIGSTOP and SIGCONT).
//!
//! A stopped process is one whose threads wait here before they go back to user mode. SIGCONT takes effect when it is
//! sent, whatever its action; a stop signal when it is taken, unless a SIGCONT came in between. The parent learns of a
//! stop when the last thread has halted, and of the end of one at once.

use super::{ActionFlags, ProcessSignals, SigSet, Signal, send};
use crate::lock::{Lock, rank};
use crate::task::{Current, Process, attention};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use linux_raw_sys::general as linux;

/// How many processes are stopped, or about to be: the end of a process looks for orphaned stopped groups only if there
/// is one.
static STOPPED_PROCESSES: AtomicUsize = AtomicUsize::new(0);

/// Whether any process is stopped.
pub fn is_any_stopped() -> bool {
    STOPPED_PROCESSES.load(SeqCst) > 0
}

/// Whether a process is stopped, in the lowest bit of the word, and above it how often it was continued; and what its
/// parent has not yet asked for. The word is read without the lock and changes under it.
pub(super) struct StopState {
    word: AtomicU64,
    report: Lock<Report, { rank::SIGNAL }>,
}

const STOPPED: u64 = 1;
const ONE_CONTINUE: u64 = 2;

/// What there is to tell the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    Nothing,
    /// The signal has stopped it, but not all threads have halted.
    Stopping(Signal),
    Due(Change),
}

/// What a parent is told by `wait` of a child that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// All its threads have halted because of this signal.
    Stopped(Signal),
    Continued,
}

/// A moment before a signal was taken: how often the process had been continued.
#[derive(Clone, Copy)]
pub(super) struct Moment(u64);

impl StopState {
    pub const fn running() -> Self {
        Self { word: AtomicU64::new(0), report: Lock::new(Report::Nothing) }
    }

    pub fn is_stopped(&self) -> bool {
        self.word.load(SeqCst) & STOPPED != 0
    }

    /// To be noted before a signal that may stop is taken.
    pub fn moment(&self) -> Moment {
        Moment(self.word.load(SeqCst) & !STOPPED)
    }

    /// Stops because of `signal`, unless it is stopped already or was continued since `moment`.
    fn stop(&self, moment: Moment, signal: Signal) -> bool {
        let mut report = self.report.lock();
        let stops = self.word.load(SeqCst) == moment.0;
        if stops {
            self.word.store(moment.0 | STOPPED, SeqCst);
            STOPPED_PROCESSES.fetch_add(1, SeqCst);
            *report = Report::Stopping(signal);
        }
        stops
    }

    /// All threads have halted. The signal to tell the parent of, the first time.
    fn complete(&self) -> Option<Signal> {
        let mut report = self.report.lock();
        let Report::Stopping(signal) = *report else { return None };
        *report = Report::Due(Change::Stopped(signal));
        Some(signal)
    }

    /// Continues. Says whether it was stopped.
    fn resume(&self) -> bool {
        let mut report = self.report.lock();
        let word = self.word.load(SeqCst);
        self.word.store((word & !STOPPED).wrapping_add(ONE_CONTINUE), SeqCst);
        let was_stopped = word & STOPPED != 0;
        if was_stopped {
            STOPPED_PROCESSES.fetch_sub(1, SeqCst);
            *report = Report::Due(Change::Continued);
        }
        was_stopped
    }

    /// A process ends, stopped or not.
    fn end(&self) {
        if self.is_stopped() {
            let mut report = self.report.lock();
            *report = Report::Nothing;
            if self.word.fetch_and(!STOPPED, SeqCst) & STOPPED != 0 {
                STOPPED_PROCESSES.fetch_sub(1, SeqCst);
            }
        }
    }
}

/// What the parent of `process` is to be told, if it is one of those changes that it asks for; with `take`, once.
pub fn report(process: &Process, stops: bool, continues: bool, take: bool) -> Option<Change> {
    let mut report = process.signals.stop_state.report.lock();
    let Report::Due(change) = *report else { return None };
    let is_wanted = match change {
        Change::Stopped(_) => stops,
        Change::Continued => continues,
    };
    if is_wanted && take {
        *report = Report::Nothing;
    }
    is_wanted.then_some(change)
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
    if process.signals.stop_state.stop(moment, signal) {
        for task in process.threads.lock().iter() {
            task.demand_attention(attention::SIGNAL);
        }
    }
}

/// Waits while the process is stopped. Only being killed ends that early.
pub(super) fn wait_while_stopped(current: &Current) {
    let signals: &ProcessSignals = &current.task.process.signals;
    if signals.stop_state.is_stopped() {
        let _registration = signals.continued.register(current);
        current.task.is_halted.store(true, SeqCst);
        note_halted(&current.task.process);
        // Killed or continued: the caller looks which.
        let _ = current.sleep_unless_killed(|| (!signals.stop_state.is_stopped()).then_some(()));
        current.task.is_halted.store(false, SeqCst);
    }
}

/// A thread has halted or ended: if none of a stopped process runs any more, its parent is told.
fn note_halted(process: &Process) {
    let complete = process.signals.stop_state.is_stopped()
        && process.threads.lock().iter().all(|task| task.is_halted.load(SeqCst) || task.is_exiting());
    if complete && let Some(signal) = process.signals.stop_state.complete() {
        tell_parent(process, linux::CLD_STOPPED, signal);
    }
}

/// A thread has ended and is no longer among those of its process.
pub fn thread_has_ended(process: &Process, was_last: bool) {
    if was_last {
        process.signals.stop_state.end();
    } else {
        note_halted(process);
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
        parent.child_ended.wake_all();
    }
}
