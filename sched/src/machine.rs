//! The machine as balancers see it: read and written without locks.

use crate::{Topology, Violations, cpu_mask::CpuMask};
use alloc::boxed::Box;
use core::cmp::Reverse;
use core::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::Release, Ordering::SeqCst,
};
use crossbeam_utils::CachePadded;
use formats::{CpuId, CpuSet, Instant};

/// What each CPU exports of itself, on a cache line of its own.
#[derive(Default)]
struct Exported {
    /// Threads that wait for their turn.
    waiting: AtomicU32,
    /// Whether any of them may be taken by any CPU. Only `cpu` reads it, under its lock; others, the mask.
    free: AtomicBool,
    /// Whether a user thread runs.
    busy: AtomicU32,
    /// The weights of those that wait and of the one that runs.
    weight: AtomicU64,
    /// Whether a thread of the real-time or the deadline class waits or runs.
    urgent: AtomicBool,
    /// The real-time priority of the thread that runs; above 99 for the deadline class.
    rank: AtomicU32,
    /// The highest real-time priority that waits.
    waiting_rank: AtomicU32,
    /// Until when the real-time class has used up its share of this CPU, in nanoseconds; 0: it has not.
    throttled_until: AtomicU64,
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
    /// CPUs on which threads wait.
    loaded: CpuMask,
    /// CPUs on which threads wait that any CPU may take.
    free: CpuMask,
    /// CPUs on which real-time threads wait.
    urgent: CpuMask,
    pub(crate) violations: Violations,
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
            loaded: CpuMask::new(CpuSet::EMPTY),
            free: CpuMask::new(CpuSet::EMPTY),
            urgent: CpuMask::new(CpuSet::EMPTY),
            violations: Violations::default(),
            topology,
        }
    }

    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The CPUs that run threads.
    #[inline]
    pub fn online(&self) -> CpuSet {
        self.online.load()
    }

    #[inline]
    pub fn is_online(&self, cpu: CpuId) -> bool {
        self.online.contains(cpu)
    }

    /// The CPUs that sleep for want of work and that nobody has called yet.
    #[inline]
    pub fn idle(&self) -> CpuSet {
        self.idle.load()
    }

    #[inline]
    pub fn is_idle(&self, cpu: CpuId) -> bool {
        self.idle.contains(cpu)
    }

    /// The CPUs on which threads wait for their turn.
    #[inline]
    pub fn loaded(&self) -> CpuSet {
        self.loaded.load()
    }

    #[inline]
    pub(crate) fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    #[inline]
    pub(crate) fn has_waiting(&self) -> bool {
        !self.loaded.is_empty()
    }

    /// Whether a thread waits that any CPU may take.
    #[inline]
    pub(crate) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Times in which threads waited while CPUs idled.
    pub fn violations(&self) -> &Violations {
        &self.violations
    }

    /// How many threads wait on `cpu` for their turn.
    #[inline]
    pub fn waiting(&self, cpu: CpuId) -> u32 {
        self.cpus[cpu.index()].waiting.load(SeqCst)
    }

    /// How many threads wait or run on `cpu`.
    #[inline]
    pub fn load(&self, cpu: CpuId) -> u32 {
        self.waiting(cpu) + self.cpus[cpu.index()].busy.load(Relaxed)
    }

    /// The [weights](crate::Entity::weight) of the threads that wait or run on `cpu`, added up.
    pub fn weight(&self, cpu: CpuId) -> u64 {
        self.cpus[cpu.index()].weight.load(Relaxed)
    }

    #[inline]
    pub(crate) fn has_urgent(&self, cpu: CpuId) -> bool {
        self.cpus[cpu.index()].urgent.load(Relaxed)
    }

    /// The real-time priority of what runs on `cpu`: 0 for the fair class and idle, 100 for the deadline class.
    #[inline]
    pub(crate) fn rank(&self, cpu: CpuId) -> u32 {
        self.cpus[cpu.index()].rank.load(SeqCst)
    }

    /// The highest real-time priority that waits on `cpu`, 0 for none.
    #[inline]
    pub(crate) fn waiting_rank(&self, cpu: CpuId) -> u32 {
        self.cpus[cpu.index()].waiting_rank.load(SeqCst)
    }

    /// The rank that `cpu` has or is about to have.
    #[inline]
    pub(crate) fn next_rank(&self, cpu: CpuId) -> u32 {
        self.rank(cpu).max(self.waiting_rank(cpu))
    }

    /// Whether real-time threads wait on `cpu`.
    #[inline]
    pub(crate) fn waits_urgent(&self, cpu: CpuId) -> bool {
        self.cpus[cpu.index()].waiting_rank.load(Relaxed) != 0
    }

    /// The CPUs on which real-time threads wait.
    pub(crate) fn urgent(&self) -> CpuSet {
        self.urgent.load()
    }

    /// Whether real-time threads wait anywhere.
    #[inline]
    pub(crate) fn has_waiting_urgent(&self) -> bool {
        !self.urgent.is_empty()
    }

    /// Whether the real-time class has used up its share of `cpu`.
    pub(crate) fn is_throttled(&self, cpu: CpuId, now: Instant) -> bool {
        now.as_ticks() < self.cpus[cpu.index()].throttled_until.load(Relaxed)
    }

    /// The least loaded CPU of `set`; among equals the nearest to `near`.
    pub fn least_loaded(&self, set: &CpuSet, near: CpuId) -> Option<CpuId> {
        set.iter().min_by_key(|cpu| (self.load(*cpu), self.topology.distance(near, *cpu)))
    }

    /// The CPU of `set` where most threads wait, if any do; among equals the nearest to `near`.
    pub fn longest_queue(&self, set: &CpuSet, near: CpuId) -> Option<CpuId> {
        let loaded = self.loaded().and(set);
        let key = |cpu: &CpuId| (Reverse(self.waiting(*cpu)), self.topology.distance(near, *cpu));
        loaded.iter().filter(|cpu| self.waiting(*cpu) > 0).min_by_key(key)
    }

    /// A random member of `set`, from the generator of `here`.
    pub fn draw(&self, set: &CpuSet, here: CpuId) -> Option<CpuId> {
        match set.len() {
            0 => None,
            count => set.nth(self.random(here, count)),
        }
    }

    /// Whether a thread of the deadline class runs on `cpu`.
    #[inline]
    pub(crate) fn runs_deadline(&self, cpu: CpuId) -> bool {
        self.rank(cpu) > 99
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

    /// With the lock of `cpu` held: what waits there, `free` of it for any CPU to take.
    #[inline]
    pub(crate) fn set_waiting(&self, cpu: CpuId, waiting: usize, free: usize, weight: u64, urgent: bool) {
        let exported = &self.cpus[cpu.index()];
        exported.urgent.store(urgent, Relaxed);
        exported.weight.store(weight, Relaxed);
        let before = exported.waiting.load(Relaxed);
        if before == waiting as u32 && exported.free.load(Relaxed) == (free != 0) {
            return;
        }
        exported.waiting.store(waiting as u32, Release);
        // Whoever changes a mask has published what came before: it may look at the idle CPUs now. When neither changes,
        // others see that threads wait here, as they did before.
        show(&self.loaded, cpu, before != 0, waiting != 0);
        let was_free = exported.free.load(Relaxed);
        exported.free.store(free != 0, Relaxed);
        show(&self.free, cpu, was_free, free != 0);
    }

    /// With the lock of `cpu` held: the highest real-time priority that waits there, and until when the class is throttled.
    #[inline]
    pub(crate) fn set_real_time(&self, cpu: CpuId, highest: u32, throttled_until: u64) {
        let exported = &self.cpus[cpu.index()];
        exported.throttled_until.store(throttled_until, Relaxed);
        let before = exported.waiting_rank.load(Relaxed);
        if before != highest {
            exported.waiting_rank.store(highest, SeqCst);
            show(&self.urgent, cpu, before != 0, highest != 0);
        }
    }

    /// With the lock of `cpu` held; whether what runs now is less urgent than what ran before.
    #[inline]
    pub(crate) fn set_current(&self, cpu: CpuId, busy: bool, rank: u32) -> bool {
        let exported = &self.cpus[cpu.index()];
        exported.busy.store(busy.into(), Relaxed);
        let before = exported.rank.load(Relaxed);
        if before != rank {
            exported.rank.store(rank, SeqCst);
        }
        rank < before
    }
}

/// Brings the bit of `cpu` in `mask` from what it was to what it is.
fn show(mask: &CpuMask, cpu: CpuId, was: bool, is: bool) {
    match (was, is) {
        (false, true) => drop(mask.insert(cpu)),
        (true, false) => drop(mask.remove(cpu)),
        _ => {}
    }
}
