//! One CPU's run queue and what runs there.

use super::switch::Leave;
use crate::class::Classes;
use crate::measure::{Delays, Wait};
use crate::stats::Counters;
use crate::{Cause, Class, Config, Core, Enqueue, Entity, MachineView, Platform, RunQueue, Runnable};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU64};
use formats::trace::{Event, Moved};
use formats::{CpuId, Duration, Instant, ThreadId};

pub(super) struct Cpu<L> {
    pub queue: lock_api::Mutex<L, Queue>,
    pub needs_reschedule: AtomicBool,
    /// When the balancer wants to be called here next, in nanoseconds; [`NEVER`].
    pub next_balance: AtomicU64,
    /// What the deadline class has booked, in units of 1 / [`Reservation::WHOLE`](crate::Reservation).
    pub bandwidth: AtomicU64,
    pub counters: Counters,
}

/// A time that does not come.
pub(super) const NEVER: u64 = u64::MAX;

impl<L: lock_api::RawMutex> Cpu<L> {
    pub fn new(config: &Config) -> Self {
        Self {
            queue: lock_api::Mutex::new(Queue::new(config)),
            needs_reschedule: AtomicBool::new(false),
            next_balance: AtomicU64::new(NEVER),
            bandwidth: AtomicU64::new(0),
            counters: Counters::default(),
        }
    }
}

/// What a CPU's lock guards.
pub(super) struct Queue {
    classes: Classes,
    first: FirstOrder,
    /// The number of the last change of the order here.
    pub last_change: u32,
    /// The weights of those that wait, added up.
    weight: u64,
    /// How many of those that wait any CPU may take.
    free: usize,
    /// The current thread does not compete here any more, and is about to leave.
    leaving: bool,
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
    pub delays: Delays,
}

/// Where the order is with which a queue was made.
enum FirstOrder {
    InForce,
    /// Threads that wait in it are being moved over to another.
    Leaving,
    /// It is empty, and kept.
    Kept(Box<dyn RunQueue>),
}

impl Queue {
    fn new(config: &Config) -> Self {
        Self {
            classes: Classes::new(config.order, config, 0),
            first: FirstOrder::InForce,
            last_change: 0,
            weight: 0,
            free: 0,
            leaving: false,
            current: None,
            idle: None,
            outgoing: None,
            online: false,
            since: Instant::from_ticks(0),
            dispatched: Instant::from_ticks(0),
            delays: Delays::default(),
        }
    }

    #[inline]
    pub fn current(&self) -> &Entity {
        self.current.as_ref().expect("the CPU was brought online, and its current is only ever replaced")
    }

    #[inline]
    pub fn current_mut(&mut self) -> &mut Entity {
        self.current
            .as_mut()
            .expect("the CPU was brought online, and its current is only ever replaced")
            .entity()
    }

    #[inline]
    pub fn waiting(&self) -> usize {
        self.classes.waiting()
    }

    pub fn slice(&self) -> Option<Duration> {
        self.classes.slice(self.current())
    }

    /// A thread has joined: whether one that waits should run at once.
    pub fn preempts(&self, now: Instant) -> bool {
        self.classes.preempts(self.current(), now)
    }

    /// Whether the current thread must give way at once, whatever the order of the fair class says.
    pub fn is_outranked(&self, now: Instant) -> bool {
        self.classes.outranked(self.current(), now)
    }

    /// When the CPU must look again although nothing happens.
    pub fn next_event(&self, now: Instant) -> Option<Instant> {
        self.classes.next_event(self.current(), self.since, now)
    }

    pub fn push(
        &mut self,
        cpu: CpuId,
        mut thread: Runnable,
        why: Enqueue,
        now: Instant,
        machine: &MachineView,
    ) {
        if !matches!(why, Enqueue::Policy | Enqueue::Migrate) || thread.wait.since.is_none() {
            let violations = machine.violations.total(now);
            thread.entity().wait = Wait { since: Some(now), woken: why == Enqueue::Wake, violations };
        }
        let why = self.classes.refresh(&mut thread, why);
        self.weight += u64::from(thread.weight());
        let free = thread.thread().is_free();
        thread.free.set(free);
        self.free += usize::from(free);
        self.classes.enqueue(thread, why, now);
        self.export(cpu, machine);
    }

