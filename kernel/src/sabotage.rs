//! Failures on demand: a check that cannot fail is no check.
//!
//! `debug.fail=…` on the command line breaks the kernel in one way when the first program starts, so that a test can see
//! whether the watchdog or the panic path says what happened. Does nothing unless it is asked for.

use crate::lock::{Lock, rank};

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
}

impl Sabotage {
    pub const ALL: [(&'static str, Self); 4] = [
        ("panic", Self::Panic),
        ("stall", Self::Stall),
        ("deadlock", Self::Deadlock),
        ("stack_overflow", Self::StackOverflow),
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
        }
    }
}

/// Recurses until the stack ends, whatever the optimiser knows.
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn descend(depth: u64) -> u64 {
    let frame = core::hint::black_box([depth; 32]);
    descend(depth + 1) + core::hint::black_box(frame)[(depth % 32) as usize]
}
