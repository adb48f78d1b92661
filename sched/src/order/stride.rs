//! Stride scheduling: proportional shares without chance.
//!
//! C. A. Waldspurger and W. E. Weihl, "Stride scheduling: deterministic proportional-share resource management", MIT
//! LCS TM-528, 1995.
//!
//! ```text
//! stride(i)   = a constant / tickets(i)
//! next        = the least pass, for a quantum
//! time used   : pass(i)     += stride(i) * used / quantum
//!               global pass += the constant / all tickets * used / quantum
//! leaving     : remain(i) = pass(i) - global pass
//! joining     : pass(i)   = global pass + remain(i); a new thread has a whole stride before it
//! ```
//!
//! A thread has as many tickets as weight, and passes are virtual time: the stride is the virtual time of a quantum.

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
    /// Of all that compete.
    tickets: u64,
    global_pass: i64,
    /// What rounding has kept back of the global pass, in parts of the tickets.
    rest: u128,
    quantum: Duration,
}

impl Stride {
    fn new(config: &Config) -> Self {
        Self { waiting: Tree::new(), tickets: 0, global_pass: 0, rest: 0, quantum: config.quantum }
    }

    fn stride(&self, entity: &Entity) -> i64 {
        scaled(self.quantum, entity.weight())
    }

    fn join(&mut self, entity: &Entity, why: Enqueue) {
        let remain = match why {
            Enqueue::Fork | Enqueue::Order => self.stride(entity),
            _ => entity.fair().lag.get(),
        };
        entity.fair().vruntime.set(self.global_pass + remain);
        self.tickets += u64::from(entity.weight());
    }

    fn leave(&mut self, entity: &Entity) {
        let fair = entity.fair();
        fair.lag.set(fair.vruntime.get() - self.global_pass);
        self.tickets -= u64::from(entity.weight());
    }

    /// Takes out the first that waits and is `wanted`; it goes elsewhere.
    fn take(&mut self, wanted: impl Fn(&Entity) -> bool) -> Option<Runnable> {
        let thread = self.waiting.remove(wanted)?;
        self.leave(&thread);
        Some(thread)
    }

    fn advance_global_pass(&mut self, ran: Duration) {
        let (used, tickets) = (u128::from(ran.as_ticks()) * UNIT as u128, u128::from(self.tickets.max(1)));
        let sum = used + self.rest;
        self.global_pass += (sum / tickets) as i64;
        self.rest = sum % tickets;
    }
}

impl RunQueue for Stride {
    fn enqueue(&mut self, thread: Runnable, why: Enqueue, _now: Instant) {
        match why {
            Enqueue::Preempt => {}
            Enqueue::Yield => {
                // Behind the next one, or it would be picked again at once.
                if let Some(first) = self.waiting.first() {
                    let pass = &thread.fair().vruntime;
                    pass.set(pass.get().max(first.fair().vruntime.get() + 1));
                }
            }
            _ => self.join(&thread, why),
        }
        let pass = thread.fair().vruntime.get();
        self.waiting.insert(thread, pass, 0);
    }

    fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        self.take(|entity| entity.id() == id)
    }

    fn pick(&mut self, current: Option<&Entity>, _now: Instant) -> Option<Runnable> {
        if let Some(current) = current {
            let first = self.waiting.first()?.fair().vruntime.get();
            if !current.slice_expired() || current.fair().vruntime.get() < first {
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
        self.advance_global_pass(ran);
    }

    fn adopt(&mut self, current: &Entity) {
        self.join(current, Enqueue::Policy);
    }

    fn depart(&mut self, current: &Entity) {
        self.leave(current);
    }

    fn slice(&self, _current: &Entity) -> Option<Duration> {
        Some(self.quantum)
    }

    fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.waiting.each(visit);
    }
}
