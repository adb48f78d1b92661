//! The completely fair scheduler, as in Linux before 6.6: the thread with the least virtual time runs. For comparison.
//!
//! Linux's `sched-design-CFS.rst`.
//!
//! ```text
//! next      = the least vruntime
//! slice     = latency * weight / total weight, at least the granularity
//! wake-up   : vruntime = max(own, least - latency / 2): sleepers get a bounded bonus
//! fork      : vruntime = least + one slice: a new thread waits its turn
//! migration : vruntime is kept relative to the queue's least
//! preempt   : a woken thread runs at once if it is behind by more than the wake-up granularity
//! ```

use super::virtual_time::{UNIT, advance, scaled};
use super::{Enqueue, Entry, RunQueue};
use crate::{Config, Entity, Runnable, Tree};
use alloc::boxed::Box;
use formats::{CpuId, Duration, Instant, ThreadId};

pub static CFS: Entry = Entry {
    name: "cfs",
    summary: "the least virtual time, as Linux before 6.6",
    preemptive: true,
    new: |config| Box::new(Cfs::new(config)),
};

/// Within which each of a few threads runs once (`sysctl_sched_latency` on one CPU).
const LATENCY: Duration = Duration::from_millis(6);

struct Cfs {
    /// By vruntime.
    waiting: Tree,
    /// The sum of the weights of those that wait.
    weight: u64,
    /// Never goes back; follows the least vruntime.
    least: i64,
    /// The vruntime of the thread that runs.
    running: Option<(ThreadId, i64)>,
    granularity: Duration,
}

impl Cfs {
    fn new(config: &Config) -> Self {
        Self { waiting: Tree::new(), weight: 0, least: 0, running: None, granularity: config.tick }
    }

    fn advance_least(&mut self) {
        let waiting = self.waiting.first().map(|first| first.fair().vruntime.get());
        let running = self.running.map(|(_, vruntime)| vruntime);
        if let Some(least) = waiting.into_iter().chain(running).min() {
            self.least = self.least.max(least);
        }
    }

    fn slice_of(&self, entity: &Entity) -> Duration {
        let weight = u64::from(entity.weight());
        let share = LATENCY.as_ticks() * weight / (self.weight + weight);
        Duration::from_ticks(share).max(self.granularity)
    }

    /// Keeps the vruntime of a thread that leaves relative to this queue.
    fn left(&mut self, thread: &Entity) {
        let fair = thread.fair();
        fair.lag.set(self.least - fair.vruntime.get());
    }

    fn removed(&mut self, thread: &Entity) {
        self.weight -= u64::from(thread.weight());
    }
}

impl RunQueue for Cfs {
    fn enqueue(&mut self, thread: Runnable, why: Enqueue, _now: Instant) {
        self.advance_least();
        let fair = thread.fair();
        match why {
            Enqueue::Preempt => {}
            Enqueue::Yield => fair.vruntime.set(fair.vruntime.get().max(self.least)),
            Enqueue::Fork | Enqueue::Order => {
                fair.vruntime.set(self.least + scaled(self.slice_of(&thread), thread.weight()));
            }
            Enqueue::Wake => {
                let bonus = scaled(LATENCY / 2, UNIT as u32);
                fair.vruntime.set(self.least - fair.lag.get().clamp(-bonus, bonus));
            }
            Enqueue::Migrate | Enqueue::Policy => fair.vruntime.set(self.least - fair.lag.get()),
        }
        if self.running.is_some_and(|(id, _)| id == thread.id()) {
            self.running = None;
        }
        self.weight += u64::from(thread.weight());
        let vruntime = thread.fair().vruntime.get();
        self.waiting.insert(thread, vruntime, 0);
    }

    fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        let thread = self.waiting.remove(|entity| entity.id() == id)?;
        self.removed(&thread);
        self.left(&thread);
        Some(thread)
    }

    fn pick(&mut self, current: Option<&Entity>, _now: Instant) -> Option<Runnable> {
        if let Some(current) = current {
            let first = self.waiting.first()?.fair().vruntime.get();
            let behind = current.fair().vruntime.get() - first;
            let wakes = behind > scaled(self.granularity, current.weight())
                && current.slice_used() >= self.granularity;
            if behind <= 0 || !current.slice_expired() && !wakes {
                return None;
            }
        }
        let picked = self.waiting.pop_first()?;
        self.removed(&picked);
        self.running = Some((picked.id(), picked.fair().vruntime.get()));
        Some(picked)
    }

    fn give(&mut self, to: CpuId) -> Option<Runnable> {
        let thread = self.waiting.remove(|entity| entity.may_run_on(to))?;
        self.removed(&thread);
        self.left(&thread);
        Some(thread)
    }

    fn charge(&mut self, current: &Entity, ran: Duration) {
        advance(current, ran);
        self.running = Some((current.id(), current.fair().vruntime.get()));
        self.advance_least();
    }

    fn depart(&mut self, current: &Entity) {
        self.left(current);
        if self.running.is_some_and(|(id, _)| id == current.id()) {
            self.running = None;
        }
    }

    fn preempts(&self, current: &Entity) -> bool {
        let Some(first) = self.waiting.first().filter(|first| first.may_preempt()) else { return false };
        let behind = current.fair().vruntime.get() - first.fair().vruntime.get();
        behind > scaled(self.granularity, first.weight()) && current.slice_used() >= self.granularity
    }

    fn slice(&self, current: &Entity) -> Option<Duration> {
        Some(self.slice_of(current))
    }

    fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.waiting.each(visit);
    }
}
