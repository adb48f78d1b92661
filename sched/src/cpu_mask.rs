//! A set of CPUs that all CPUs change without locks.

use crate::sync::{AtomicU64, SeqCst};
use formats::{CpuId, CpuSet};

const WORDS: usize = CpuSet::CAPACITY / 64;

/// Each bit changes atomically. A reader that meets a [`store`](Self::store) halfway may see words of both sets; its
/// users re-check once they have arrived where the set sent them.
///
/// All accesses are sequentially consistent: the protocols that use masks write one thing and then read another, and
/// rely on one of two CPUs seeing what the other wrote.
pub(crate) struct CpuMask([AtomicU64; WORDS]);

impl CpuMask {
    pub fn new(set: CpuSet) -> Self {
        Self(core::array::from_fn(|word| AtomicU64::new(set.words()[word])))
    }

    #[inline]
    pub fn load(&self) -> CpuSet {
        CpuSet::from_words(self.0.iter().map(|word| word.load(SeqCst)))
    }

    pub fn store(&self, set: CpuSet) {
        for (to, from) in self.0.iter().zip(set.words()) {
            to.store(*from, SeqCst);
        }
    }

    #[inline]
    pub fn contains(&self, cpu: CpuId) -> bool {
        self.0[cpu.index() / 64].load(SeqCst) >> (cpu.0 % 64) & 1 == 1
    }

    /// Whether no CPU is in it: cheaper than loading all of it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| word.load(SeqCst) == 0)
    }

    /// Whether a CPU is in both.
    #[inline]
    pub fn intersects(&self, set: &CpuSet) -> bool {
        self.0.iter().zip(set.words()).any(|(word, other)| word.load(SeqCst) & other != 0)
    }

    /// Adds `cpu`; whether it was not there before.
    #[inline]
    pub fn insert(&self, cpu: CpuId) -> bool {
        let bit = 1 << (cpu.0 % 64);
        self.0[cpu.index() / 64].fetch_or(bit, SeqCst) & bit == 0
    }

    /// Takes `cpu` out; whether it was there. Of several callers at once, one gets `true`.
    #[inline]
    pub fn remove(&self, cpu: CpuId) -> bool {
        let bit = 1 << (cpu.0 % 64);
        self.0[cpu.index() / 64].fetch_and(!bit, SeqCst) & bit != 0
    }
}
