//! Stride scheduling: proportional shares without chance.
//!
//! C. A. Waldspurger and W. E. Weihl, "Stride scheduling: deterministic proportional-share resource management", MIT
//! LCS TM-528, 1995.
//!
//! ```text
//! stride    = a constant / tickets (the weight)
//! next      = the least pass, for a quantum
//! used time : pass += stride * used / quantum
//! leaving   : remain = pass - global pass; joining: pass = global pass + remain
//! ```
//!
//! With virtual time as the unit of passes, the stride of a quantum is what virtual time a quantum takes.

use super::virtual_time::{UNIT, advance, scaled};
use super::{Enqueue, Entry, RunQueue};
use crate::{Config, Entity, Runnable, Tree};
use alloc::boxed::Box;
use formats::{CpuId, Duration, Instant, ThreadId};

pub static STRIDE: Entry = Entry {
    name: "stride",
    summary: "proportional shares: the least pass, which grows with time used by weight",
    preemptive: true,
    new: |config| Box::new(Stride::new(config)),
};

struct Stride {
    /// By pass.
    waiting: Tree,
    /// Tickets of all that compete, the thread that runs included.
    tickets: u64,
    running: Option<(ThreadId, u32)>,
    global_pass: i64,
    quantum: Duration,
}

impl Stride {
    fn new(config: &Config) -> Self {
        Self { waiting: Tree::new(), tickets: 0, running: None, global_pass: 0, quantum: config.quantum }
    }

    fn leave(&mut self, thread: &Entity) {
        self.tickets -= u64::from(thread.weight());
        let fair = thread.fair();
        let quantum = scaled(self.quantum, thread.weight());
        fair.lag.set((fair.vruntime.get() - self.global_pass).clamp(-quantum, quantum));
    }
}

impl RunQueue for Stride {
    fn enqueue(&mut self, thread: Runnable, why: Enqueue, _now: Instant) {
        let fair = thread.fair();
        if matches!(why, Enqueue::Preempt | Enqueue::Yield) {
            self.running = self.running.filter(|(id, _)| *id != thread.id());
            if why == Enqueue::Yield
                && let Some(first) = self.waiting.first()
            {
                // Behind the next one, or it would be picked again at once.
                fair.vruntime.set(fair.vruntime.get().max(first.fair().vruntime.get() + 1));
            }
        } else {
            let remain = match why {
                // A new thread has all of its first stride before it.
                Enqueue::Fork | Enqueue::Order => scaled(self.quantum, thread.weight()),
                _ => fair.lag.get(),
            };
            self.tickets += u64::from(thread.weight());
            fair.vruntime.set(self.global_pass + remain);
        }
        let pass = thread.fair().vruntime.get();
        self.waiting.insert(thread, pass, 0);
    }

    fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        let thread = self.waiting.remove(|entity| entity.id() == id)?;
        self.leave(&thread);
        Some(thread)
    }

    fn pick(&mut self, current: Option<&Entity>, _now: Instant) -> Option<Runnable> {
        if let Some(current) = current {
            let first = self.waiting.first()?.fair().vruntime.get();
            if !current.slice_expired() || current.fair().vruntime.get() < first {
                return None;
            }
        }
        let picked = self.waiting.pop_first()?;
        self.running = Some((picked.id(), picked.weight()));
        Some(picked)
    }

    fn give(&mut self, to: CpuId) -> Option<Runnable> {
        let thread = self.waiting.remove(|entity| entity.may_run_on(to))?;
        self.leave(&thread);
        Some(thread)
    }

    fn charge(&mut self, current: &Entity, ran: Duration) {
        if self.running.is_none_or(|(id, _)| id != current.id()) {
            // It ran before this order was chosen.
            self.tickets += u64::from(current.weight());
            self.running = Some((current.id(), current.weight()));
            current.fair().vruntime.set(self.global_pass);
        }
        advance(current, ran);
        let global = i128::from(ran.as_ticks()) * i128::from(UNIT) / i128::from(self.tickets.max(1));
        self.global_pass = self.global_pass.saturating_add(global as i64);
    }

    fn depart(&mut self, current: &Entity) {
        if self.running.take_if(|(id, _)| *id == current.id()).is_some() {
            self.leave(current);
        }
    }

    fn slice(&self, _current: &Entity) -> Option<Duration> {
        Some(self.quantum)
    }

    fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.waiting.each(visit);
    }
}
