//! Whether a thread waits, and the hand-over between its going to sleep and its being woken.
//!
//! ```text
//!            start             announce                park
//!   New ───────────> Awake ──────────────> Announced ────────> Parked
//!                      ^  <── cancel, wake ────┘                 │
//!                      └─────────────── wake ────────────────────┘
//!   Awake ── bury ──> Dead
//! ```
//!
//! There is no lock: each transition is one atomic step, and the state says who may touch the slot. In `New` and
//! `Parked` the slot holds the thread's token, and the CPU whose step leaves that state takes it out. In all other
//! states the token is elsewhere: in a queue, on a CPU, or in somebody's hands.

use crate::Runnable;
use core::sync::atomic::{AtomicU8, Ordering::SeqCst};
use crossbeam_utils::atomic::AtomicCell;

const NEW: u8 = 0;
const AWAKE: u8 = 1;
const ANNOUNCED: u8 = 2;
const PARKED: u8 = 3;
const DEAD: u8 = 4;

pub(crate) struct WaitState {
    state: AtomicU8,
    slot: AtomicCell<Option<Runnable>>,
}

/// What a waker must do next.
pub(crate) enum Wake {
    /// It slept: enqueue it.
    Enqueue(Runnable),
    /// It had announced sleep but not committed: it will see this wake and stay awake.
    SleepCancelled,
    /// It is awake, gone, or not started.
    Nothing,
}

impl WaitState {
    pub fn new() -> Self {
        Self { state: AtomicU8::new(NEW), slot: AtomicCell::new(None) }
    }

    /// For a thread that runs from the beginning, without being started.
    pub fn awake() -> Self {
        Self { state: AtomicU8::new(AWAKE), slot: AtomicCell::new(None) }
    }

    /// Deposits the token of a thread that is not started yet.
    pub fn create(&self, token: Runnable) {
        self.slot.store(Some(token));
    }

    #[inline]
    fn step(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, SeqCst, SeqCst).is_ok()
    }

    /// Takes the token of a thread that was never started; `None` the second time.
    pub fn start(&self) -> Option<Runnable> {
        self.step(NEW, AWAKE).then(|| self.slot.take()).flatten()
    }

    /// The thread says of itself that it is about to sleep. From now on a wake is not lost.
    pub fn announce(&self) {
        self.step(AWAKE, ANNOUNCED);
    }

    /// The thread found a reason not to sleep.
    pub fn cancel(&self) {
        self.step(ANNOUNCED, AWAKE);
    }

    #[inline]
    pub fn is_announced(&self) -> bool {
        self.state.load(SeqCst) == ANNOUNCED
    }

    /// Whether it sleeps, token and all.
    pub fn is_parked(&self) -> bool {
        self.state.load(SeqCst) == PARKED
    }

    pub fn is_dead(&self) -> bool {
        self.state.load(SeqCst) == DEAD
    }

    /// Commits the sleep. A wake that came since the announcement gives the token back: enqueue it.
    pub fn park(&self, token: Runnable) -> Result<(), Runnable> {
        // Nobody looks into the slot before the state says that it is full.
        self.slot.store(Some(token));
        if self.step(ANNOUNCED, PARKED) {
            return Ok(());
        }
        self.slot.take().map_or(Ok(()), Err)
    }

    pub fn wake(&self) -> Wake {
        loop {
            match self.state.load(SeqCst) {
                ANNOUNCED if self.step(ANNOUNCED, AWAKE) => return Wake::SleepCancelled,
                PARKED if self.step(PARKED, AWAKE) => {
                    return self.slot.take().map_or(Wake::Nothing, Wake::Enqueue);
                }
                // The sleep was committed or cancelled in between: look again.
                ANNOUNCED | PARKED => {}
                _ => return Wake::Nothing,
            }
        }
    }

    /// The thread has run for the last time.
    pub fn bury(&self) {
        self.state.store(DEAD, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, NewThread, Policy, Thread};
    use alloc::sync::Arc;
    use formats::{CpuId, CpuSet, ThreadId};

    fn awake() -> (Arc<Thread>, Runnable) {
        let affinity = CpuSet::ALL;
        let new = NewThread {
            id: ThreadId(1),
            kind: Kind::User,
            affinity,
            policy: Policy::default(),
            task: Arc::new(()),
        };
        let thread = Arc::new(Thread::new(new, CpuId::BOOT, affinity));
        thread.wait.create(Runnable::new(thread.clone()));
        let token = thread.wait.start().expect("it was not started yet");
        (thread, token)
    }

    #[test]
    fn a_thread_starts_once() {
        assert!(awake().0.wait.start().is_none());
    }

    #[test]
    fn a_thread_that_is_not_started_cannot_be_woken() {
        let affinity = CpuSet::ALL;
        let new = NewThread {
            id: ThreadId(1),
            kind: Kind::User,
            affinity,
            policy: Policy::default(),
            task: Arc::new(()),
        };
        let thread = Thread::new(new, CpuId::BOOT, affinity);
        assert!(matches!(thread.wait.wake(), Wake::Nothing));
    }

    #[test]
    fn a_wake_after_the_announcement_gives_the_token_back_at_the_park() {
        let (thread, token) = awake();
        thread.wait.announce();
        assert!(matches!(thread.wait.wake(), Wake::SleepCancelled));
        assert!(thread.wait.park(token).is_err());
        assert!(!thread.is_asleep());
    }

    #[test]
    fn of_two_wakes_one_gets_the_token() {
        let (thread, token) = awake();
        thread.wait.announce();
        assert!(thread.wait.park(token).is_ok());
        assert!(thread.is_asleep());
        assert!(matches!(thread.wait.wake(), Wake::Enqueue(_)));
        assert!(matches!(thread.wait.wake(), Wake::Nothing));
    }

    #[test]
    fn a_cancelled_sleep_is_none() {
        let (thread, token) = awake();
        thread.wait.announce();
        thread.wait.cancel();
        assert!(!thread.wait.is_announced());
        assert!(matches!(thread.wait.wake(), Wake::Nothing));
        assert!(thread.wait.park(token).is_err());
    }

    #[test]
    fn the_dead_do_not_wake() {
        let (thread, _token) = awake();
        thread.wait.bury();
        assert!(matches!(thread.wait.wake(), Wake::Nothing));
        assert!(thread.is_dead());
    }
}
