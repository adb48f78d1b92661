//! What `sched` needs of a machine, simulated: a clock that stands still while the scheduler thinks, and calls that are
//! delivered later.

use formats::trace::Event;
use formats::{CpuId, Instant};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes the trace of a run, event by event, in the order of time.
pub trait Sink: Send {
    fn record(&mut self, time: Instant, cpu: CpuId, event: &Event);
}

/// The simulated hardware.
pub struct Hardware {
    now: AtomicU64,
    /// There is something in `kicked`.
    has_kicked: AtomicBool,
    kicked: Mutex<Vec<CpuId>>,
    sink: Option<Mutex<Box<dyn Sink>>>,
}

impl Hardware {
    pub fn new(sink: Option<Box<dyn Sink>>) -> Self {
        Self {
            now: AtomicU64::new(0),
            has_kicked: AtomicBool::new(false),
            kicked: Mutex::new(Vec::new()),
            sink: sink.map(Mutex::new),
        }
    }

    pub fn set_now(&self, now: u64) {
        self.now.store(now, Relaxed);
    }

    /// Moves the CPUs that were called since the last time to the end of `to`.
    #[inline]
    pub fn take_kicked(&self, to: &mut Vec<CpuId>) {
        if self.has_kicked.load(Relaxed) {
            self.has_kicked.store(false, Relaxed);
            to.append(&mut whole(&self.kicked));
        }
    }
}

/// One host thread plays all CPUs, so a lock is poisoned only after a panic that ends everything.
fn whole<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl sched::Platform for Hardware {
    type Lock = QueueLock;

    #[inline]
    fn now(&self) -> Instant {
        Instant::from_ticks(self.now.load(Relaxed))
    }

    fn kick(&self, cpu: CpuId) {
        whole(&self.kicked).push(cpu);
        self.has_kicked.store(true, Relaxed);
    }

    #[inline]
    fn trace(&self, here: CpuId, event: impl FnOnce() -> Event) {
        if let Some(sink) = &self.sink {
            whole(sink).record(self.now(), here, &event());
        }
    }
}

/// A lock that is never contended: finding it taken is a deadlock of the scheduler's.
pub struct QueueLock(AtomicBool);

// SAFETY: `try_lock` succeeds only when it changes the flag from clear to set, and only `unlock` clears it.
unsafe impl lock_api::RawMutex for QueueLock {
    const INIT: Self = Self(AtomicBool::new(false));
    type Guard = lock_api::GuardNoSend;

    #[inline]
    fn lock(&self) -> Self::Guard {
        self.try_lock().expect("one host thread plays all CPUs, and holds one lock at a time")
    }

    #[inline]
    fn try_lock(&self) -> Option<Self::Guard> {
        use std::sync::atomic::Ordering::Acquire;
        (!self.0.swap(true, Acquire)).then(lock_api::GuardNoSend::new)
    }

    #[inline]
    unsafe fn unlock(&self, _guard: Self::Guard) {
        self.0.store(false, std::sync::atomic::Ordering::Release);
    }

    fn is_locked(&self) -> bool {
        self.0.load(Relaxed)
    }
}
