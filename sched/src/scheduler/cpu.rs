//! One CPU's run queue and what runs there.

use super::switch::Leave;
use crate::stats::Counters;
use crate::{Cause, Config, Core, Enqueue, Entity, MachineView, Platform, RunQueue, Runnable};
use alloc::boxed::Box;
use core::sync::atomic::AtomicBool;
use formats::{CpuId, Duration, Histogram, Instant};

pub(super) struct Cpu<L> {
    pub queue: lock_api::Mutex<L, Queue>,
    pub needs_reschedule: AtomicBool,
    pub counters: Counters,
}

impl<L: lock_api::RawMutex> Cpu<L> {
    pub fn new(config: &Config) -> Self {
        Self {
            queue: lock_api::Mutex::new(Queue::new(config)),
            needs_reschedule: AtomicBool::new(false),
            counters: Counters::default(),
        }
    }
}

/// What a CPU's lock guards.
pub(super) struct Queue {
    order: Box<dyn RunQueue>,
    /// How many tokens `order` holds.
    waiting: usize,
    /// `None` only before the CPU is online.
    pub current: Option<Runnable>,
    /// The idle thread while it does not run.
    pub idle: Option<Runnable>,
    /// The thread that has left the CPU, until the next one has called `finish_switch`.
    pub outgoing: Option<(Runnable, Leave)>,
    pub online: bool,
    /// Up to when the current thread's time is accounted.
    pub since: Instant,
    /// When the current thread began to run.
    pub dispatched: Instant,
    pub latency: Histogram,
}

impl Queue {
    fn new(config: &Config) -> Self {
        Self {
            order: (config.order.new)(config),
            waiting: 0,
            current: None,
            idle: None,
            outgoing: None,
            online: false,
            since: Instant::from_ticks(0),
            dispatched: Instant::from_ticks(0),
            latency: Histogram::default(),
        }
    }

    pub fn current(&self) -> &Entity {
        self.current.as_ref().expect("the CPU was brought online, and its current is only ever replaced")
    }

    pub fn current_mut(&mut self) -> &mut Entity {
        self.current
            .as_mut()
            .expect("the CPU was brought online, and its current is only ever replaced")
            .entity()
    }

    pub fn waiting(&self) -> usize {
        self.waiting
    }

    pub fn slice(&self) -> Option<Duration> {
        self.order.slice(self.current())
    }

    /// Whether `candidate`, about to be enqueued, should run at once.
    pub fn preempts(&self, candidate: &Entity) -> bool {
        self.order.preempts(candidate, self.current())
    }

    pub fn push(&mut self, cpu: CpuId, thread: Runnable, why: Enqueue, now: Instant, machine: &MachineView) {
        self.order.enqueue(thread, why, now);
        self.waiting += 1;
        machine.set_waiting(cpu, self.waiting);
    }

    /// The thread that should run instead of the current one, if that competes.
    pub fn pick(
        &mut self,
        cpu: CpuId,
        competes: bool,
        now: Instant,
        machine: &MachineView,
    ) -> Option<Runnable> {
        let current = self.current.as_deref().filter(|_| competes);
        let picked = self.order.pick(current, now);
        self.taken(cpu, picked, machine)
    }

    pub fn give(&mut self, cpu: CpuId, to: CpuId, machine: &MachineView) -> Option<Runnable> {
        let given = self.order.give(to);
        self.taken(cpu, given, machine)
    }

    pub fn remove(&mut self, cpu: CpuId, id: formats::ThreadId, machine: &MachineView) -> Option<Runnable> {
        let removed = self.order.dequeue(id);
        self.taken(cpu, removed, machine)
    }

    fn taken(&mut self, cpu: CpuId, thread: Option<Runnable>, machine: &MachineView) -> Option<Runnable> {
        if thread.is_some() {
            self.waiting -= 1;
            machine.set_waiting(cpu, self.waiting);
        }
        thread
    }
}

impl<P: Platform> Core<P> {
    /// Accounts the current thread's time up to `now`.
    pub(super) fn settle(&self, cpu: CpuId, queue: &mut Queue, now: Instant) {
        let ran = since(now, queue.since);
        queue.since = now;
        let Some(current) = &mut queue.current else { return };
        current.entity().charge(ran);
        let counters = &self.cpu(cpu).counters;
        if current.is_idle() {
            counters.idle_ns.add(ran.as_ticks());
        } else {
            counters.busy_ns.add(ran.as_ticks());
            queue.order.charge(current, ran);
        }
    }

    /// Sends the token in hand on its way from one CPU to another.
    pub(super) fn migrate(&self, thread: &Runnable, to: CpuId, cause: Cause) {
        let from = thread.thread().cpu();
        if from == to {
            return;
        }
        thread.thread().set_cpu(to);
        thread.thread().migrations.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        self.cpu(from).counters.migrations_out.bump();
        self.cpu(to).counters.migration_in(cause);
        self.platform.interleave();
    }
}

/// The time from `then` to `now`; zero if clocks disagree.
pub(super) fn since(now: Instant, then: Instant) -> Duration {
    now.checked_duration_since(then).unwrap_or(Duration::from_ticks(0))
}
