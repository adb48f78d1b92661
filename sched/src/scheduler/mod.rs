//! The core: what holds whatever a policy proposes.
//!
//! It owns the locks, the mask of idle CPUs, the calls from CPU to CPU, and the accounting. The rules that keep it
//! sound:
//!
//! - A thread's token is in one place, by ownership: a queue, a CPU, the CPU's `outgoing` slot, the thread's own wait
//!   slot while it sleeps, or in the hands of a function here.
//! - A thread that leaves a CPU goes through `outgoing`, and from there on only by [`Core::finish_switch`], which the
//!   *next* thread calls: no other CPU can pick it before its context is saved.
//! - At most one lock is held at a time, and no policy that looks at the machine is called with it.
//! - Whoever holds a token in hand writes [`Thread::cpu`] before it locks the destination, and reads the affinity
//!   after. [`Core::set_affinity`] writes the affinity and then reads `cpu`. One of the two sees the other.
//!   [`Core::set_policy`] does the same with the policy.
//! - A CPU enters the idle mask before it looks at the queues of others for the last time, and before its idle thread
//!   begins to run; whoever makes a thread wait looks at the idle mask afterwards. One of the two sees the other.
//! - Whoever has looked at the queues of others and found something passes the call on.

mod cpu;
mod moving;
mod placement;
mod policies;
mod switch;
mod tick;
mod urgent;
mod waste;

use crate::measure::{Delays, MEASURED};
use crate::{Config, Fault, MachineView, Migrations, NewThread, Platform, Runnable, Thread, Topology};
use alloc::{boxed::Box, sync::Arc};
use core::sync::atomic::Ordering::{AcqRel, Relaxed};
use crossbeam_utils::CachePadded;
use formats::trace::Event;
use formats::{CpuId, record::CpuStats};

use cpu::{Cpu, Queue};
pub use moving::NoBandwidth;
use policies::Policies;
pub use policies::{PolicyFault, Unknown};
pub use switch::{Dead, Leave, Switch};
pub use tick::Tick;

/// The scheduler of one machine. All methods are called on behalf of a CPU, `here`, which must not change while they
/// run; those that may be called from interrupt handlers say so.
pub struct Core<P: Platform> {
    platform: P,
    config: Config,
    policies: Policies,
    machine: MachineView,
    cpus: Box<[CachePadded<Cpu<P::Lock>>]>,
}

type Guard<'a, P> = lock_api::MutexGuard<'a, <P as Platform>::Lock, Queue>;

impl<P: Platform> Core<P> {
    /// A scheduler for a machine of which no CPU is online yet.
    pub fn new(platform: P, machine: Topology, config: Config) -> Self {
        Self {
            cpus: CpuId::first(machine.cpus())
                .map(|cpu| CachePadded::new(Cpu::new(&config.of_cpu(cpu))))
                .collect(),
            policies: Policies::new(&config),
            machine: MachineView::new(machine, config.seed),
            platform,
            config,
        }
    }

    /// `cpu` runs its idle thread from now on, and may be given others. What executes there at this moment becomes
    /// that thread. Once for each CPU: one that was taken offline comes back by [`set_online`](Self::set_online).
    ///
    /// # Panics
    /// When `cpu` was brought online before.
    pub fn bring_online(&self, cpu: CpuId, idle: NewThread) -> Arc<Thread> {
        let thread = Arc::new(Thread::new(idle, cpu, self.machine.topology().all()));
        let token = Runnable::new(thread.clone());
        let now = self.platform.now();
        let mut queue = self.lock(cpu);
        assert!(queue.current.is_none(), "{cpu} has an idle thread already");
        queue.since = now;
        queue.dispatched = now;
        queue.current = Some(token);
        drop(queue);
        self.set_online(cpu, cpu);
        thread
    }

    /// Makes a thread on `here`. It does not run before [`start`](Self::start).
    pub fn spawn(&self, new: NewThread, here: CpuId) -> Arc<Thread> {
        let thread = Arc::new(Thread::new(new, here, self.machine.topology().all()));
        thread.wait.create(Runnable::new(thread.clone()));
        thread
    }

