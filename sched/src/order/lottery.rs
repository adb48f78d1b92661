//! Lottery scheduling: each quantum goes to the holder of a ticket that is drawn.
//!
//! C. A. Waldspurger and W. E. Weihl, "Lottery scheduling: flexible proportional-share resource management", OSDI 1994.
//! A thread has as many tickets as weight. A thread that used only a part `f` of its quantum has its tickets multiplied by
//! 1/f until it runs again (compensation tickets), so that it gets its share although it blocks early.

use super::{Enqueue, Entry, RunQueue};
use crate::{Config, Entity, List, Runnable};
use alloc::boxed::Box;
use fastrand::Rng;
use formats::{CpuId, Duration, Instant, ThreadId};

pub static LOTTERY: Entry = Entry {
    name: "lottery",
    summary: "proportional shares by chance: each quantum goes to a ticket that is drawn",
    preemptive: true,
    new: |config| Box::new(Lottery::new(config)),
};

/// The most that tickets are multiplied by.
const MOST_COMPENSATION: u64 = 64;

struct Lottery {
    waiting: List,
    rng: Rng,
    quantum: Duration,
}

impl Lottery {
    fn new(config: &Config) -> Self {
        Self { waiting: List::new(), rng: Rng::with_seed(config.seed), quantum: config.quantum }
    }

    fn tickets(&self, entity: &Entity) -> u64 {
        // What it used of its last quantum, in nanoseconds; 0: all of it.
        let used = u64::try_from(entity.fair().lag.get()).unwrap_or(0);
        let weight = u64::from(entity.weight());
        match used {
            0 => weight,
            used => (weight * self.quantum.as_ticks() / used).clamp(weight, weight * MOST_COMPENSATION),
        }
    }
}

impl RunQueue for Lottery {
    fn enqueue(&mut self, thread: Runnable, why: Enqueue, _now: Instant) {
        if why == Enqueue::Preempt || why == Enqueue::Yield {
            thread.fair().lag.set(0);
        }
        self.waiting.push_back(thread);
    }

    fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        self.waiting.remove(|entity| entity.id() == id)
    }

    fn pick(&mut self, current: Option<&Entity>, _now: Instant) -> Option<Runnable> {
        let own = match current {
            Some(current) if !current.slice_expired() => return None,
            Some(current) => self.tickets(current),
            None => 0,
        };
        let all = own + self.waiting.iter().map(|entity| self.tickets(entity)).sum::<u64>();
        let drawn = self.rng.u64(..all.max(1));
        // The current one holds the first tickets.
        let mut left = drawn.checked_sub(own)?;
        let winner = self.waiting.iter().find(|entity| {
            let tickets = self.tickets(entity);
            let wins = left < tickets;
            left = left.saturating_sub(tickets);
            wins
        })?;
        let id = winner.id();
        self.waiting.remove(|entity| entity.id() == id)
    }

    fn give(&mut self, to: CpuId) -> Option<Runnable> {
        self.waiting.remove(|entity| entity.may_run_on(to))
    }

    fn depart(&mut self, current: &Entity) {
        let used = current.slice_used().as_ticks();
        let part = if used < self.quantum.as_ticks() { used.max(1) } else { 0 };
        current.fair().lag.set(i64::try_from(part).unwrap_or(0));
    }

    fn slice(&self, _current: &Entity) -> Option<Duration> {
        Some(self.quantum)
    }

    fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.waiting.iter().for_each(visit);
    }
}
