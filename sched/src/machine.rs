//! The machine as balancers see it: read and written without locks.

use crate::{Topology, cpu_mask::CpuMask};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use crossbeam_utils::CachePadded;
use formats::{CpuId, CpuSet};

/// What each CPU exports of itself, on a cache line of its own.
#[derive(Default)]
struct Exported {
    /// Threads that wait for their turn.
    waiting: AtomicU32,
    /// Whether a user thread runs.
    busy: AtomicU32,
    /// The state of this CPU's generator.
    random: AtomicU64,
}

/// A view of the whole machine. Each figure is exact when it is written and may be outdated when it is read: a
/// balancer proposes on its grounds, and the core checks what it acts on.
pub struct MachineView {
    topology: Topology,
    pub(crate) online: CpuMask,
    /// CPUs that have found nothing to run and have not been called since.
    pub(crate) idle: CpuMask,
    cpus: Box<[CachePadded<Exported>]>,
}

impl MachineView {
    pub(crate) fn new(topology: Topology, seed: u64) -> Self {
        let mut seeds = fastrand::Rng::with_seed(seed);
        let exported = |_| {
            let random = AtomicU64::new(seeds.u64(..));
            CachePadded::new(Exported { random, ..Exported::default() })
        };
        Self {
            cpus: CpuId::first(topology.cpus()).map(exported).collect(),
            online: CpuMask::new(CpuSet::EMPTY),
            idle: CpuMask::new(CpuSet::EMPTY),
            topology,
        }
    }

    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The CPUs that run threads.
    pub fn online(&self) -> CpuSet {
        self.online.load()
    }

    pub fn is_online(&self, cpu: CpuId) -> bool {
        self.online.contains(cpu)
    }

    /// The CPUs that sleep for want of work and that nobody has called yet.
    pub fn idle(&self) -> CpuSet {
        self.idle.load()
    }

    pub fn is_idle(&self, cpu: CpuId) -> bool {
        self.idle.contains(cpu)
    }

    /// How many threads wait on `cpu` for their turn.
    #[inline]
    pub fn waiting(&self, cpu: CpuId) -> u32 {
        self.cpus[cpu.index()].waiting.load(SeqCst)
    }

    /// How many threads wait or run on `cpu`.
    pub fn load(&self, cpu: CpuId) -> u32 {
        self.waiting(cpu) + self.cpus[cpu.index()].busy.load(Relaxed)
    }

    /// A uniformly random number below `bound` (0 if that is 0), from the generator of `cpu`: the CPU that decides.
    /// The numbers depend on the seed and on what was drawn there before, on nothing else.
    pub fn random(&self, cpu: CpuId, bound: usize) -> usize {
        let state = &self.cpus[cpu.index()].random;
        let mut generator = fastrand::Rng::with_seed(state.load(Relaxed));
        let drawn = generator.usize(..bound.max(1));
        state.store(generator.get_seed(), Relaxed);
        drawn
    }

    pub(crate) fn set_waiting(&self, cpu: CpuId, waiting: usize) {
        self.cpus[cpu.index()].waiting.store(waiting as u32, SeqCst);
    }

    pub(crate) fn set_busy(&self, cpu: CpuId, busy: bool) {
        self.cpus[cpu.index()].busy.store(busy.into(), Relaxed);
    }
}
