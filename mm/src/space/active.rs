//! The CPUs on which an address space is loaded.

use core::sync::atomic::{AtomicU64, Ordering};
use formats::{CpuId, CpuSet};

const WORDS: usize = CpuSet::CAPACITY / 64;

/// A set of CPUs that can be changed and looked at by all of them.
///
/// A CPU is a member from before it loads the tables until after it has left them. Whoever changes the tables looks at the
/// set afterwards: a CPU that is not in it then walks the changed tables when it comes. Hence the sequential consistency.
pub struct ActiveCpus([AtomicU64; WORDS]);

impl ActiveCpus {
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; WORDS])
    }

    pub fn insert(&self, cpu: CpuId) {
        self.0[cpu.index() / 64].fetch_or(1 << (cpu.0 % 64), Ordering::SeqCst);
    }

    pub fn remove(&self, cpu: CpuId) {
        self.0[cpu.index() / 64].fetch_and(!(1 << (cpu.0 % 64)), Ordering::SeqCst);
    }

    pub fn get(&self) -> CpuSet {
        core::sync::atomic::fence(Ordering::SeqCst);
        CpuSet::from_words(self.0.iter().map(|word| word.load(Ordering::Relaxed)))
    }
}
