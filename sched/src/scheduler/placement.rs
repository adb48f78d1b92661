//! Starting and waking: choosing a CPU for a thread, and seeing to it that some CPU takes notice.

use crate::wait::Wake;
use crate::{Cause, Class, Core, Enqueue, Fault, Placement, Platform, Runnable, Thread, ThreadView, Timer};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;
use formats::trace::Event;
use formats::{CpuId, CpuSet, Instant};

impl<P: Platform> Core<P> {
    /// Lets a thread run that [`spawn`](Self::spawn) made. The second time it does nothing.
    pub fn start(&self, thread: &Arc<Thread>, here: CpuId) {
        if let Some(token) = thread.wait.start() {
            thread.started.store(self.platform.now().as_ticks(), Relaxed);
            self.settle_in(token, Placement::Fork, Cause::Fork, Enqueue::Fork, here);
        }
    }

    /// `thread`, which runs on this CPU, is about to sleep: a wake from now on is not lost. It then checks once more
    /// what it would wait for, and either calls [`cancel_sleep`](Self::cancel_sleep) or
    /// [`reschedule`](Self::reschedule) with [`Leave::Block`](crate::Leave::Block), which returns when it was woken.
    pub fn announce_sleep(&self, thread: &Thread) {
        thread.wait.announce();
        self.platform.interleave();
    }

    /// `thread`, which runs on this CPU, does not sleep after all.
    pub fn cancel_sleep(&self, thread: &Thread) {
        thread.wait.cancel();
        self.platform.interleave();
    }

    /// Wakes `thread` if it sleeps or is about to; whether it did. May be called from interrupt handlers.
    pub fn wake(&self, thread: &Thread, here: CpuId) -> bool {
        self.platform.interleave();
        match thread.wait.wake() {
            Wake::Enqueue(token) => {
                self.settle_in(token, Placement::Wake, Cause::Wake, Enqueue::Wake, here);
                true
            }
            Wake::SleepCancelled => true,
            Wake::Nothing => false,
        }
    }

    /// Brings the token in hand to a CPU of the balancer's choice.
    pub(super) fn settle_in(
        &self,
        token: Runnable,
        why: Placement,
        cause: Cause,
        enqueue: Enqueue,
        here: CpuId,
    ) {
        let mut token = token;
        loop {
            let to = self.choose(&token, why, here);
            let fair = token.thread().policy_class() == Class::Fair;
            self.migrate(&token, to, cause);
            match self.land(token, to, enqueue, here) {
                Ok(()) if fair => return,
                Ok(()) => return self.push_urgent(to, here),
                // Its affinity changed on the way, or the CPU went offline: choose again.
                Err(back) => token = back,
            }
        }
    }

    fn choose(&self, token: &Runnable, why: Placement, here: CpuId) -> CpuId {
        let thread = token.thread();
        let online = self.machine.online();
        let mut allowed = thread.allowed(&online);
        if allowed.is_empty() {
            // Nowhere it may run is online: anywhere is better than never (as Linux's select_fallback_rq).
            allowed = online;
        }
        if thread.booking().is_some() {
            return self.home_among(thread, &allowed);
        }
        if let Some(only) = allowed.only().filter(|_| allowed != online) {
            // It is bound: there is nothing to ask (as Linux's select_task_rq).
            return only;
        }
        let proposed = match thread.policy_class() {
            Class::Fair => {
                let weight = token.weight();
                let view = ThreadView { id: thread.id(), allowed, last: thread.cpu(), here, weight };
                self.ask_place(&view, why)
            }
            // The balancer is for the fair class: these go where they disturb least.
            Class::RealTime | Class::Deadline => self.least_urgent(thread.cpu(), &allowed),
        };
        if allowed.contains(proposed) {
            return proposed;
        }
        self.cpu(here).counters.repairs.keep_count();
        allowed.first().unwrap_or(here)
    }

    /// Of the allowed CPUs the one where the least urgent thread runs; `last` if that is no worse.
    fn least_urgent(&self, last: CpuId, allowed: &CpuSet) -> CpuId {
        let key = |cpu: &CpuId| (self.machine.next_rank(*cpu), !self.machine.is_idle(*cpu), *cpu != last);
        allowed.iter().min_by_key(key).unwrap_or(last)
    }

    /// Whether the balancer would rather have the current thread of `here`, which is about to run another program,
    /// elsewhere.
    pub(super) fn would_move_for_exec(&self, here: CpuId) -> bool {
        if self.machine.load(here) < 2 {
            // Nobody waits: nowhere else is better.
            return false;
        }
        let thread = self.current(here);
        let allowed = thread.allowed(&self.machine.online());
        if thread.policy_class() != Class::Fair || allowed.is_empty() {
            return false;
        }
        let view =
            ThreadView { id: thread.id(), allowed, last: here, here, weight: thread.policy().weight() };
        let chosen = self.ask_place(&view, Placement::Exec);
        // The thread itself is the load here that it would be elsewhere.
        chosen != here && allowed.contains(chosen) && self.machine.load(chosen) + 1 < self.machine.load(here)
    }

