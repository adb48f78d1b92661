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
use crate::sync::{AtomicCell, AtomicU8, SeqCst};

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
