//! What `signalfd` shows of a signal, and taking one for it.

use super::{Disposition, SigInfo, SigSet, Signal, state};
use crate::task::{Process, Task};
use linux_raw_sys::general as linux;

/// Takes a pending signal of `wanted` that the calling thread would have delivered.
pub fn take(task: &Task, wanted: SigSet) -> Option<SigInfo> {
    state::take_pending(&task.signals, &task.process.signals, wanted)
}

/// Whether a signal of `wanted` is pending for the thread or its process.
pub fn has_pending(task: &Task, wanted: SigSet) -> bool {
    let pending = task.signals.pending.set().union(task.process.signals.pending.set());
    !pending.intersection(wanted).is_empty()
}

/// From where in a siginfo's payload, to where in `struct signalfd_siginfo`, how many bytes.
type Field = (usize, usize, usize);

/// `si_pid`, `si_uid`.
const SENDER: [Field; 2] = [(0, 12, 4), (4, 16, 4)];
/// The sender, and the value as a number and as a pointer.
const QUEUED: [Field; 4] = [SENDER[0], SENDER[1], (8, 44, 4), (8, 48, 8)];
/// Timer, overruns, value.
const TIMER: [Field; 4] = [(0, 24, 4), (4, 32, 4), (8, 44, 4), (8, 48, 8)];
/// The child, its status and times.
const CHILD: [Field; 5] = [SENDER[0], SENDER[1], (8, 40, 4), (16, 56, 8), (24, 64, 8)];
/// Band and descriptor.
const POLL: [Field; 2] = [(0, 28, 4), (8, 20, 4)];
/// The address.
const FAULT: [Field; 1] = [(0, 72, 8)];

/// The fields that mean something (man 2 sigaction, man 2 signalfd).
pub fn fields(info: &SigInfo) -> &'static [Field] {
    const TIMERS: i32 = linux::SI_TIMER;
    const USER: i32 = linux::SI_USER as i32;
    const KERNEL: i32 = linux::SI_KERNEL as i32;
    match (info.code(), info.signal()) {
        (TIMERS, _) => &TIMER,
        (linux::SI_SIGIO, _) => &POLL,
        (USER | linux::SI_TKILL | KERNEL, _) => &SENDER,
        (code, _) if code < 0 => &QUEUED,
        (_, Signal::CHLD) => &CHILD,
        (_, Signal::SEGV | Signal::BUS | Signal::ILL | Signal::FPE | Signal::TRAP) => &FAULT,
        (_, Signal::IO) => &POLL,
        _ => &SENDER,
    }
}

impl SigInfo {
    /// Four bytes of the head: the signal's number at 0, the error at 4, the code at 8.
    pub fn head(&self, at: usize) -> [u8; 4] {
        let word = [self.signal, self.error, self.code][at / 4];
        word.to_ne_bytes()
    }

    /// Bytes of what follows the head.
    pub fn payload(&self, from: usize, len: usize) -> &[u8] {
        &self.payload[from..from + len]
    }
}

/// A thread's signals, as `/proc/PID/status` shows them.
#[derive(Clone, Copy, Default)]
pub struct Masks {
    pub own_pending: SigSet,
    /// Sent to the process as a whole.
    pub pending: SigSet,
    pub blocked: SigSet,
    pub ignored: SigSet,
    pub caught: SigSet,
}

pub fn masks(task: &Task) -> Masks {
    let process = &task.process.signals;
    let with = |wanted: fn(&Disposition) -> bool| {
        let all = (1..=u32::from(Signal::MAX)).filter_map(|number| Signal::new(number).ok());
        let those = all.filter(|signal| wanted(&process.actions.get(*signal).disposition()));
        those.fold(SigSet::EMPTY, SigSet::with)
    };
    Masks {
        own_pending: task.signals.pending.set(),
        pending: process.pending.set(),
        blocked: task.signals.blocked(),
        ignored: with(|disposition| *disposition == Disposition::Ignore),
        caught: with(|disposition| !matches!(disposition, Disposition::Ignore | Disposition::Default)),
    }
}

/// Whether the process has been stopped by a signal.
pub fn is_stopped(process: &Process) -> bool {
    process.signals.stop_state.is_stopped()
}
