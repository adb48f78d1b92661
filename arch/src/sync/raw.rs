//! The two raw locks: test-and-test-and-set.
//!
//! Not ticket locks: under emulation with fewer host threads than CPUs, the next in line is often not
//! running, and everybody would wait for the host to schedule it.

use super::watch::Contention;
use super::{Spinner, rank};
use crate::interrupts;
use core::sync::atomic::{AtomicBool, Ordering};
use lock_api::{GuardNoSend, RawMutex};

/// A spin lock that leaves interrupts as they are. Rank below [`rank::FIRST_IRQ`].
pub struct RawLock<const RANK: u8> {
    taken: AtomicBool,
}

impl<const RANK: u8> RawLock<RANK> {
    const RANK_FITS: () = assert!(RANK < rank::FIRST_IRQ, "this rank is that of an IrqLock");
}

// SAFETY: `taken` goes from false to true by one atomic swap, so one CPU at a time gets through `lock` or
// `try_lock`, with acquire and release ordering around what it guards.
unsafe impl<const RANK: u8> RawMutex for RawLock<RANK> {
    #[allow(clippy::declare_interior_mutable_const, reason = "lock_api asks for it: each use is a new lock")]
    const INIT: Self = Self { taken: AtomicBool::new(false) };
    type Guard = GuardNoSend;

    fn lock(&self) -> GuardNoSend {
        const { Self::RANK_FITS };
        rank::check(RANK);
        if !take(&self.taken) {
            wait(&self.taken, RANK, || take(&self.taken));
        }
        rank::acquired(RANK);
        GuardNoSend::new()
    }

    fn try_lock(&self) -> Option<GuardNoSend> {
        const { Self::RANK_FITS };
        let taken = take(&self.taken);
        taken.then(|| {
            rank::acquired(RANK);
            GuardNoSend::new()
        })
    }

    unsafe fn unlock(&self, _: GuardNoSend) {
        rank::released(RANK);
        self.taken.store(false, Ordering::Release);
    }

    fn is_locked(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }
}

/// A spin lock that keeps interrupts off while it is held. Rank [`rank::FIRST_IRQ`] or above.
///
/// Several may be held and released in any order: interrupts come back on with the last one, if they were on
/// before the first.
pub struct RawIrqLock<const RANK: u8> {
    taken: AtomicBool,
}

impl<const RANK: u8> RawIrqLock<RANK> {
    const RANK_FITS: () =
        assert!(RANK >= rank::FIRST_IRQ && RANK < rank::COUNT, "this rank is that of a Lock");

    /// One attempt, after which interrupts are off if it was successful and as before if not.
    fn attempt(&self) -> bool {
        interrupts::hold_off();
        let taken = take(&self.taken);
        if !taken {
            interrupts::release();
        }
        taken
    }
}

// SAFETY: as for `RawLock`. The CPU that takes the lock is the one that releases it (the guard is not `Send`
// and no lock is held across a context switch), so `hold_off` and `release` are balanced on each CPU.
unsafe impl<const RANK: u8> RawMutex for RawIrqLock<RANK> {
    #[allow(clippy::declare_interior_mutable_const, reason = "lock_api asks for it: each use is a new lock")]
    const INIT: Self = Self { taken: AtomicBool::new(false) };
    type Guard = GuardNoSend;

    fn lock(&self) -> GuardNoSend {
        const { Self::RANK_FITS };
        rank::check(RANK);
        if !self.attempt() {
            wait(&self.taken, RANK, || self.attempt());
        }
        rank::acquired(RANK);
        GuardNoSend::new()
    }

    fn try_lock(&self) -> Option<GuardNoSend> {
        const { Self::RANK_FITS };
        let taken = self.attempt();
        taken.then(|| {
            rank::acquired(RANK);
            GuardNoSend::new()
        })
    }

    unsafe fn unlock(&self, _: GuardNoSend) {
        rank::released(RANK);
        self.taken.store(false, Ordering::Release);
        interrupts::release();
    }

    fn is_locked(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }
}

#[inline]
fn take(taken: &AtomicBool) -> bool {
    !taken.swap(true, Ordering::Acquire)
}

/// Spins until `attempt` is successful, trying only when the lock looks free.
#[cold]
fn wait(taken: &AtomicBool, rank: u8, attempt: impl Fn() -> bool) {
    let contention = Contention::begin();
    let mut spinner = Spinner::new(core::ptr::from_ref(taken).addr(), Some(rank));
    loop {
        while taken.load(Ordering::Relaxed) {
            spinner.pause();
        }
        if attempt() {
            return contention.end(rank);
        }
    }
}
