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
//! joining     : vruntime = V - lag * (W + weight) / W: it is owed after joining what it was owed before
//! ```

use super::virtual_time::{UNIT, advance, scaled};
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
        Self { waiting: Tree::new(), weight: 0, weighted: 0, last: 0, slice, tick }
    }

    /// V, the virtual time of the queue.
    fn now(&self) -> i64 {
        match self.weight {
            0 => self.last,
            weight => self.weighted.div_euclid(weight.into()) as i64,
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
        let keeps = !matches!(why, Enqueue::Fork | Enqueue::Order);
        let lag = if keeps { fair.lag.get() } else { 0 };
        // V moves towards those who join, so that they must be put further away than they are to be.
        let inflated = match self.weight {
            0 => 0,
            others => (i128::from(lag) * i128::from(others + own) / i128::from(others)) as i64,
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

    fn best(&self) -> Option<&Entity> {
        self.waiting.least_rank_up_to(self.now())
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
        let (vruntime, deadline) = (thread.fair().vruntime.get(), thread.fair().deadline.get());
        self.waiting.insert(thread, vruntime, deadline);
    }

    fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        let thread = self.waiting.remove(|entity| entity.id() == id)?;
        self.leave(&thread);
        Some(thread)
    }

    fn pick(&mut self, current: Option<&Entity>, _now: Instant) -> Option<Runnable> {
        if let Some(current) = current {
            let goes = self.best().is_some_and(|best| self.goes_before(best, current));
            if !goes {
                if self.is_served(current) {
                    self.renew(current);
                }
                return None;
            }
        }
        // When the current one has left all of the others behind it, none is eligible.
        self.waiting.pop_least_rank_up_to(self.now()).or_else(|| self.waiting.pop_first())
    }

    fn give(&mut self, to: CpuId) -> Option<Runnable> {
        let thread = self.waiting.remove(|entity| entity.may_run_on(to))?;
        self.leave(&thread);
        Some(thread)
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
        self.best().is_some_and(|best| best.may_preempt() && self.goes_before(best, current))
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
