//! From one thread to the next.

use super::cpu::Queue;
use crate::entity::Slice;
use crate::{Cause, Core, Enqueue, Entity, Kind, Placement, Platform, Runnable, Thread};
use alloc::sync::Arc;
use core::ops::Deref;
use core::sync::atomic::Ordering::{AcqRel, Relaxed};
use formats::{CpuId, Instant};

/// Why a thread may leave its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It would go on, but another may be due; or it is the idle thread that asks for work.
    Preempt,
    /// It gives way to any other that waits.
    Yield,
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
    /// [`Leave::Preempt`] and may wait for an interrupt when the answer is `None`, provided that interrupts stay off
    /// from before the call until it waits.
    #[inline]
    pub fn reschedule(&self, here: CpuId, why: Leave) -> Option<Switch> {
        if why == Leave::Yield && self.machine.waiting(here) == 0 && !self.needs_reschedule(here) {
            return None;
        }
        self.choose_next(here, why)
    }

    fn choose_next(&self, here: CpuId, why: Leave) -> Option<Switch> {
        let cpu = self.cpu(here);
        // Before looking at the queue: who enqueues later raises the flag again.
        let called = cpu.needs_reschedule.load(Relaxed) && cpu.needs_reschedule.swap(false, AcqRel);
        let now = self.platform.now();
        let mut queue = self.lock(here);
        let current = queue.current();
        let idle = current.is_idle();
        let why = if idle { Leave::Preempt } else { why };
        let stays = match why {
            Leave::Block if !current.thread().wait.is_announced() => {
                // It goes on, and what it was called for remains to be done on its way to user mode.
                cpu.needs_reschedule.fetch_or(called, Relaxed);
                return None;
            }
            Leave::Block | Leave::Exit => false,
            Leave::Preempt | Leave::Yield => idle || self.may_stay(current.thread(), here, queue.online),
        };
        if stays && why == Leave::Preempt && self.in_first_run(current) {
            return None;
        }
        self.settle(here, &mut queue, now);
        let competes = stays && why == Leave::Preempt && !idle;
        if let Some(next) = self.next_of(here, &mut queue, competes, now) {
            return Some(self.dispatch(here, queue, next, why, now));
        }
        if stays && !idle {
            restart_expired_slice(queue.current_mut());
            return None;
        }
        drop(queue);
        if idle {
            // From here on, who makes a thread wait anywhere calls this CPU; and this CPU looks once more.
            self.machine.idle.insert(here);
            self.platform.interleave();
            if !self.machine.is_online(here) {
                self.machine.idle.remove(here);
            }
        }
        let stolen = self.steal(here);
        let now = self.platform.now();
        let mut queue = self.lock(here);
        if let Some(next) = stolen {
            if self.may_stay(next.thread(), here, queue.online) {
                return Some(self.dispatch(here, queue, next, why, now));
            }
            // Its affinity changed while it was in hand.
            drop(queue);
            self.settle_in(next, Placement::Move, Cause::Affinity, Enqueue::Migrate, here);
            queue = self.lock(here);
        }
        self.settle(here, &mut queue, now);
        let next = match self.next_of(here, &mut queue, false, now) {
            Some(next) => next,
            // The idle thread found nothing.
            None if idle => return None,
            None => queue.idle.take()?,
        };
        Some(self.dispatch(here, queue, next, why, now))
    }

    /// Disposes of the thread that ran before: it may be picked again from now on, sleeps, or is dead. The next thread
    /// calls this, once the context of the previous one is saved; with interrupts still off.
    pub fn finish_switch(&self, here: CpuId) -> Option<Dead> {
        let mut queue = self.lock(here);
        let (token, why) = queue.outgoing.take()?;
        if token.is_idle() {
            queue.idle = Some(token);
            return None;
        }
        match why {
            Leave::Preempt | Leave::Yield => {
                if !self.may_stay(token.thread(), here, queue.online) {
                    let cause = if queue.online { Cause::Affinity } else { Cause::Offline };
                    drop(queue);
                    self.settle_in(token, Placement::Move, cause, Enqueue::Migrate, here);
                    return None;
                }
                let affinity = token.thread().affinity();
                let enqueue = if why == Leave::Yield { Enqueue::Yield } else { Enqueue::Preempt };
                let since = queue.since;
                queue.push(here, token, enqueue, since, &self.machine);
                drop(queue);
                self.offer(here, &affinity, here);
            }
            Leave::Block => {
                drop(queue);
                let thread = token.thread().clone();
                if let Err(token) = thread.wait.park(token) {
                    self.settle_in(token, Placement::Wake, Cause::Wake, Enqueue::Wake, here);
                }
            }
            Leave::Exit => {
                token.thread().wait.bury();
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
        if queue.waiting() == 0 {
            return None;
        }
        queue.pick(here, competes, now, &self.machine)
    }

    /// Makes `next` the current thread of `here` and the current one outgoing.
    fn dispatch(
        &self,
        here: CpuId,
        mut queue: super::Guard<'_, P>,
        mut next: Runnable,
        why: Leave,
        now: Instant,
    ) -> Switch {
        let entity = next.entity();
        entity.first_run.dispatch();
        entity.slice = Slice::FRESH;
        let idle = entity.is_idle();
        let incoming = next.thread().clone();
        self.settle(here, &mut queue, now);
        queue.dispatched = now;
        let token = queue.current.replace(next).expect("an online CPU has a current thread");
        let previous = token.thread().clone();
        let counters = &self.cpu(here).counters;
        counters.switches.bump();
        let was_idle = token.is_idle();
        if why == Leave::Preempt && !was_idle {
            counters.preemptions.bump();
        }
        queue.outgoing = Some((token, why));
        drop(queue);
        if was_idle != idle {
            self.machine.set_busy(here, !idle);
        }
        if was_idle {
            self.machine.idle.remove(here);
            self.pass_on(here);
        }
        Switch { previous, next: incoming }
    }

    /// Takes a thread from another CPU's queue.
    fn steal(&self, here: CpuId) -> Option<Runnable> {
        if !self.machine.is_online(here) {
            return None;
        }
        let victims = self.balancer.on_idle(here, &self.machine);
        self.platform.interleave();
        victims.iter().find_map(|victim| self.steal_from(victim, here))
    }

    fn steal_from(&self, victim: CpuId, here: CpuId) -> Option<Runnable> {
        if victim == here || victim.index() >= self.cpus.len() || self.machine.waiting(victim) == 0 {
            return None;
        }
        self.cpu(here).counters.steal_attempts.bump();
        let mut queue = self.lock(victim);
        let token = queue.give(victim, here, &self.machine)?;
        if !token.may_run_on(here) {
            self.cpu(here).counters.repairs.bump();
            let since = queue.since;
            queue.push(victim, token, Enqueue::Migrate, since, &self.machine);
            return None;
        }
        drop(queue);
        self.migrate(&token, here, Cause::Steal);
        Some(token)
    }
}

/// Nobody else waits: the current thread begins another slice.
fn restart_expired_slice(current: &mut Entity) {
    if current.slice.expired {
        current.slice = Slice::FRESH;
    }
}
