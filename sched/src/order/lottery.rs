//! Lottery scheduling: each quantum goes to the holder of a ticket that is drawn.
//!
//! C. A. Waldspurger and W. E. Weihl, "Lottery scheduling: flexible proportional-share resource management", OSDI 1994.
//!
//! ```text
//! tickets(i)   = weight(i) * compensation(i)
//! next         = i with the probability tickets(i) / all tickets, for a quantum
//! compensation : 1/f after it has blocked with only the part f of its quantum used, until its next quantum begins;
//!                so it gets its share although it blocks early
//! ```
//!
//! Shares are honoured by chance: of n quanta a thread that should have n*p of them gets n*p with a standard deviation of
//! sqrt(n*p*(1-p)).

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

/// The most that tickets are multiplied by: a thread that blocks at once would otherwise win always.
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
        let weight = u64::from(entity.weight());
        match used_part(entity) {
            0 => weight,
            used => (weight * self.quantum.as_ticks() / used).clamp(weight, weight * MOST_COMPENSATION),
        }
    }

    /// Of all tickets, those of `current` first: who holds the one that is drawn? `None`: `current`, or nobody waits.
    fn draw(&mut self, current: Option<&Entity>) -> Option<ThreadId> {
        let own = current.map_or(0, |current| self.tickets(current));
        let all = own + self.waiting.iter().map(|entity| self.tickets(entity)).sum::<u64>();
        let mut drawn = self.rng.u64(..all.max(1)).checked_sub(own)?;
        let winner = self.waiting.iter().find(|entity| {
            let tickets = self.tickets(entity);
            let wins = drawn < tickets;
            drawn = drawn.saturating_sub(tickets);
            wins
        });
        winner.map(Entity::id)
    }
}

/// What `entity` has used of the quantum in which it blocked, in nanoseconds; 0: all of it.
fn used_part(entity: &Entity) -> u64 {
    u64::try_from(entity.fair().lag.get()).unwrap_or(0)
}

impl RunQueue for Lottery {
    fn enqueue(&mut self, thread: Runnable, _why: Enqueue, _now: Instant) {
        self.waiting.push_back(thread);
    }

    fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        self.waiting.remove(|entity| entity.id() == id)
    }

    fn pick(&mut self, current: Option<&Entity>, _now: Instant) -> Option<Runnable> {
        if current.is_some_and(|current| !current.slice_expired()) {
            return None;
        }
        let winner = self.draw(current)?;
        let picked = self.waiting.remove(|entity| entity.id() == winner)?;
        picked.fair().lag.set(0);
        Some(picked)
    }

    fn give(&mut self, to: CpuId) -> Option<Runnable> {
        self.waiting.remove(|entity| entity.may_run_on(to))
    }

    fn depart(&mut self, current: &Entity) {
        let used = current.slice_used();
        let part = if used < self.quantum { used.as_ticks().max(1) } else { 0 };
        current.fair().lag.set(i64::try_from(part).unwrap_or(0));
    }

    fn slice(&self, _current: &Entity) -> Option<Duration> {
        Some(self.quantum)
    }

    fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.waiting.iter().for_each(visit);
    }
}