    /// The thread that should run instead of the current one, if that competes. The caller lets it run, and
    /// [exports](Self::export) after that.
    pub fn pick(&mut self, competes: bool, now: Instant) -> Option<Runnable> {
        let current = self.current.as_deref().filter(|_| competes);
        let picked = self.classes.pick(current, now)?;
        self.removed(&picked);
        Some(picked)
    }

    pub fn give(&mut self, cpu: CpuId, to: CpuId, machine: &MachineView) -> Option<Runnable> {
        let given = self.classes.give(to);
        self.taken(cpu, given, machine)
    }

    /// A real-time thread that waits, goes before `rank` and may run on `to`.
    pub fn give_real_time(
        &mut self,
        cpu: CpuId,
        to: CpuId,
        rank: u32,
        machine: &MachineView,
    ) -> Option<Runnable> {
        let given = self.classes.give_real_time(to, rank);
        self.taken(cpu, given, machine)
    }

    /// The real-time threads that wait, the most urgent one first.
    pub fn real_time(&self) -> impl Iterator<Item = &Entity> {
        self.classes.real_time()
    }

    /// The highest real-time priority that waits, 0 for none.
    #[inline]
    pub fn highest_real_time(&self) -> u32 {
        self.classes.highest_real_time()
    }

    pub fn remove(&mut self, cpu: CpuId, id: ThreadId, machine: &MachineView) -> Option<Runnable> {
        let removed = self.classes.dequeue(id);
        self.taken(cpu, removed, machine)
    }

    /// Takes out any thread that waits, for the CPU goes offline.
    pub fn evict(&mut self, cpu: CpuId, now: Instant, machine: &MachineView) -> Option<Runnable> {
        let evicted = self.classes.evict(now);
        self.taken(cpu, evicted, machine)
    }

    /// Gives new budgets to threads whose period has come.
    pub fn replenish(&mut self, cpu: CpuId, now: Instant, machine: &MachineView) {
        if self.classes.replenish(now) {
            self.export(cpu, machine);
        }
    }

    fn taken(&mut self, cpu: CpuId, thread: Option<Runnable>, machine: &MachineView) -> Option<Runnable> {
        if let Some(thread) = &thread {
            self.removed(thread);
            self.export(cpu, machine);
        }
        thread
    }

    #[inline]
    fn removed(&mut self, thread: &Entity) {
        self.weight -= u64::from(thread.weight());
        self.free -= usize::from(thread.free.replace(false));
    }

    /// The affinity of `id` has changed, which may wait here and go on doing so; whether it does.
    pub fn review(&mut self, cpu: CpuId, id: ThreadId, machine: &MachineView) -> bool {
        let (free, mut waits) = (&mut self.free, false);
        self.classes.each(&mut |entity| {
            if entity.id() == id {
                let is_free = entity.thread().is_free();
                *free -= usize::from(entity.free.replace(is_free));
                *free += usize::from(is_free);
                waits = true;
            }
        });
        if waits {
            self.export(cpu, machine);
        }
        waits
    }

    /// Says to the machine what it may know of this queue.
    #[inline]
    pub fn export(&self, cpu: CpuId, machine: &MachineView) {
        let running = self.current.as_ref().filter(|current| !current.is_idle());
        let running = running.map_or(0, |current| u64::from(current.weight()));
        // One that was preempted has not gone: it is on its way back to the queue.
        let stays = |why: &Leave| matches!(why, Leave::Preempt | Leave::Hold | Leave::Yield);
        let leaving = self.outgoing.as_ref().filter(|(thread, why)| stays(why) && !thread.is_idle());
        let leaving = leaving.map_or(0, |(thread, _)| u64::from(thread.weight()));
        let urgent = self.current.as_ref().is_some_and(|current| current.policy().class() != Class::Fair);
        let urgent = urgent || self.classes.has_urgent();
        let waiting = self.waiting();
        machine.set_real_time(cpu, self.highest_real_time(), self.classes.throttled_until());
        // Those without budget do not wait for a CPU, but are never free either.
        machine.set_waiting(cpu, waiting, self.free, self.weight + running + leaving, urgent);
    }

