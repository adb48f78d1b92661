//! The simulated hardware: a clock that moves when told to, pending kicks, and locks that check how they are used.

use sched::{CpuId, Instant, Platform};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// How many locks this test has taken so far.
pub fn locks_taken() -> usize {
    TAKEN.get()
}

/// A lock that is never contended, because one host thread plays all CPUs: finding it taken is a deadlock.
pub struct CheckedLock(AtomicBool);

// SAFETY: `try_lock` succeeds only when it changes the flag from clear to set, and only `unlock` clears it.
unsafe impl lock_api::RawMutex for CheckedLock {
    const INIT: Self = Self(AtomicBool::new(false));
    type Guard = lock_api::GuardNoSend;

    fn lock(&self) -> Self::Guard {
        self.try_lock().expect("a lock is taken twice")
    }

    fn try_lock(&self) -> Option<Self::Guard> {
        if self.0.swap(true, Relaxed) {
            return None;
        }
        HELD.set(HELD.get() + 1);
        TAKEN.set(TAKEN.get() + 1);
        assert_eq!(HELD.get(), 1, "two locks are held at once");
        Some(lock_api::GuardNoSend::new())
    }

    unsafe fn unlock(&self, _guard: Self::Guard) {
        HELD.set(HELD.get() - 1);
        self.0.store(false, Relaxed);
    }

    fn is_locked(&self) -> bool {
        self.0.load(Relaxed)
    }
}

pub struct Sim {
    now: AtomicU64,
    clock_reads: AtomicU64,
    kicks: Vec<AtomicBool>,
}

impl Sim {
    pub fn new(cpus: usize) -> Self {
        Self {
            now: AtomicU64::new(1_000),
            clock_reads: AtomicU64::new(0),
            kicks: (0..cpus).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    pub fn advance(&self, ns: u64) {
        self.now.fetch_add(ns, Relaxed);
    }

    pub fn clock_reads(&self) -> u64 {
        self.clock_reads.load(Relaxed)
    }

    pub fn take_kick(&self, cpu: CpuId) -> bool {
        self.kicks[cpu.index()].swap(false, Relaxed)
    }

    pub fn is_kicked(&self, cpu: CpuId) -> bool {
        self.kicks[cpu.index()].load(Relaxed)
    }
}

impl Platform for Sim {
    type Lock = CheckedLock;

    fn now(&self) -> Instant {
        self.clock_reads.fetch_add(1, Relaxed);
        Instant::from_ticks(self.now.load(Relaxed))
    }

    fn kick(&self, cpu: CpuId) {
        assert_eq!(HELD.get(), 0, "a CPU is kicked with a lock held");
        self.kicks[cpu.index()].store(true, Relaxed);
    }
}
