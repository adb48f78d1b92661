//! Round robin: each thread in turn, for a quantum.

use super::{Enqueue, Entry, RunQueue};
use crate::{Config, Entity, List, Runnable};
use alloc::boxed::Box;
use formats::{CpuId, Duration, Instant, ThreadId};

pub static ROUND_ROBIN: Entry = Entry {
    name: "round_robin",
    summary: "each thread in turn, for a quantum",
    preemptive: true,
    new: |config| Box::new(RoundRobin::new(config)),
};

struct RoundRobin {
    waiting: List,
    quantum: Duration,
}

impl RoundRobin {
    fn new(config: &Config) -> Self {
        Self { waiting: List::new(), quantum: config.quantum }
    }
}

impl RunQueue for RoundRobin {
    fn enqueue(&mut self, thread: Runnable, _why: Enqueue, _now: Instant) {
        self.waiting.push_back(thread);
    }

    fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        self.waiting.remove(|entity| entity.id() == id)
    }

    fn pick(&mut self, current: Option<&Entity>, _now: Instant) -> Option<Runnable> {
        match current {
            Some(current) if !current.slice_expired() => None,
            _ => self.waiting.pop_front(),
        }
    }

    fn give(&mut self, to: CpuId) -> Option<Runnable> {
        self.waiting.remove(|entity| entity.may_run_on(to))
    }

    fn slice(&self, _current: &Entity) -> Option<Duration> {
        Some(self.quantum)
    }

    fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.waiting.iter().for_each(visit);
    }
}
