//! Failures on demand: a check that cannot fail is no check.
//!
//! `debug.fail=…` on the command line breaks the kernel in one way when the first program starts, so that a test can see
//! whether the watchdog or the panic path says what happened. Does nothing unless it is asked for.

use crate::lock::{Lock, rank};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A way to break the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    Panic,
    /// A CPU keeps interrupts off for ever.
    Stall,
    /// A CPU waits for a spin lock that it holds.
    Deadlock,
    /// A kernel stack runs into its guard page.
    StackOverflow,
    /// From now on threads look whether there is a reason to stay awake before they announce that they sleep. A wake-up
    /// that comes in between is lost: a race that only the interleaving decides.
    #[cfg(feature = "planted")]
    LostWakeup,
}

/// Whether threads announce their sleep after they have looked.
static ANNOUNCES_LATE: AtomicBool = AtomicBool::new(false);

/// See [`Sabotage`]. False in any kernel that is not built for a test.
#[inline]
pub fn announces_late() -> bool {
    cfg!(feature = "planted") && ANNOUNCES_LATE.load(Relaxed)
}

impl Sabotage {
    pub const ALL: &[(&'static str, Self)] = &[
        ("panic", Self::Panic),
        ("stall", Self::Stall),
        ("deadlock", Self::Deadlock),
        ("stack_overflow", Self::StackOverflow),
        #[cfg(feature = "planted")]
        ("lost_wakeup", Self::LostWakeup),
    ];

    /// Breaks the kernel.
    pub fn commit(self) {
        match self {
            Self::Panic => panic!("debug.fail=panic was asked for"),
            Self::Stall => {
                arch::interrupts::disable();
                loop {
                    core::hint::spin_loop();
                }
            }
            Self::Deadlock => {
                static TWICE: Lock<(), { rank::WAIT }> = Lock::new(());
                let first = TWICE.lock();
                let second = TWICE.lock();
                drop((first, second));
            }
            Self::StackOverflow => {
                log::info!("{}", descend(0));
            }
            #[cfg(feature = "planted")]
            Self::LostWakeup => ANNOUNCES_LATE.store(true, Relaxed),
        }
    }
}

/// Recurses until the stack ends, whatever the optimiser knows.
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn descend(depth: u64) -> u64 {
    let frame = core::hint::black_box([depth; 32]);
    descend(depth + 1) + core::hint::black_box(frame)[(depth % 32) as usize]
}
