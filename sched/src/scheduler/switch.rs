//! From one thread to the next.

use super::cpu::{Queue, since};
use super::placement::takers;
use crate::balance::{Amount, Move};
use crate::entity::Slice;
use crate::measure::{MEASURED, Wait};
use crate::{
    Cause, Class, Core, Enqueue, Entity, Fault, Kind, Placement, Platform, Policy, Runnable, Thread,
};
use alloc::sync::Arc;
use core::ops::Deref;
use core::sync::atomic::Ordering::{AcqRel, Relaxed};
use formats::trace::{self, Event, Left};
use formats::{CpuId, Duration, Instant, ThreadId};

/// Why a thread may leave its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It would go on, but another may be due; or it is the idle thread that asks for work.
    Preempt,
    /// As `Preempt`, but it has not retired an instruction since it was dispatched: in its first run it goes on whatever
    /// waits (R5).
    Hold,
    /// It gives way to any other that waits.
    Yield,
    /// It is about to run another program, and may do so elsewhere.
    Exec,
    /// It has announced that it sleeps.
    Block,
    /// It never comes back.
    Exit,
}

/// The caller must now save the context of `previous` and go on with that of `next`, which first of all calls
/// [`Core::finish_switch`].
#[derive(Debug)]
pub struct Switch {
    pub previous: Arc<Thread>,
    pub next: Arc<Thread>,
}

/// A thread that has exited and left its CPU. Dropping it frees memory: do that outside the switch.
#[derive(Debug)]
pub struct Dead(Runnable);

impl Deref for Dead {
    type Target = Arc<Thread>;

    fn deref(&self) -> &Arc<Thread> {
        self.0.thread()
    }
}

impl<P: Platform> Core<P> {
    /// Decides what `here` does next; `None`: it goes on with its current thread. Called with interrupts off.
    ///
    /// With [`Leave::Block`], `None` means that a wake-up has come already. The idle thread calls it with
    /// [`Leave::Preempt`] whenever it [should](Self::needs_reschedule), and may wait for an interrupt when it should not,
    /// provided that interrupts stay off from before that question until it waits.
    #[inline]
    pub fn reschedule(&self, here: CpuId, why: Leave) -> Option<Switch> {
        if why == Leave::Yield && !self.may_yield(here) {
            return None;
        }
        if why == Leave::Exec && !self.would_move_for_exec(here) {
            return None;
        }
        self.choose_next(here, why)
    }

    fn choose_next(&self, here: CpuId, why: Leave) -> Option<Switch> {
        let cpu = self.cpu(here);
        // Before looking at the queue: who enqueues later raises the flag again.
        let called = !self.has_fault(Fault::FlagLoweredLate) && self.lower_flag(here);
        self.balance_if_due(here);
        let early = self.has_fault(Fault::ClockBeforeLock).then(|| self.platform.now());
        let mut queue = self.lock(here);
        let mut now = self.settle_by(early, here, &mut queue);
        queue.replenish(here, now, &self.machine);
        let current = queue.current();
        let idle = current.is_idle();
        let why = if idle { Leave::Preempt } else { why };
        let stays = match why {
            Leave::Block if !current.thread().wait.is_announced() => {
                // It goes on, and what it was called for remains to be done on its way to user mode.
                let again = called && !self.has_fault(Fault::CallForgotten);
                cpu.needs_reschedule.fetch_or(again, Relaxed);
                return None;
            }
            Leave::Block | Leave::Exit | Leave::Exec => false,
            Leave::Preempt | Leave::Hold | Leave::Yield => {
                idle || self.may_stay(current.thread(), here, queue.online)
            }
        };
        let involuntary = matches!(why, Leave::Preempt | Leave::Hold);
        if stays && involuntary && self.in_first_run(current) {
            // Only what is more urgent than the fair class may cut a first run short, and only once there was an
            // instruction (R5).
            if why == Leave::Hold || !queue.is_outranked(now) {
                return None;
            }
        }
        if !stays {
            queue.depart();
        }
        let urgent = queue.current().policy().priority();
        let why = if why == Leave::Yield && queue.highest_real_time() < urgent.into() {
            Leave::Preempt
        } else {
            why
        };
        let competes = stays && matches!(why, Leave::Preempt | Leave::Hold) && !idle;
        if self.machine.has_waiting_urgent() {
            let rank = if competes { self.machine.rank(here) } else { 0 };
            let rank = rank.max(queue.highest_real_time());
            drop(queue);
            self.pull_urgent(here, rank, now);
            queue = self.lock(here);
            now = self.settle(here, &mut queue);
        }
        let gives_up = why == Leave::Yield && current_class(&queue) == Class::Deadline;
        if let Some(next) = self.next_of(here, &mut queue, competes, now) {
            return Some(self.dispatch(here, queue, next, why, false, now));
        }
        if stays && !idle && !gives_up {
            let expired = queue.current().slice.expired;
            restart_expired_slice(queue.current_mut());
            drop(queue);
            return if expired || why == Leave::Yield { self.take_turn(here, why) } else { None };
        }
        drop(queue);
        // From here on, who makes a thread wait anywhere calls this CPU; and this CPU looks once more. It is in the mask
        // already when the idle thread begins to run, which need not ask again before it sleeps.
        let late = self.has_fault(Fault::IdleAfterLastLook);
        if !late {
            self.enter_idle_mask(here);
        }
        self.steal(here);
        let mut queue = self.lock(here);
        let now = self.settle(here, &mut queue);
        let next = self.next_of(here, &mut queue, false, now);
        if late && next.is_none() {
            self.machine.idle.insert(here);
        }
        if self.has_fault(Fault::FlagLoweredLate) {
            self.lower_flag(here);
        }
        let next = match next {
            Some(next) => next,
            None if idle => {
                drop(queue);
                self.look_for_waste(now);
                return None;
            }
            None => queue.idle.take()?,
        };
        Some(self.dispatch(here, queue, next, why, true, now))
    }

