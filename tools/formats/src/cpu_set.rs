//! A set of processors, small enough to copy.

use crate::CpuId;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const WORDS: usize = CpuSet::CAPACITY / 64;

/// A set of processors. Bit `n` of word `w` stands for CPU `64 w + n`, as in Linux's `cpu_set_t`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CpuSet([u64; WORDS]);

impl CpuSet {
    /// The most processors that a machine can have: 256, and 4096 with the feature `large`, which only the simulator
    /// asks for.
    pub const CAPACITY: usize = if cfg!(feature = "large") { 4096 } else { Self::KERNEL_CAPACITY };

    /// The most processors that the kernel runs on, whatever the simulator asks for.
    pub const KERNEL_CAPACITY: usize = 256;

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
        self.0.iter().all(|word| *word == 0)
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|word| count(*word)).sum()
    }

    /// The processor of a set that has one and no other.
    pub fn only(&self) -> Option<CpuId> {
        let mut all = self.iter();
        all.next().filter(|_| all.next().is_none())
    }

    /// The lowest processor of the set.
    pub fn first(&self) -> Option<CpuId> {
        let (at, word) = self.0.iter().enumerate().find(|(_, word)| **word != 0)?;
        Some(cpu_of(at, *word))
    }

    pub fn and(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    pub fn or(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    /// Those of the set that are not in `other`.
    pub fn without(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] & !other.0[i]))
    }

    /// The lowest processor that is in both sets.
    pub fn first_common(&self, other: &Self) -> Option<CpuId> {
        let mut common = self.0.iter().zip(&other.0).map(|(a, b)| a & b).enumerate();
        let (at, word) = common.find(|(_, word)| *word != 0)?;
        Some(cpu_of(at, word))
    }

    /// The processor before which `n` others are in the set.
    pub fn nth(&self, mut n: usize) -> Option<CpuId> {
        for (at, word) in self.0.iter().enumerate() {
            let count = word.count_ones() as usize;
            if n < count {
                let rest = (0..n).fold(*word, |word, _| word & (word - 1));
                return Some(cpu_of(at, rest));
            }
            n -= count;
        }
        None
    }

    /// The processors of the set in ascending order.
    pub fn iter(&self) -> Iter {
        Iter { words: self.0, at: 0 }
    }
}

/// The lowest processor of a word that has one.
fn cpu_of(at: usize, word: u64) -> CpuId {
    CpuId(64 * at as u32 + word.trailing_zeros())
}

/// How many processors a word has. Most words have none, and counting is a dozen instructions on the oldest processors.
#[inline]
fn count(word: u64) -> usize {
    if word == 0 { 0 } else { word.count_ones() as usize }
}

/// The processors of a set in ascending order. [`Iterator::nth`] counts whole words at a time.
#[derive(Clone, Debug)]
pub struct Iter {
    /// What is still to come.
    words: [u64; WORDS],
    /// No word before this one has any.
    at: usize,
}

impl Iterator for Iter {
    type Item = CpuId;

    fn next(&mut self) -> Option<CpuId> {
        while let Some(word) = self.words.get_mut(self.at) {
            if *word != 0 {
                let next = cpu_of(self.at, *word);
                *word &= *word - 1;
                return Some(next);
            }
            self.at += 1;
        }
        None
    }

    fn nth(&mut self, mut n: usize) -> Option<CpuId> {
        while let Some(word) = self.words.get(self.at) {
            let count = count(*word);
            if n < count {
                break;
            }
            n -= count;
            self.at += 1;
        }
        for _ in 0..n {
            self.next();
        }
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.words.iter().skip(self.at).map(|word| word.count_ones() as usize).sum();
        (left, Some(left))
    }

    fn count(self) -> usize {
        self.size_hint().0
    }
}

impl ExactSizeIterator for Iter {}

impl Default for CpuSet {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Serialize for CpuSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_slice().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CpuSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from_words(Vec::<u64>::deserialize(deserializer)?))
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
    fn the_nth_member_is_the_one_that_counting_finds() {
        let set: CpuSet = (0..CpuSet::CAPACITY as u32).filter(|cpu| cpu % 67 < 5).map(CpuId).collect();
        let members: Vec<CpuId> = set.iter().collect();
        assert_eq!(members.len(), set.len());
        for n in 0..members.len() + 2 {
            assert_eq!(set.iter().nth(n), members.get(n).copied());
            assert_eq!(set.nth(n), members.get(n).copied());
        }
        let mut rest = set.iter();
        rest.nth(6);
        assert_eq!(rest.len(), members.len() - 7);
        assert!(rest.eq(members[7..].iter().copied()));
    }

    #[test]
    fn what_two_sets_have_in_common_is_found() {
        let of = |cpus: &[u32]| -> CpuSet { cpus.iter().copied().map(CpuId).collect() };
        let (a, b) = (of(&[1, 70, 200]), of(&[2, 70, 200]));
        assert_eq!(a.first_common(&b), Some(CpuId(70)));
        assert_eq!(a.without(&b), of(&[1]));
        assert_eq!(a.first_common(&CpuSet::EMPTY), None);
    }

    #[test]
    fn a_set_is_read_back_as_it_was_written() {
        let set: CpuSet = [0, 64, 255].map(CpuId).into_iter().collect();
        let text = serde_json::to_string(&set).expect("words are written");
        assert_eq!(serde_json::from_str::<CpuSet>(&text).expect("words are read"), set);
    }

    #[test]
    fn a_processor_beyond_the_capacity_is_never_a_member() {
        let mut set = CpuSet::EMPTY;
        set.insert(CpuId(CpuSet::CAPACITY as u32));
        assert!(set.is_empty());
        assert!(!CpuSet::ALL.contains(CpuId(CpuSet::CAPACITY as u32)));
    }
}
