//! Earliest eligible virtual deadline first.
//!
//! I. Stoica and H. Abdel-Wahab, "Earliest eligible virtual deadline first: a flexible and accurate mechanism for
//! proportional share resource allocation", Old Dominion University TR-95-22, 1995; with the amendments of Linux 6.6 and
//! later (`sched-eevdf.rst`): lag is kept across sleep and migration within a bound, and a thread may ask for a shorter slice
//! to be served sooner.
//!
//! ```text
//! V         = weighted average of vruntime over all that compete
//! lag(i)    = V - vruntime(i);  eligible(i) <=> lag(i) >= 0
//! deadline  = vruntime + slice / weight, renewed when vruntime reaches it
//! next      = the eligible thread with the earliest deadline
//! joining   : vruntime = V - lag, where the lag is scaled so that the join itself does not change it
//! ```

use super::virtual_time::{advance, scaled};
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
    /// Sums over those that wait: of weights, and of weight times vruntime less `zero`.
    weight: i64,
    weighted: i128,
    /// What vruntimes are taken relative to in the sum, so that it stays small.
    zero: i64,
    /// The thread that runs: its number, weight and vruntime.
    running: Option<(ThreadId, i64, i64)>,
    slice: Duration,
    tick: Duration,
}

impl Eevdf {
    fn new(config: &Config) -> Self {
        Self {
            waiting: Tree::new(),
            weight: 0,
            weighted: 0,
            zero: 0,
            running: None,
            slice: config.quantum,
            tick: config.tick,
        }
    }

    /// V, the virtual time of the queue.
    fn now(&self) -> i64 {
        let (mut weight, mut weighted) = (self.weight, self.weighted);
        if let Some((_, of_running, vruntime)) = self.running {
            weight += of_running;
            weighted += i128::from(of_running) * i128::from(vruntime - self.zero);
        }
        if weight == 0 {
            return self.zero;
        }
        self.zero + weighted.div_euclid(i128::from(weight)) as i64
    }

    fn request(&self, entity: &Entity) -> Duration {
        entity.policy().slice().unwrap_or(self.slice)
    }

    fn renew_deadline(&self, entity: &Entity) {
        let fair = entity.fair();
        fair.deadline.set(fair.vruntime.get() + scaled(self.request(entity), entity.weight()));
    }

    fn add(&mut self, thread: Runnable) {
        let (vruntime, deadline) = (thread.fair().vruntime.get(), thread.fair().deadline.get());
        if self.waiting.is_empty() {
            self.zero = self.running.map_or(vruntime, |(.., running)| running);
        }
        self.weight += i64::from(thread.weight());
        self.weighted += i128::from(thread.weight()) * i128::from(vruntime - self.zero);
        self.waiting.insert(thread, vruntime, deadline);
    }

    /// Book-keeping for a thread that was taken out of the tree.
    fn removed(&mut self, thread: &Entity) {
        let before = self.now();
        self.weight -= i64::from(thread.weight());
        self.weighted -= i128::from(thread.weight()) * i128::from(thread.fair().vruntime.get() - self.zero);
        if self.waiting.is_empty() {
            (self.weight, self.weighted) = (0, 0);
            self.zero = self.running.map_or(before, |(.., running)| running);
        }
    }

    /// Notes the lag of a thread that stops competing, within what one request and a tick may cause.
    fn keep_lag(&self, thread: &Entity, virtual_now: i64) {
        let most = scaled(self.request(thread).max(self.tick) * 2, thread.weight());
        let fair = thread.fair();
        fair.lag.set((virtual_now - fair.vruntime.get()).clamp(-most, most));
    }