    /// Whether `here` was called, which it is about to act on.
    #[inline]
    fn lower_flag(&self, here: CpuId) -> bool {
        let flag = &self.cpu(here).needs_reschedule;
        flag.load(Relaxed) && flag.swap(false, AcqRel)
    }

    fn enter_idle_mask(&self, here: CpuId) {
        self.machine.idle.insert(here);
        self.platform.interleave();
        if !self.machine.is_online(here) {
            self.machine.idle.remove(here);
        }
    }

    /// Whether it would make a difference if the thread that runs on `here` gave way.
    #[inline]
    pub fn may_yield(&self, here: CpuId) -> bool {
        // A thread of the deadline class gives its budget up even to nobody.
        self.needs_reschedule(here) || self.has_competitors(here) || self.machine.runs_deadline(here)
    }

    /// Whether a thread waits that might run here instead of the current one.
    #[inline]
    pub(super) fn has_competitors(&self, here: CpuId) -> bool {
        self.machine.waiting(here) > 0 || self.machine.has_waiting() && self.shares_queue()
    }

    /// With a queue that all CPUs share: the current thread's turn is over, and another may wait elsewhere.
    fn take_turn(&self, here: CpuId, why: Leave) -> Option<Switch> {
        if !self.shares_queue() || !self.machine.has_waiting() || !self.steal(here) {
            return None;
        }
        let mut queue = self.lock(here);
        let now = self.settle(here, &mut queue);
        let next = self.next_of(here, &mut queue, false, now)?;
        Some(self.dispatch(here, queue, next, why, true, now))
    }

    /// Disposes of the thread that ran before: it may be picked again from now on, sleeps, or is dead. The next thread
    /// calls this, once the context of the previous one is saved; with interrupts still off.
    pub fn finish_switch(&self, here: CpuId) -> Option<Dead> {
        let dead = self.dispose(here);
        if self.machine.waits_urgent(here) {
            self.push_urgent(here, here);
        }
        dead
    }

    fn dispose(&self, here: CpuId) -> Option<Dead> {
        let mut queue = self.lock(here);
        let (token, why) = queue.outgoing.take()?;
        if token.is_idle() {
            queue.idle = Some(token);
            return None;
        }
        match why {
            Leave::Exec => {
                drop(queue);
                self.settle_in(token, Placement::Exec, Cause::Exec, Enqueue::Migrate, here);
            }
            Leave::Preempt | Leave::Hold | Leave::Yield => {
                if !self.may_stay(token.thread(), here, queue.online) {
                    queue.depart_outgoing(&token);
                    let cause = if queue.online { Cause::Affinity } else { Cause::Offline };
                    queue.export(here, &self.machine);
                    drop(queue);
                    self.settle_in(token, Placement::Move, cause, Enqueue::Migrate, here);
                    return None;
                }
                if self.shares_queue() && token.policy().class() == Class::Fair {
                    queue.depart_outgoing(&token);
                    queue.export(here, &self.machine);
                    drop(queue);
                    self.settle_in(token, Placement::Turn, Cause::Push, Enqueue::Migrate, here);
                    return None;
                }
                let takers = takers(token.thread());
                let enqueue = if why == Leave::Yield { Enqueue::Yield } else { Enqueue::Preempt };
                let since = queue.since;
                queue.push(here, token, enqueue, since, &self.machine);
                if queue.current().is_idle() {
                    // It was to leave this CPU, or has no budget, and nobody else was there.
                    self.machine.idle.remove(here);
                    self.request_reschedule(here);
                    return None;
                }
                drop(queue);
                self.offer(here, &takers, since, here);
            }
            Leave::Block => {
                drop(queue);
                let thread = token.thread().clone();
                if self.has_fault(Fault::SleptThroughWake) {
                    thread.wait.announce();
                }
                if let Err(token) = thread.wait.park(token) {
                    self.settle_in(token, Placement::Wake, Cause::Wake, Enqueue::Wake, here);
                }
            }
            Leave::Exit => {
                drop(queue);
                token.thread().wait.bury();
                self.release_bandwidth(token.thread());
                return Some(Dead(token));
            }
        }
        None
    }