    /// Takes a thread apart that was made and will not be started. Without this it would keep itself alive.
    pub fn discard(&self, thread: &Thread) {
        if thread.wait.start().is_some() {
            thread.wait.bury();
        }
    }

    /// The thread that runs on `cpu`, which must be or have been online.
    ///
    /// # Panics
    /// When `cpu` was never brought online.
    pub fn current(&self, cpu: CpuId) -> Arc<Thread> {
        self.lock(cpu).current().thread().clone()
    }

    /// Whether `here` should call [`reschedule`](Self::reschedule) at the next opportunity.
    #[inline]
    pub fn needs_reschedule(&self, here: CpuId) -> bool {
        self.cpu(here).needs_reschedule.load(Relaxed)
    }

    /// Makes `here` call [`reschedule`](Self::reschedule) at the next opportunity: for an interrupt handler of that CPU
    /// that leaves something to be done before user code goes on.
    #[inline]
    pub fn request_reschedule(&self, here: CpuId) {
        self.cpu(here).needs_reschedule.store(true, Relaxed);
    }

    pub fn machine(&self) -> &MachineView {
        &self.machine
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn platform(&self) -> &P {
        &self.platform
    }

    /// What was counted on `cpu` since it came online. Allocates.
    pub fn cpu_stats(&self, cpu: CpuId) -> CpuStats {
        let mut delays = Delays::default();
        {
            let mut queue = self.lock(cpu);
            self.settle(cpu, &mut queue);
            delays.merge(&queue.delays);
        }
        self.cpu(cpu).counters.record(cpu, delays)
    }

    /// How long `thread` has run, up to now even if it runs at this moment: [`Thread::ran`] is as of its last tick or switch.
    pub fn ran(&self, thread: &Thread) -> formats::Duration {
        let cpu = thread.cpu();
        let mut queue = self.lock(cpu);
        if queue.current.as_ref().is_some_and(|current| current.id() == thread.id()) {
            self.settle(cpu, &mut queue);
        }
        thread.ran()
    }

    /// How many threads came to `cpu`, by cause.
    pub fn migrations(&self, cpu: CpuId) -> Migrations {
        self.cpu(cpu).counters.migrations()
    }

    /// How many proposals of a policy had to be repaired on `cpu`: a thread placed where it may not run, or given to
    /// a CPU where it may not.
    pub fn repairs(&self, cpu: CpuId) -> u64 {
        self.cpu(cpu).counters.repairs.get()
    }

    /// Tells that `thread`, which runs on `here`, is about to execute its first user instruction. Only the first call
    /// counts.
    pub fn note_first_instruction(&self, thread: &Thread, here: CpuId) {
        if thread.entered.load(Relaxed) || thread.entered.swap(true, Relaxed) {
            return;
        }
        if !MEASURED {
            return;
        }
        let now = self.platform.now();
        let latency = cpu::since(now, thread.started_at());
        self.lock(here).delays.first_run.record(latency.as_ticks());
        self.platform.trace(here, || Event::FirstRun { thread: thread.id(), latency: latency.as_ticks() });
    }

    fn cpu(&self, cpu: CpuId) -> &Cpu<P::Lock> {
        &self.cpus[cpu.index()]
    }

    fn lock(&self, cpu: CpuId) -> Guard<'_, P> {
        self.platform.interleave();
        self.cpu(cpu).queue.lock()
    }

    #[inline]
    fn has_fault(&self, fault: Fault) -> bool {
        self.platform.has_fault(fault)
    }

    /// Makes `cpu` reschedule soon. Must not be called with a lock held.
    fn call(&self, cpu: CpuId, here: CpuId) {
        if self.has_fault(Fault::CalledBeforeFlag) && cpu != here {
            self.platform.kick(cpu);
            self.platform.interleave();
            self.cpu(cpu).needs_reschedule.swap(true, AcqRel);
            return;
        }
        // If the flag was up already, `cpu` has not begun to act on it, or is being called by whoever raised it.
        if self.cpu(cpu).needs_reschedule.swap(true, AcqRel) || cpu == here {
            return;
        }
        self.platform.interleave();
        self.cpu(here).counters.kicks.bump();
        self.platform.trace(here, || Event::Kick { to: cpu });
        self.platform.kick(cpu);
    }
}
