//! One value per CPU.
//!
//! Gives shared references only: another CPU may look at any value, and an interrupt may come at any time, so
//! what is in there is atomic or has a lock of its own.

use alloc::boxed::Box;
use crossbeam_utils::CachePadded;
use formats::CpuId;

/// A table with one value per CPU, each on cache lines of its own.
pub struct PerCpu<T> {
    values: Box<[CachePadded<T>]>,
}

impl<T> PerCpu<T> {
    /// A table for the first `count` CPUs, filled by `value`.
    pub fn new(count: usize, mut value: impl FnMut(CpuId) -> T) -> Self {
        Self { values: CpuId::first(count).map(|cpu| CachePadded::new(value(cpu))).collect() }
    }

    /// The value of `cpu`. Panics if the table was made for fewer CPUs.
    #[inline]
    pub fn get(&self, cpu: CpuId) -> &T {
        &self.values[cpu.index()]
    }

    /// The value of the CPU that asks. It stays the same CPU until the next context switch.
    #[inline]
    pub fn here(&self) -> &T {
        self.get(super::id())
    }

    /// All values in the order of CPUs.
    pub fn iter(&self) -> impl Iterator<Item = (CpuId, &T)> {
        CpuId::first(self.values.len()).zip(self.values.iter().map(|value| &**value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cpu_has_a_value_of_its_own_on_its_own_cache_lines() {
        let table = PerCpu::new(3, |cpu| cpu.0 * 10);
        assert!(table.iter().eq([(CpuId(0), &0), (CpuId(1), &10), (CpuId(2), &20)]));
        let distance =
            core::ptr::from_ref(table.get(CpuId(1))).addr() - core::ptr::from_ref(table.get(CpuId(0))).addr();
        assert!(distance >= 64);
    }

    #[test]
    fn here_is_the_value_of_the_cpu_that_asks() {
        let table = PerCpu::new(8, |cpu| cpu);
        super::super::pretend_to_be(CpuId(5));
        assert_eq!(*table.here(), CpuId(5));
    }
}
