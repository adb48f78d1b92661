//! Locks, clock and kicks whose every use is a point where the checker may go on with another CPU.

use sched::{CpuId, Instant, Platform};
use shuttle::sync::atomic::{AtomicU64, Ordering::SeqCst};
use shuttle::sync::{Condvar, Mutex};

/// A flag to wait for. Set by others, cleared by whoever waited.
struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    const fn new() -> Self {
        Self { raised: Mutex::new(false), changed: Condvar::new() }
    }

    fn raise(&self) {
        *self.raised.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn take(&self) -> bool {
        std::mem::take(&mut *self.raised.lock().unwrap())
    }

    fn wait(&self) {
        let mut raised = self.raised.lock().unwrap();
        while !*raised {
            raised = self.changed.wait(raised).unwrap();
        }
        *raised = false;
    }
}

pub struct CheckedLock {
    taken: Mutex<bool>,
    released: Condvar,
}

// SAFETY: `lock` returns after it has changed `taken` from false to true, and only `unlock` changes it back.
unsafe impl lock_api::RawMutex for CheckedLock {
    const INIT: Self = Self { taken: Mutex::new(false), released: Condvar::new() };
    type Guard = lock_api::GuardNoSend;

    fn lock(&self) -> Self::Guard {
        let mut taken = self.taken.lock().unwrap();
        while *taken {
            taken = self.released.wait(taken).unwrap();
        }
        *taken = true;
        lock_api::GuardNoSend::new()
    }

    fn try_lock(&self) -> Option<Self::Guard> {
        let free = !std::mem::replace(&mut *self.taken.lock().unwrap(), true);
        free.then(lock_api::GuardNoSend::new)
    }

    unsafe fn unlock(&self, _guard: Self::Guard) {
        *self.taken.lock().unwrap() = false;
        self.released.notify_one();
    }

    fn is_locked(&self) -> bool {
        *self.taken.lock().unwrap()
    }
}

pub struct Checked {
    clock: AtomicU64,
    kicks: Vec<Signal>,
}

impl Checked {
    pub fn new(cpus: usize) -> Self {
        Self { clock: AtomicU64::new(0), kicks: (0..cpus).map(|_| Signal::new()).collect() }
    }

    pub fn pass_until(&self, time: Instant) {
        self.clock.fetch_max(time.as_ticks(), SeqCst);
    }

    /// `hlt`: returns when `cpu` was kicked, perhaps before this call.
    pub fn halt(&self, cpu: CpuId) {
        self.kicks[cpu.index()].wait();
    }

    pub fn take_kick(&self, cpu: CpuId) -> bool {
        self.kicks[cpu.index()].take()
    }

    pub fn kick_all(&self) {
        self.kicks.iter().for_each(Signal::raise);
    }
}

impl Platform for Checked {
    type Lock = CheckedLock;

    fn now(&self) -> Instant {
        Instant::from_ticks(self.clock.fetch_add(1_000, SeqCst))
    }

    fn kick(&self, cpu: CpuId) {
        self.kicks[cpu.index()].raise();
    }

    fn interleave(&self) {
        self.clock.load(SeqCst);
    }
}
