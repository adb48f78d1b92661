//! Locks, clock and kicks whose every use is a point where the checker may go on with another CPU.
//!
//! Each use is one such point, so that schedules are short enough to be counted out. What lies between two points is one
//! step: the state in here needs no protection from the checker's threads, of which one runs at a time.

use sched::{CpuId, Fault, Instant, Platform};
use shuttle::thread::{self, Thread};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// Something to wait for.
struct Event {
    waiting: Mutex<Vec<Thread>>,
}

impl Event {
    const fn new() -> Self {
        Self { waiting: Mutex::new(Vec::new()) }
    }

    /// Waits until `happened` says so, which is asked in the step in which the waiting begins or ends.
    fn wait_until(&self, happened: impl Fn() -> bool) {
        while !happened() {
            self.waiting.lock().unwrap().push(thread::current());
            thread::park();
        }
    }

    /// Others may run after this.
    fn happens(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        waiting.iter().for_each(Thread::unpark);
    }
}

pub struct CheckedLock {
    taken: AtomicBool,
    released: Event,
}

// SAFETY: `lock` returns after it has changed `taken` from false to true, and only `unlock` changes it back.
unsafe impl lock_api::RawMutex for CheckedLock {
    const INIT: Self = Self { taken: AtomicBool::new(false), released: Event::new() };
    type Guard = lock_api::GuardNoSend;

    /// The core says itself that others may run before.
    fn lock(&self) -> Self::Guard {
        self.released.wait_until(|| !self.taken.swap(true, SeqCst));
        lock_api::GuardNoSend::new()
    }

    fn try_lock(&self) -> Option<Self::Guard> {
        let free = !self.taken.swap(true, SeqCst);
        free.then(lock_api::GuardNoSend::new)
    }

    unsafe fn unlock(&self, _guard: Self::Guard) {
        self.taken.store(false, SeqCst);
        if !std::thread::panicking() {
            self.released.happens();
        }
    }

    fn is_locked(&self) -> bool {
        self.taken.load(SeqCst)
    }
}

/// A call from CPU to CPU.
struct Kick {
    raised: AtomicBool,
    came: Event,
}

impl Kick {
    const fn new() -> Self {
        Self { raised: AtomicBool::new(false), came: Event::new() }
    }

    fn raise(&self) {
        self.raised.store(true, SeqCst);
        self.came.happens();
    }

    fn take(&self) -> bool {
        self.raised.swap(false, SeqCst)
    }
}

pub struct Checked {
    clock: AtomicU64,
    kicks: Vec<Kick>,
    fault: Option<Fault>,
    /// Waits until the machine has ended.
    main: Thread,
}

impl Checked {
    /// A machine whose core has `fault`. Called by the thread that waits for its end.
    pub fn new(cpus: usize, fault: Option<Fault>) -> Self {
        let kicks = (0..cpus).map(|_| Kick::new()).collect();
        Self { clock: AtomicU64::new(0), kicks, fault, main: thread::current() }
    }

    pub fn pass_until(&self, time: Instant) {
        self.clock.fetch_max(time.as_ticks(), SeqCst);
    }

    /// `hlt`: returns when `cpu` was kicked, perhaps before this call.
    pub fn halt(&self, cpu: CpuId) {
        let kick = &self.kicks[cpu.index()];
        kick.came.wait_until(|| kick.take());
    }

    pub fn take_kick(&self, cpu: CpuId) -> bool {
        self.kicks[cpu.index()].take()
    }

    pub fn kick_all(&self) {
        self.kicks.iter().for_each(Kick::raise);
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
        // To the checker this is a step of its own; the thread concerned does not notice.
        self.main.unpark();
    }

    fn has_fault(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}
