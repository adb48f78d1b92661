//! Earliest eligible virtual deadline first.
//!
//! I. Stoica and H. Abdel-Wahab, "Earliest eligible virtual deadline first: a flexible and accurate mechanism for
//! proportional share resource allocation", Old Dominion University TR-95-22, 1995; with the amendments of Linux 6.6 and
//! later (`sched-eevdf.rst`): lag is kept across sleep and migration within a bound, and a thread may ask for a shorter slice
//! to be served sooner.
//!
//! ```text
//! V           = average of the vruntimes of all that compete, by weight
//! lag(i)      = V - vruntime(i)                    what i is owed, in virtual time
//! eligible(i) : lag(i) >= 0
//! deadline(i) = vruntime(i) + request(i) / weight(i), renewed when the request is served
//! next        = of the eligible, the one with the earliest deadline
//! running     : until its request is served, unless an earlier deadline with a shorter request comes
//! leaving     : the lag is kept, at most one request and a tick of it
//! sleeping    : what it owes (lag < 0) it pays while V goes on without it; what it is owed is kept
//! joining     : vruntime = V - lag * (W + weight) / W: it is owed after joining what it was owed before
//! ```

use super::virtual_time::{UNIT, advance, average, scaled};
use super::{Enqueue, Entry, RunQueue};
use crate::{Config, Entity, Runnable, Tree};
use alloc::boxed::Box;
use formats::{CpuId, Duration, Instant, ThreadId};

pub static EEVDF: Entry = Entry {
    name: "eevdf",
    summary: "the eligible thread with the earliest virtual deadline, as Linux since 6.6",
    preemptive: true,
    new: |config| Box::new(Eevdf::new(config)),
};

struct Eevdf {
    /// By vruntime; the rank is the deadline.
    waiting: Tree,
    /// How many of those have asked for a slice of their own. The requests of all others are equal.
    own_slices: usize,
    /// Of all that compete: the sum of the weights, and of weight times vruntime.
    weight: i64,
    weighted: i128,
    /// V when the last one left.
    last: i64,
    slice: Duration,
    tick: Duration,
}

impl Eevdf {
    fn new(config: &Config) -> Self {
        let (slice, tick) = (config.quantum, config.tick);
        Self { waiting: Tree::new(), own_slices: 0, weight: 0, weighted: 0, last: 0, slice, tick }
    }

    /// V, the virtual time of the queue.
    fn now(&self) -> i64 {
        match self.weight {
            0 => self.last,
            weight => average(self.weighted, weight),
        }
    }

    fn request(&self, entity: &Entity) -> Duration {
        entity.policy().slice().unwrap_or(self.slice)
    }

    fn request_virtual(&self, entity: &Entity) -> i64 {
        scaled(self.request(entity), entity.weight())
    }

    fn is_eligible(&self, entity: &Entity) -> bool {
        entity.fair().vruntime.get() <= self.now()
    }

    /// Its request is served. Time is given out in ticks: the tick that ends nearest to the request's end ends it.
    fn is_served(&self, current: &Entity) -> bool {
        let fair = current.fair();
        let left = fair.deadline.get() - fair.vruntime.get();
        left <= 0 || current.slice_expired() && left <= scaled(self.tick / 2, current.weight())
    }

    /// A new request.
    fn renew(&self, entity: &Entity) {
        let fair = entity.fair();
        fair.deadline.set(fair.vruntime.get() + self.request_virtual(entity));
    }

    /// The most that a thread is owed when it joins, or owes: what one request and the tick in which it ends may cause.
    fn most_lag(&self, entity: &Entity) -> i64 {
        scaled(self.request(entity) + self.tick, entity.weight())
    }

    /// `entity` competes from now on.
    fn join(&mut self, entity: &Entity, why: Enqueue) {
        let (fair, own) = (entity.fair(), i64::from(entity.weight()));
        let stayed = fair.left_at.get() == Some(entity.thread().cpu());
        let lag = match (why, fair.lag.get()) {
            (Enqueue::Fork | Enqueue::Order, _) => 0,
            // Linux's DELAY_DEQUEUE: as if it had stayed until it was eligible.
            (Enqueue::Wake, lag) if lag < 0 && stayed => (self.now() - fair.vruntime.get()).clamp(lag, 0),
            (_, lag) => lag,
        };
        // V moves towards those who join, so that they must be put further away than they are to be.
        let inflated = match self.weight {
            0 => 0,
            others => average(i128::from(lag) * i128::from(others + own), others),
        };
        let left_of_request = fair.deadline.get();
        fair.vruntime.set(self.now() - inflated);
        fair.lag.set(0);
        self.renew(entity);
        if why == Enqueue::Migrate && left_of_request > 0 {
            fair.deadline.set(fair.vruntime.get() + left_of_request.min(self.request_virtual(entity)));
        }
        if why == Enqueue::Fork {
            // Half a request of head start, as Linux's PLACE_DEADLINE_INITIAL.
            fair.deadline.set(fair.vruntime.get() + self.request_virtual(entity) / 2);
        }
        self.weight += own;
        self.weighted += i128::from(own) * i128::from(fair.vruntime.get());
    }