    /// Whether `current` is a user thread that must not be preempted yet, because it has not had its first tick.
    pub(super) fn in_first_run(&self, current: &Entity) -> bool {
        self.config.first_run && current.kind() == Kind::User && !current.first_run.is_complete()
    }

    /// The next thread of `here`'s own queue.
    fn next_of(&self, here: CpuId, queue: &mut Queue, competes: bool, now: Instant) -> Option<Runnable> {
        queue.replenish(here, now, &self.machine);
        if queue.waiting() == 0 {
            return None;
        }
        queue.pick(competes, now)
    }

    /// Makes `next` the current thread of `here` and the current one outgoing, whose time is accounted up to `now`.
    /// `searched`: the queues of others were looked at.
    fn dispatch(
        &self,
        here: CpuId,
        mut queue: super::Guard<'_, P>,
        mut next: Runnable,
        why: Leave,
        searched: bool,
        now: Instant,
    ) -> Switch {
        self.note_waited(here, &mut queue, &mut next, now);
        let entity = next.entity();
        entity.first_run.dispatch();
        entity.slice = Slice::FRESH;
        let idle = entity.is_idle();
        let (policy, id) = (*entity.policy(), shown(entity));
        let incoming = next.thread().clone();
        let ran = since(now, queue.dispatched);
        queue.dispatched = now;
        let token = queue.replace_current(next).expect("an online CPU has a current thread");
        let previous = token.thread().clone();
        let counters = &self.cpu(here).counters;
        counters.switches.add_locked(1);
        let was_idle = token.is_idle();
        if MEASURED && !was_idle {
            let involuntary = matches!(why, Leave::Preempt | Leave::Hold);
            previous.stats.left(!involuntary);
            queue.delays.slices.record(ran.as_ticks());
            if involuntary {
                counters.preemptions.add_locked(1);
            }
        }
        let left = shown(&token);
        if self.has_fault(Fault::QueuedBeforeSaved) && why == Leave::Yield {
            queue.push(here, token, Enqueue::Yield, now, &self.machine);
        } else {
            queue.outgoing = Some((token, why));
        }
        queue.export(here, &self.machine);
        let rank = rank_of(&policy, idle);
        let turns_less_urgent = self.machine.set_current(here, !idle, rank);
        drop(queue);
        if turns_less_urgent {
            self.turned_less_urgent(here, rank, now);
        }
        self.platform.trace(here, || Event::Switch {
            previous: left,
            next: id,
            why: left_for(why, was_idle),
        });
        if idle {
            self.look_for_waste(now);
            return Switch { previous, next: incoming };
        }
        if was_idle || searched {
            // It may have been called for another thread than the one that it found, and may have brought several.
            self.machine.idle.remove(here);
            self.pass_on(here);
            self.look_for_waste(now);
        } else {
            self.note_progress(now);
        }
        Switch { previous, next: incoming }
    }

    /// Real-time threads that wait elsewhere may go before what `here` has turned to.
    #[cold]
    fn turned_less_urgent(&self, here: CpuId, rank: u32, now: Instant) {
        self.platform.interleave();
        if self.machine.has_waiting_urgent() && !self.has_fault(Fault::TurnsWithoutLook) {
            self.pull_urgent(here, rank, now);
        }
    }

    /// Measures how long `next` has waited.
    fn note_waited(&self, here: CpuId, queue: &mut Queue, next: &mut Runnable, now: Instant) {
        let wait = core::mem::replace(&mut next.entity().wait, Wait::NONE);
        let Some(at) = wait.since.filter(|_| MEASURED) else { return };
        let delay = since(now, at);
        queue.delays.run_delay.record(delay.as_ticks());
        if wait.woken {
            queue.delays.wake_latency.record(delay.as_ticks());
        }
        let violations = self.machine.violations.total(now);
        let violation = violations.checked_sub(wait.violations).unwrap_or(Duration::from_ticks(0)).min(delay);
        if violation.as_ticks() != 0 {
            self.cpu(here).counters.violation_ns.add_locked(violation.as_ticks());
        }
        next.thread().stats.waited(delay, violation);
    }

