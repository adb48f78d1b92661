//! The checker's atomics in the place of the processor's.
//!
//! The checker knows sequential consistency of fences only, and takes accesses that ask for it as acquire and release. So
//! each such access has a fence on the side where another of its kind may be.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{self, Ordering, fence};

pub use loom::sync::atomic::Ordering::SeqCst;

loom::lazy_static! {
    /// Whether the fences are left out: what is sequentially consistent is acquire and release only.
    pub static ref WEAKENED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
}

fn sequential() {
    if !WEAKENED.load(std::sync::atomic::Ordering::Relaxed) {
        fence(SeqCst);
    }
}

pub struct AtomicU64(atomic::AtomicU64);

impl AtomicU64 {
    pub fn new(value: u64) -> Self {
        Self(atomic::AtomicU64::new(value))
    }

    pub fn load(&self, order: Ordering) -> u64 {
        sequential();
        self.0.load(order)
    }

    pub fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, order);
        sequential();
    }

    pub fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
        let before = self.0.fetch_or(bits, order);
        sequential();
        before
    }

    pub fn fetch_and(&self, bits: u64, order: Ordering) -> u64 {
        let before = self.0.fetch_and(bits, order);
        sequential();
        before
    }
}

pub struct AtomicU8(atomic::AtomicU8);

impl AtomicU8 {
    pub fn new(value: u8) -> Self {
        Self(atomic::AtomicU8::new(value))
    }

    pub fn load(&self, order: Ordering) -> u8 {
        sequential();
        self.0.load(order)
    }

    pub fn store(&self, value: u8, order: Ordering) {
        self.0.store(value, order);
        sequential();
    }

    pub fn compare_exchange(&self, from: u8, to: u8, won: Ordering, lost: Ordering) -> Result<u8, u8> {
        let before = self.0.compare_exchange(from, to, won, lost);
        sequential();
        before
    }
}

/// Plain memory: the checker objects to two uses of which neither happens before the other. So whoever uses the slot must
/// own it, which is more than the real one asks for.
pub struct AtomicCell<T>(UnsafeCell<T>);

// SAFETY: a use by two threads at once is what the checker looks for, and it runs one thread at a time.
unsafe impl<T: Send> Sync for AtomicCell<T> {}

impl<T: Default> AtomicCell<T> {
    pub fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    pub fn store(&self, value: T) {
        // SAFETY: the checker gives the pointer to one thread, and panics if another may have it.
        self.0.with_mut(|slot| unsafe { *slot = value });
    }

    pub fn take(&self) -> T {
        // SAFETY: as above.
        self.0.with_mut(|slot| std::mem::take(unsafe { &mut *slot }))
    }
}