    /// Where a thread joins those that compete.
    fn place(&self, thread: &Entity, why: Enqueue) {
        let fair = thread.fair();
        let mut lag = fair.lag.get();
        let others = self.weight + self.running.map_or(0, |(_, weight, _)| weight);
        if why == Enqueue::Fork || why == Enqueue::Order {
            lag = 0;
        }
        if others > 0 {
            // Its joining moves V towards it; what it is owed afterwards is to be what it was owed before.
            let own = i64::from(thread.weight());
            let inflated = i128::from(lag) * i128::from(others + own) / i128::from(others);
            lag = inflated as i64;
        }
        fair.vruntime.set(self.now() - lag);
        fair.lag.set(0);
        self.renew_deadline(thread);
        if why == Enqueue::Fork {
            // A new thread gets half a request's head start on the deadline, as Linux's PLACE_DEADLINE_INITIAL.
            let request = scaled(self.request(thread), thread.weight());
            fair.deadline.set(fair.vruntime.get() + request / 2);
        }
    }

    /// Takes out the thread that should run next.
    fn take_best(&mut self) -> Option<Runnable> {
        let eligible = self.waiting.pop_least_rank_up_to(self.now());
        // Rounding may leave none eligible.
        let picked = eligible.or_else(|| self.waiting.pop_first())?;
        self.removed(&picked);
        Some(picked)
    }
}

impl RunQueue for Eevdf {
    fn enqueue(&mut self, thread: Runnable, why: Enqueue, _now: Instant) {
        let returns = matches!(why, Enqueue::Preempt | Enqueue::Yield);
        if returns {
            if self.running.is_some_and(|(id, ..)| id == thread.id()) {
                self.running = None;
            }
            if why == Enqueue::Yield {
                // It forgoes the rest of its request.
                let fair = thread.fair();
                fair.vruntime.set(fair.vruntime.get().max(fair.deadline.get()));
                self.renew_deadline(&thread);
            }
        } else {
            self.place(&thread, why);
        }
        self.add(thread);
    }

    fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        let virtual_now = self.now();
        let thread = self.waiting.remove(|entity| entity.id() == id)?;
        self.keep_lag(&thread, virtual_now);
        self.removed(&thread);
        Some(thread)
    }

    fn pick(&mut self, current: Option<&Entity>, _now: Instant) -> Option<Runnable> {
        if let Some(current) = current {
            let fair = current.fair();
            let request_served = fair.vruntime.get() >= fair.deadline.get();
            if request_served {
                self.renew_deadline(current);
            }
            let eligible = fair.vruntime.get() <= self.now();
            let best = self.waiting.least_rank_up_to(self.now());
            let earlier = best.is_some_and(|best| best.fair().deadline.get() < fair.deadline.get());
            if eligible && !earlier || best.is_none() {
                return None;
            }
            if !request_served && !current.slice_expired() && eligible {
                // It keeps its slice unless one with a shorter request has come.
                let best = best?;
                if self.request(best) >= self.request(current) {
                    return None;
                }
            }
        }
        let picked = self.take_best()?;
        self.running = Some((picked.id(), i64::from(picked.weight()), picked.fair().vruntime.get()));
        Some(picked)
    }

    fn give(&mut self, to: CpuId) -> Option<Runnable> {
        let virtual_now = self.now();
        let thread = self.waiting.remove(|entity| entity.may_run_on(to))?;
        self.keep_lag(&thread, virtual_now);
        self.removed(&thread);
        Some(thread)
    }

    fn charge(&mut self, current: &Entity, ran: Duration) {
        advance(current, ran);
        self.running = Some((current.id(), i64::from(current.weight()), current.fair().vruntime.get()));
    }

    fn depart(&mut self, current: &Entity) {
        let virtual_now = self.now();
        self.keep_lag(current, virtual_now);
        if self.running.is_some_and(|(id, ..)| id == current.id()) {
            self.running = None;
        }
        if self.waiting.is_empty() {
            self.zero = virtual_now;
        }
    }

    fn preempts(&self, current: &Entity) -> bool {
        let Some(best) = self.waiting.least_rank_up_to(self.now()).filter(|best| best.may_preempt()) else {
            return false;
        };
        let earlier = best.fair().deadline.get() < current.fair().deadline.get();
        earlier && (self.request(best) < self.request(current) || current.slice_used() >= self.tick)
    }

    fn slice(&self, current: &Entity) -> Option<Duration> {
        Some(self.request(current))
    }

    fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.waiting.each(visit);
    }
}