    /// Enqueues the token in hand on `to`, whose number its thread already bears, and calls who should act on it.
    /// Gives it back if it may not be there.
    pub(super) fn land(&self, token: Runnable, to: CpuId, why: Enqueue, here: CpuId) -> Result<(), Runnable> {
        let mut queue = self.lock(to);
        if !self.may_arrive(token.thread(), to, queue.online) {
            return Err(token);
        }
        // What the newcomer is compared with is to be up to date.
        let now = self.settle(to, &mut queue);
        let takers = takers(token.thread());
        let (id, woken) = (token.id(), matches!(why, Enqueue::Wake | Enqueue::Fork));
        let first = queue.waiting() == 0;
        let idle = queue.current().is_idle();
        let alone = idle && first;
        // In one-shot mode a CPU has no timer running while nobody waits.
        let arms = self.config.timer == Timer::OneShot && first;
        queue.push(to, token, why, now, &self.machine);
        let preempts = self.preempts(&queue, now);
        let waiting = queue.waiting() as u32;
        if alone {
            // With the lock held: `to` enters the mask again only after it has run this thread.
            self.machine.idle.remove(to);
        }
        if woken {
            // With the lock held: in a trace, the thread is woken before it runs.
            self.platform.trace(here, || Event::Wake { thread: id, to, waiting });
        }
        drop(queue);
        if preempts || arms {
            self.call(to, here);
        }
        if !alone {
            self.offer(to, &takers, now, here);
        }
        Ok(())
    }

    /// Whether a thread may be on `cpu`: allowed there and the CPU online; or nowhere it is allowed is online. One that has
    /// booked bandwidth elsewhere must go there.
    pub(super) fn may_stay(&self, thread: &Thread, cpu: CpuId, online: bool) -> bool {
        let elsewhere = |home: CpuId| home != cpu && thread.may_run_on(home) && self.machine.is_online(home);
        online
            && (thread.may_run_on(cpu) || thread.affinity().and(&self.machine.online()).is_empty())
            && !thread.booking().is_some_and(|booking| elsewhere(booking.cpu))
    }

    /// The same for one that has come there in somebody's hands.
    pub(super) fn may_arrive(&self, thread: &Thread, cpu: CpuId, online: bool) -> bool {
        self.has_fault(Fault::AffinityNotRead) || self.may_stay(thread, cpu, online)
    }

    fn preempts(&self, queue: &super::Queue, now: Instant) -> bool {
        let current = queue.current();
        current.is_idle() || queue.is_outranked(now) || !self.in_first_run(current) && queue.preempts(now)
    }

    /// A thread waits on `cpu`: calls one idle CPU of `takers` to come and take it, if the balancer has idle CPUs do that.
    pub(super) fn offer(&self, cpu: CpuId, takers: &CpuSet, now: Instant, here: CpuId) {
        self.platform.interleave();
        if !self.machine.idle.intersects(takers) {
            return;
        }
        self.note_wait(now);
        let topology = self.machine.topology();
        self.call_helper(here, |idle| topology.nearest(cpu, &idle.and(takers)));
    }

    /// `here` was idle and has found work, perhaps not what it was called for: if more waits anywhere, it calls the
    /// next idle CPU.
    pub(super) fn pass_on(&self, here: CpuId) {
        if self.has_fault(Fault::CallNotPassedOn) {
            return;
        }
        let machine = &self.machine;
        let topology = machine.topology();
        self.call_helper(here, |idle| {
            machine.loaded().first()?;
            topology.nearest(here, &idle)
        });
    }

    /// A thread has waited on `here` for a tick: calls one idle CPU, another at each `turn`. This finds in the end
    /// those that are the only ones where it may run.
    pub(super) fn offer_in_turn(&self, turn: u64, here: CpuId) {
        self.call_helper(here, |idle| {
            let count = idle.len().max(1) as u64;
            idle.iter().nth((turn % count) as usize)
        });
    }

    /// Calls the idle CPU that `choose` picks, if the balancer has idle CPUs take threads from others.
    fn call_helper(&self, here: CpuId, choose: impl Fn(CpuSet) -> Option<CpuId>) {
        self.platform.interleave();
        if self.machine.idle.is_empty() || !self.pulls() {
            return;
        }
        while let Some(helper) = choose(self.machine.idle()) {
            // Of several that choose the same one, one gets it.
            if self.machine.idle.remove(helper) {
                return self.call(helper, here);
            }
        }
    }
}

/// The CPUs that may take `thread` from where it waits.
pub(super) fn takers(thread: &Thread) -> CpuSet {
    if thread.booking().is_some() { CpuSet::EMPTY } else { thread.allowed(&CpuSet::ALL) }
}
