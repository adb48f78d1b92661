//! The completely fair scheduler, as in Linux before 6.6: the thread with the least virtual time runs. For comparison.
//!
//! Linux's `sched-design-CFS.rst`.
//!
//! ```text
//! next      = the least vruntime
//! slice     = latency * weight / total weight, at least the granularity
//! least     = the least vruntime of all that compete; it never goes back
//! fork      : vruntime = least + one slice: a new thread waits its turn
//! sleep     : vruntime is kept; on waking it is at least least - latency / 2: a sleeper's bonus is bounded
//! migration : vruntime is kept relative to least
//! preempt   : a woken thread runs at once if the current one is ahead of it by more than the granularity
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
    /// Of all that compete.
    weight: u64,
    least: i64,
    granularity: Duration,
}

impl Cfs {
    fn new(config: &Config) -> Self {
        Self { waiting: Tree::new(), weight: 0, least: 0, granularity: config.tick }
    }

    /// `current` runs and competes.
    fn advance_least(&mut self, current: Option<&Entity>) {
        let vruntime = |entity: &Entity| entity.fair().vruntime.get();
        let all = current.into_iter().chain(self.waiting.first());
        self.least = self.least.max(all.map(vruntime).min().unwrap_or(self.least));
    }

    /// The slice of a thread of `weight` among those that compete, which it may not do yet.
    fn slice_among(&self, weight: u32, all: u64) -> Duration {
        let share = LATENCY.as_ticks() * u64::from(weight) / all.max(1);
        Duration::from_ticks(share).max(self.granularity)
    }

    fn join(&mut self, entity: &Entity, why: Enqueue) {
        let (fair, weight) = (entity.fair(), entity.weight());
        let stayed = fair.left_at.get() == Some(entity.thread().cpu());
        let relative = self.least - fair.lag.get();
        fair.vruntime.set(match why {
            Enqueue::Fork | Enqueue::Order => {
                let slice = self.slice_among(weight, self.weight + u64::from(weight));
                self.least + scaled(slice, weight)
            }
            Enqueue::Wake => {
                let own = if stayed { fair.vruntime.get() } else { relative };
                own.max(self.least - scaled(LATENCY / 2, UNIT as u32))
            }
            _ => relative,
        });
        self.weight += u64::from(weight);
    }

    fn leave(&mut self, entity: &Entity) {
        let fair = entity.fair();
        fair.lag.set(self.least - fair.vruntime.get());
        self.weight -= u64::from(entity.weight());
    }

    /// Takes out the first that waits and is `wanted`; it goes elsewhere.
    fn take(&mut self, wanted: impl Fn(&Entity) -> bool) -> Option<Runnable> {
        let thread = self.waiting.remove(wanted)?;
        self.leave(&thread);
        Some(thread)
    }

    /// Whether `current` is ahead of the first that waits by more than the granularity.
    fn is_ahead(&self, current: &Entity, first: &Entity) -> bool {
        let ahead = current.fair().vruntime.get() - first.fair().vruntime.get();
        ahead > scaled(self.granularity, first.weight()) && current.slice_used() >= self.granularity
    }
}

impl RunQueue for Cfs {
    fn enqueue(&mut self, thread: Runnable, why: Enqueue, _now: Instant) {
        if !matches!(why, Enqueue::Preempt | Enqueue::Yield) {
            self.join(&thread, why);
        }
        let vruntime = thread.fair().vruntime.get();
        self.waiting.insert(thread, vruntime, 0);
    }

    fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        self.take(|entity| entity.id() == id)
    }

    fn pick(&mut self, current: Option<&Entity>, _now: Instant) -> Option<Runnable> {
        if let Some(current) = current {
            let first = self.waiting.first()?;
            let ahead = current.fair().vruntime.get() > first.fair().vruntime.get();
            if !(ahead && current.slice_expired() || self.is_ahead(current, first)) {
                return None;
            }
        }
        self.waiting.pop_first()
    }

    fn give(&mut self, to: CpuId) -> Option<Runnable> {
        self.take(|entity| entity.may_run_on(to))
    }

    fn charge(&mut self, current: &Entity, ran: Duration) {
        advance(current, ran);
        self.advance_least(Some(current));
    }

    fn adopt(&mut self, current: &Entity) {
        self.join(current, Enqueue::Policy);
    }

    fn depart(&mut self, current: &Entity) {
        self.leave(current);
        self.advance_least(None);
    }

    fn preempts(&self, current: &Entity) -> bool {
        self.waiting.first().is_some_and(|first| first.may_preempt() && self.is_ahead(current, first))
    }

    fn slice(&self, current: &Entity) -> Option<Duration> {
        Some(self.slice_among(current.weight(), self.weight))
    }

    fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.waiting.each(visit);
    }
}