    /// `entity` does not compete any more. Its lag is kept, and how much of its request is left.
    fn leave(&mut self, entity: &Entity) {
        let (fair, most, now) = (entity.fair(), self.most_lag(entity), self.now());
        let vruntime = fair.vruntime.get();
        fair.lag.set((now - vruntime).clamp(-most, most));
        fair.deadline.set(fair.deadline.get() - vruntime);
        self.last = now;
        self.weight -= i64::from(entity.weight());
        self.weighted -= i128::from(entity.weight()) * i128::from(vruntime);
    }

    /// `current`, which competes, has moved on.
    fn moved(&mut self, current: &Entity, by: i64) {
        self.weighted += i128::from(current.weight()) * i128::from(by);
    }

    /// Whether `best`, which waits, goes before `current`.
    fn goes_before(&self, best: &Entity, current: &Entity) -> bool {
        let served = self.is_served(current);
        let deadline = match served {
            true => current.fair().vruntime.get() + self.request_virtual(current),
            false => current.fair().deadline.get(),
        };
        let earlier = best.fair().deadline.get() < deadline;
        match served {
            true => earlier || !self.is_eligible(current),
            false => earlier && self.request(best) < self.request(current),
        }
    }

    /// The one that waits and goes before `current`.
    fn goes_next(&self, current: &Entity) -> Option<&Entity> {
        if self.own_slices == 0 && current.policy().slice().is_none() && !self.is_served(current) {
            // Nobody has a shorter request.
            return None;
        }
        self.waiting.least_rank_up_to(self.now()).filter(|best| self.goes_before(best, current))
    }

    /// `thread` has been taken out of those that wait.
    fn taken(&mut self, thread: &Runnable) {
        self.own_slices -= usize::from(thread.policy().slice().is_some());
    }

    fn remove(&mut self, wanted: impl FnMut(&Entity) -> bool) -> Option<Runnable> {
        let thread = self.waiting.remove(wanted)?;
        self.taken(&thread);
        self.leave(&thread);
        Some(thread)
    }
}

impl RunQueue for Eevdf {
    fn enqueue(&mut self, thread: Runnable, why: Enqueue, _now: Instant) {
        match why {
            Enqueue::Preempt => {
                if self.is_served(&thread) {
                    self.renew(&thread);
                }
            }
            Enqueue::Yield => {
                // It forgoes the rest of its request.
                let fair = thread.fair();
                let forgone = (fair.deadline.get() - fair.vruntime.get()).max(0);
                fair.vruntime.set(fair.vruntime.get() + forgone);
                self.moved(&thread, forgone);
                self.renew(&thread);
            }
            _ => self.join(&thread, why),
        }
        self.own_slices += usize::from(thread.policy().slice().is_some());
        let (vruntime, deadline) = (thread.fair().vruntime.get(), thread.fair().deadline.get());
        self.waiting.insert(thread, vruntime, deadline);
    }

    fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        self.remove(|entity| entity.id() == id)
    }

    fn pick(&mut self, current: Option<&Entity>, _now: Instant) -> Option<Runnable> {
        if let Some(current) = current
            && self.goes_next(current).is_none()
        {
            if self.is_served(current) {
                self.renew(current);
            }
            return None;
        }
        // When the current one has left all of the others behind it, none is eligible.
        let picked = self.waiting.pop_least_rank_up_to(self.now()).or_else(|| self.waiting.pop_first())?;
        self.taken(&picked);
        Some(picked)
    }

    fn give(&mut self, to: CpuId) -> Option<Runnable> {
        self.remove(|entity| entity.may_run_on(to))
    }

    fn charge(&mut self, current: &Entity, ran: Duration) {
        let moved = advance(current, ran);
        self.moved(current, moved);
    }

    fn adopt(&mut self, current: &Entity) {
        self.join(current, Enqueue::Policy);
    }

    fn depart(&mut self, current: &Entity) {
        self.leave(current);
    }

    fn preempts(&self, current: &Entity) -> bool {
        self.goes_next(current).is_some_and(Entity::may_preempt)
    }

    fn slice(&self, current: &Entity) -> Option<Duration> {
        // What it has had of its request in this turn, and what is left of it.
        let fair = current.fair();
        let left = i128::from((fair.deadline.get() - fair.vruntime.get()).max(0));
        let left = (left * i128::from(current.weight()) / i128::from(UNIT)) as u64;
        let had = if left == 0 { Duration::from_ticks(0) } else { current.slice_used() };
        Some(had + Duration::from_ticks(left))
    }

    fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.waiting.each(visit);
    }
}

#[cfg(test)]
mod tests;