    /// Calls `visit` for all that wait.
    pub fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.classes.each(visit);
    }

    /// The current thread is about to leave, and does not compete here any more.
    pub fn depart(&mut self) {
        self.leaving = true;
        if let Some(current) = self.current.as_deref().filter(|current| !current.is_idle()) {
            self.classes.depart(current);
        }
    }

    /// A thread that has just run here goes elsewhere.
    pub fn depart_outgoing(&mut self, token: &Runnable) {
        self.classes.depart(token);
    }

    /// `next` runs from now on. Returns the thread that ran before.
    #[inline]
    pub fn replace_current(&mut self, next: Runnable) -> Option<Runnable> {
        self.leaving = false;
        self.current.replace(next)
    }

    /// The current thread, if it goes on competing here, does so in the class and order that are in force now.
    fn readopt(&mut self, now: Instant) {
        let version = self.classes.order_version();
        let leaving = self.leaving;
        let Some(current) = self.current.as_mut().filter(|current| !current.is_idle()) else { return };
        current.entity().refresh_policy();
        current.entity().refresh_order(version);
        if !leaving {
            self.classes.adopt(current, now);
        }
    }

    /// The current thread has another policy now.
    pub fn refresh_current(&mut self, cpu: CpuId, now: Instant, machine: &MachineView) {
        if let Some(current) = self.current.as_deref() {
            self.classes.depart(current);
        }
        self.readopt(now);
        self.export(cpu, machine);
    }

    /// Goes on under another order, the version after the present one; `None`: under the one with which the queue was made.
    /// Those that wait are [moved over](Self::move_over) next.
    pub fn change_order(&mut self, new: Option<Box<dyn RunQueue>>, now: Instant) {
        let (next, first) = match (new, core::mem::replace(&mut self.first, FirstOrder::InForce)) {
            (Some(new), FirstOrder::InForce) => (new, FirstOrder::Leaving),
            (Some(new), first) => (new, first),
            (None, FirstOrder::Kept(first)) => (first, FirstOrder::InForce),
            (None, _) => return,
        };
        self.first = first;
        let version = self.classes.order_version() + 1;
        self.classes.change_order(next, version);
        if self.current.as_deref().is_some_and(|current| current.policy().class() == Class::Fair) {
            self.readopt(now);
        }
    }

    /// Moves up to `most` of those that wait in the old order to the new one. `Err` while there are more; else what is to be
    /// dropped when the lock is not held any more.
    pub fn move_over(
        &mut self,
        most: usize,
        cpu: CpuId,
        now: Instant,
    ) -> Result<Option<Box<dyn RunQueue>>, More> {
        if !self.classes.is_changing() {
            return Ok(None);
        }
        let old = self.classes.move_over(most, cpu, now).ok_or(More)?;
        if matches!(self.first, FirstOrder::Leaving) {
            self.first = FirstOrder::Kept(old);
            return Ok(None);
        }
        Ok(Some(old))
    }
}

/// More threads wait in the old order.
pub(super) struct More;

impl<P: Platform> Core<P> {
    /// Accounts the current thread's time up to now, which is returned. The clock is read with the queue locked: whoever
    /// had the lock before may have accounted up to a moment later than one that was read while waiting for it.
    pub(super) fn settle(&self, cpu: CpuId, queue: &mut Queue) -> Instant {
        self.settle_by(None, cpu, queue)
    }

    /// The same; with a fault, up to what the clock said `early`.
    pub(super) fn settle_by(&self, early: Option<Instant>, cpu: CpuId, queue: &mut Queue) -> Instant {
        let now = early.unwrap_or_else(|| self.platform.now().max(queue.since));
        let ran = since(now, queue.since);
        queue.since = now;
        let Some(current) = &mut queue.current else { return now };
        current.entity().charge(ran);
        let counters = &self.cpu(cpu).counters;
        if current.is_idle() {
            counters.idle_ns.add_locked(ran.as_ticks());
        } else {
            counters.busy_ns.add_locked(ran.as_ticks());
            queue.classes.charge(current, ran, now);
        }
        now
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
        let id = thread.id();
        self.platform.trace(to, || Event::Migrate { thread: id, from, to, why: moved(cause) });
        self.platform.interleave();
    }
}

/// The time from `then` to `now`; zero if clocks disagree.
#[inline]
pub(super) fn since(now: Instant, then: Instant) -> Duration {
    now.checked_duration_since(then).unwrap_or(Duration::from_ticks(0))
}

fn moved(cause: Cause) -> Moved {
    match cause {
        Cause::Fork => Moved::Fork,
        Cause::Exec => Moved::Exec,
        Cause::Wake => Moved::Wake,
        Cause::Steal => Moved::Steal,
        Cause::Pull => Moved::Pull,
        Cause::Push => Moved::Push,
        Cause::Affinity => Moved::Affinity,
        Cause::Offline => Moved::Offline,
    }
}