    /// Takes threads from other CPUs' queues to the one of `here`; whether any came.
    fn steal(&self, here: CpuId) -> bool {
        if !self.machine.is_online(here) || !self.machine.has_waiting() {
            return false;
        }
        let victims = self.ask_on_idle(here);
        self.platform.interleave();
        let stolen = victims.iter().find_map(|victim| {
            let stolen = self.move_some(victim, here, victims.amount(), Cause::Steal, here);
            (stolen > 0).then_some(stolen)
        });
        self.platform.trace(here, || Event::Stole {
            victims: victims.iter().len() as u32,
            threads: stolen.unwrap_or(0) as u32,
        });
        if stolen.is_some() {
            self.cpu(here).counters.steals_won.bump();
        }
        stolen.is_some()
    }

    /// Carries out what a balancer wants moved.
    pub(super) fn carry_out(&self, wanted: Move, here: CpuId) {
        let cause = if wanted.to == here { Cause::Pull } else { Cause::Push };
        if wanted.to.index() < self.cpus.len() && self.machine.is_online(wanted.to) {
            self.move_some(wanted.from, wanted.to, wanted.amount, cause, here);
        }
    }

    /// Moves waiting threads from one queue to another, one by one; returns how many.
    fn move_some(&self, from: CpuId, to: CpuId, amount: Amount, cause: Cause, here: CpuId) -> usize {
        if from == to || from.index() >= self.cpus.len() || self.machine.waiting(from) == 0 {
            return 0;
        }
        if cause == Cause::Steal {
            self.cpu(here).counters.steal_attempts.bump();
        }
        let most = amount.of(self.machine.waiting(from) as usize);
        (0..most).take_while(|_| self.move_one(from, to, cause, here)).count()
    }

    fn move_one(&self, from: CpuId, to: CpuId, cause: Cause, here: CpuId) -> bool {
        let mut queue = self.lock(from);
        let Some(token) = queue.give(from, to, &self.machine) else { return false };
        if !token.may_run_on(to) {
            self.cpu(here).counters.repairs.keep_count();
            let since = queue.since;
            queue.push(from, token, Enqueue::Migrate, since, &self.machine);
            return false;
        }
        drop(queue);
        self.migrate(&token, to, cause);
        if let Err(token) = self.arrive(token, to, here) {
            // Its affinity changed while it was in hand, or the CPU went offline.
            self.settle_in(token, Placement::Move, Cause::Affinity, Enqueue::Migrate, here);
        }
        true
    }

    /// Puts a token whose thread bears the number of `to` into its queue. One that `here` took for itself is not announced
    /// to anybody: `here` is about to pick.
    fn arrive(&self, token: Runnable, to: CpuId, here: CpuId) -> Result<(), Runnable> {
        if to != here {
            return self.land(token, to, Enqueue::Migrate, here);
        }
        let mut queue = self.lock(to);
        if !self.may_arrive(token.thread(), to, queue.online) {
            return Err(token);
        }
        queue.push(to, token, Enqueue::Migrate, self.platform.now(), &self.machine);
        Ok(())
    }
}

fn current_class(queue: &Queue) -> Class {
    queue.current().policy().class()
}

/// The number by which a trace knows a thread: 0 for the idle ones.
fn shown(entity: &Entity) -> ThreadId {
    if entity.is_idle() { ThreadId(0) } else { entity.id() }
}

fn left_for(why: Leave, was_idle: bool) -> trace::Left {
    match why {
        _ if was_idle => Left::Idle,
        Leave::Preempt | Leave::Hold => Left::Preempted,
        Leave::Yield | Leave::Exec => Left::Yielded,
        Leave::Block => Left::Slept,
        Leave::Exit => Left::Exited,
    }
}

/// How urgent what runs on a CPU is: [`MachineView::rank`](crate::MachineView).
pub(super) fn rank_of(policy: &Policy, idle: bool) -> u32 {
    match policy.class() {
        _ if idle => 0,
        Class::Fair => 0,
        Class::RealTime => policy.priority().into(),
        Class::Deadline => 100,
    }
}

/// Nobody else waits: the current thread begins another slice.
fn restart_expired_slice(current: &mut Entity) {
    if current.slice.expired {
        current.slice = Slice::FRESH;
    }
}
