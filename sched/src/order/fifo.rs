//! First in, first out: each thread runs until it blocks, yields or exits, as SCHED_FIFO at one priority (man 7 sched).

use super::{Enqueue, Entry, RunQueue};
use crate::{Entity, List, Runnable};
use alloc::boxed::Box;
use formats::{CpuId, Duration, Instant, ThreadId};

pub static FIFO: Entry = Entry {
    name: "fifo",
    summary: "in order of arrival, each until it blocks, yields or exits",
    preemptive: false,
    new: |_| Box::new(Fifo { waiting: List::new() }),
};

struct Fifo {
    waiting: List,
}

impl RunQueue for Fifo {
    fn enqueue(&mut self, thread: Runnable, why: Enqueue, _now: Instant) {
        match why {
            // It had not finished its turn.
            Enqueue::Preempt => self.waiting.push_front(thread),
            _ => self.waiting.push_back(thread),
        }
    }

    fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        self.waiting.remove(|entity| entity.id() == id)
    }

    fn pick(&mut self, current: Option<&Entity>, _now: Instant) -> Option<Runnable> {
        match current {
            Some(_) => None,
            None => self.waiting.pop_front(),
        }
    }

    fn give(&mut self, to: CpuId) -> Option<Runnable> {
        self.waiting.remove(|entity| entity.may_run_on(to))
    }

    fn slice(&self, _current: &Entity) -> Option<Duration> {
        None
    }

    fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.waiting.iter().for_each(visit);
    }
}
