//! The signal state of a thread and of a process.
//!
//! A thread's mask and what is pending are read by senders on other CPUs without a lock. The order of steps makes that
//! safe: a sender adds the signal before it looks at masks; a thread changes its mask before it looks at what is
//! pending. All of these are sequentially consistent, so that one of the two sees the other.

use super::altstack::AltStack;
use super::stop::StopState;
use super::{Actions, Pending, SigInfo, SigSet, Signal};
use crate::lock::{Lock, rank};
use crate::timers::process::Timers;
use crate::wait::WaitQueue;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use formats::Instant;

/// What each thread has of its own.
pub struct ThreadSignals {
    blocked: AtomicU64,
    /// Blocked, but what `sigtimedwait` is waiting for at this moment.
    awaited: AtomicU64,
    /// Sent to this thread alone.
    pub(super) pending: Pending,
    /// Touched by the thread itself only.
    pub(super) own: Lock<Own, { rank::SIGNAL }>,
}

/// What no other thread looks at.
#[derive(Default)]
pub(super) struct Own {
    pub altstack: AltStack,
    /// The mask to go back to after `sigsuspend` or `ppoll`, once signals have been delivered.
    pub saved_mask: Option<SigSet>,
    /// When the sleep that a signal interrupted should have ended.
    pub resumed_deadline: Option<Instant>,
    pub last_fault: LastFault,
}

/// The last fault of a thread, as signal frames show it.
#[derive(Clone, Copy, Default)]
pub(super) struct LastFault {
    pub vector: u64,
    pub error: u64,
    pub address: u64,
}

impl ThreadSignals {
    /// For the first thread of all: nothing blocked, nothing pending.
    pub fn new() -> Self {
        Self::blocking(SigSet::EMPTY, AltStack::default())
    }

    fn blocking(blocked: SigSet, altstack: AltStack) -> Self {
        let own = Own { altstack, ..Own::default() };
        Self {
            blocked: AtomicU64::new(blocked.0),
            awaited: AtomicU64::new(0),
            pending: Pending::new(),
            own: Lock::new(own),
        }
    }

    /// For a child: the mask and the alternate stack are inherited, pending signals are not (man 2 fork).
    pub fn fork_copy(&self) -> Self {
        Self::blocking(self.blocked(), self.own.lock().altstack)
    }

    /// For a child that runs in the same memory at the same time: the alternate stack stays the parent's alone
    /// (man 2 sigaltstack).
    pub fn thread_copy(&self) -> Self {
        Self::blocking(self.blocked(), AltStack::default())
    }

    /// The mask and what is pending outlive an exec, the alternate stack does not (man 2 execve).
    pub fn reset_for_exec(&self) {
        *self.own.lock() = Own::default();
    }

    /// The signals that the thread does not want now.
    pub fn blocked(&self) -> SigSet {
        SigSet(self.blocked.load(SeqCst))
    }

    /// Only the thread itself changes its mask; see [`super::set_mask`].
    pub(super) fn set_blocked(&self, mask: SigSet) {
        self.blocked.store(mask.without(SigSet::UNBLOCKABLE).0, SeqCst);
    }

    /// The signals that the thread does not take now, not even by waiting for them.
    pub(super) fn closed_to(&self) -> SigSet {
        self.blocked().without(SigSet(self.awaited.load(SeqCst)))
    }

    /// Whether the thread takes `signal` if it is sent now.
    pub(super) fn is_open_to(&self, signal: Signal) -> bool {
        !self.closed_to().contains(signal)
    }

    /// Only the thread itself says what it waits for.
    pub(super) fn set_awaited(&self, signals: SigSet) {
        self.awaited.store(signals.0, SeqCst);
    }

    /// Notes when an interrupted sleep should have ended, for the case that the call is restarted.
    pub fn note_deadline(&self, deadline: Instant) {
        self.own.lock().resumed_deadline = Some(deadline);
    }

    /// When the sleep that is about to start ends, if it goes on with one that a signal without a handler interrupted.
    pub fn take_deadline(&self) -> Option<Instant> {
        self.own.lock().resumed_deadline.take()
    }
}

/// What the threads of a process share.
///
/// The actions may be shared more widely: CLONE_SIGHAND without CLONE_THREAD makes another process with the same
/// actions, yet signals that were sent to the one are no business of the other.
pub struct ProcessSignals {
    pub(super) actions: Arc<Actions>,
    /// Sent to the process as a whole: any thread may take them.
    pub(super) pending: Pending,
    /// What may send it signals later.
    pub timers: Timers,
    pub(super) stop_state: StopState,
    pub(super) continued: WaitQueue,
}

impl ProcessSignals {
    fn with(actions: Arc<Actions>) -> Arc<Self> {
        Arc::new(Self {
            actions,
            pending: Pending::new(),
            timers: Timers::new(),
            stop_state: StopState::running(),
            continued: WaitQueue::new(),
        })
    }

    /// Whether the process is stopped, or about to be.
    pub fn is_stopped(&self) -> bool {
        self.stop_state.is_stopped()
    }

    /// Default actions, nothing pending.
    pub fn new() -> Arc<Self> {
        Self::with(Arc::new(Actions::new()))
    }

    /// For a fork: the same actions from now on separate, nothing pending.
    pub fn fork_copy(&self) -> Arc<Self> {
        Self::with(Arc::new(self.actions.copy()))
    }

    /// For CLONE_SIGHAND: one table of actions for both, nothing pending.
    pub fn share(&self) -> Arc<Self> {
        Self::with(self.actions.clone())
    }

    /// Handlers and timers are gone with the program that had them.
    pub fn reset_for_exec(&self) {
        self.actions.reset_for_exec();
        self.timers.delete_all();
    }
}

/// Takes the next signal out of `wanted`: the thread's own first, then the process's.
pub(super) fn take_pending(
    thread: &ThreadSignals,
    process: &ProcessSignals,
    wanted: SigSet,
) -> Option<SigInfo> {
    let mut info = thread.pending.take(wanted).or_else(|| process.pending.take(wanted))?;
    process.timers.taken(&mut info);
    Some(info)
}
