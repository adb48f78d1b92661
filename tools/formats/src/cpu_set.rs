//! A set of processors, small enough to copy.

use crate::CpuId;
use core::fmt;
use serde::{Deserialize, Serialize};

const WORDS: usize = CpuSet::CAPACITY / 64;

/// A set of processors. Bit `n` of word `w` stands for CPU `64 w + n`, as in Linux's `cpu_set_t`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CpuSet([u64; WORDS]);

impl CpuSet {
    /// The most processors that a machine can have.
    pub const CAPACITY: usize = 256;

    pub const EMPTY: Self = Self([0; WORDS]);
    pub const ALL: Self = Self([u64::MAX; WORDS]);

    pub fn of(cpu: CpuId) -> Self {
        let mut set = Self::EMPTY;
        set.insert(cpu);
        set
    }

    /// The set whose bits are `words`, lowest first; bits beyond [`Self::CAPACITY`] are dropped.
    pub fn from_words(words: impl IntoIterator<Item = u64>) -> Self {
        let mut set = Self::EMPTY;
        for (to, from) in set.0.iter_mut().zip(words) {
            *to = from;
        }
        set
    }

    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// Adds `cpu`. Processors beyond [`Self::CAPACITY`] do not exist and are not added.
    pub fn insert(&mut self, cpu: CpuId) {
        if let Some(word) = self.0.get_mut(cpu.index() / 64) {
            *word |= 1 << (cpu.0 % 64);
        }
    }

    pub fn remove(&mut self, cpu: CpuId) {
        if let Some(word) = self.0.get_mut(cpu.index() / 64) {
            *word &= !(1 << (cpu.0 % 64));
        }
    }

    pub fn contains(&self, cpu: CpuId) -> bool {
        self.0.get(cpu.index() / 64).is_some_and(|word| word >> (cpu.0 % 64) & 1 == 1)
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The lowest processor of the set.
    pub fn first(&self) -> Option<CpuId> {
        self.iter().next()
    }

    pub fn and(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    pub fn or(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    /// The processors of the set in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + use<> {
        let words = self.0;
        (0..WORDS).flat_map(move |i| {
            core::iter::successors(Some(words[i]), |word| Some(word & word.wrapping_sub(1)))
                .take_while(|word| *word != 0)
                .map(move |word| CpuId(64 * i as u32 + word.trailing_zeros()))
        })
    }
}

impl FromIterator<CpuId> for CpuSet {
    fn from_iter<I: IntoIterator<Item = CpuId>>(cpus: I) -> Self {
        let mut set = Self::EMPTY;
        cpus.into_iter().for_each(|cpu| set.insert(cpu));
        set
    }
}

impl fmt::Debug for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|cpu| cpu.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iterates_over_what_was_inserted_in_ascending_order() {
        let cpus = [0, 3, 63, 64, 200, 255].map(CpuId);
        let set: CpuSet = cpus.into_iter().rev().collect();
        assert!(set.iter().eq(cpus));
        assert_eq!(set.len(), cpus.len());
        assert_eq!(CpuSet::ALL.len(), CpuSet::CAPACITY);
    }

    #[test]
    fn a_processor_beyond_the_capacity_is_never_a_member() {
        let mut set = CpuSet::EMPTY;
        set.insert(CpuId(CpuSet::CAPACITY as u32));
        assert!(set.is_empty());
        assert!(!CpuSet::ALL.contains(CpuId(CpuSet::CAPACITY as u32)));
    }
}
