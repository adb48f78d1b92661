//! Policies that are wrong on purpose: what the watchdog of a running machine must notice, and replace.
//!
//! Compiled only with the feature `planted`, so that no kernel has them that is not built for a test. They are not among
//! [`order::orders`] and [`balance::balancers`](crate::balance::balancers), which all tests of good policies go through.

use crate::{
    Balancer, Enqueue, Entity, List, MachineView, Placement, RunQueue, Runnable, ThreadView, Victims,
    balance, order,
};
use alloc::boxed::Box;
use formats::{CpuId, Duration, Instant, ThreadId};

/// All of these balancers.
pub static BALANCERS: [&balance::Entry; 3] = [&IMPOSSIBLE, &PANICKING, &WASTEFUL];

/// All of these orders.
pub static ORDERS: [&order::Entry; 1] = [&STARVING];

pub static IMPOSSIBLE: balance::Entry = balance::Entry {
    name: "planted_impossible",
    summary: "proposes CPUs that the machine does not have",
    conserves_work: false,
    new: |_| Box::new(Impossible),
};

struct Impossible;

impl Balancer for Impossible {
    fn place(&self, thread: &ThreadView, _: Placement, machine: &MachineView) -> CpuId {
        CpuId(machine.topology().cpus() as u32 + thread.id.0 % 1000)
    }

    fn on_idle(&self, _: CpuId, machine: &MachineView) -> Victims {
        core::iter::once(CpuId(machine.topology().cpus() as u32)).collect()
    }

    fn pulls(&self) -> bool {
        true
    }
}

pub static PANICKING: balance::Entry = balance::Entry {
    name: "planted_panicking",
    summary: "panics when it places every hundredth thread",
    conserves_work: false,
    new: |_| Box::new(Panicking),
};

struct Panicking;

impl Balancer for Panicking {
    fn place(&self, thread: &ThreadView, _: Placement, machine: &MachineView) -> CpuId {
        assert!(machine.random(thread.here, 100) != 0, "this balancer does not like {}", thread.id);
        thread.last
    }
}

pub static WASTEFUL: balance::Entry = balance::Entry {
    name: "planted_wasteful",
    summary: "promises to conserve work, and keeps all threads on one CPU",
    conserves_work: true,
    new: |_| Box::new(Wasteful),
};

struct Wasteful;

impl Balancer for Wasteful {
    fn place(&self, thread: &ThreadView, _: Placement, _: &MachineView) -> CpuId {
        thread.allowed.first().unwrap_or(thread.last)
    }
}

pub static STARVING: order::Entry = order::Entry {
    name: "planted_starving",
    summary: "each eighth thread runs only when no other waits",
    preemptive: true,
    new: |config| Box::new(Starving { waiting: List::new(), quantum: config.quantum }),
};

struct Starving {
    waiting: List,
    quantum: Duration,
}

fn is_disliked(entity: &Entity) -> bool {
    entity.id().0.is_multiple_of(8)
}

impl RunQueue for Starving {
    fn enqueue(&mut self, thread: Runnable, _: Enqueue, _: Instant) {
        self.waiting.push_back(thread);
    }

    fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        self.waiting.remove(|entity| entity.id() == id)
    }

    fn pick(&mut self, current: Option<&Entity>, _: Instant) -> Option<Runnable> {
        match current {
            Some(current) if !current.slice_expired() => None,
            Some(_) => self.waiting.remove(|entity| !is_disliked(entity)),
            None => self.waiting.remove(|entity| !is_disliked(entity)).or_else(|| self.waiting.pop_front()),
        }
    }

    fn give(&mut self, to: CpuId) -> Option<Runnable> {
        self.waiting.remove(|entity| !is_disliked(entity) && entity.may_run_on(to))
    }

    fn slice(&self, _: &Entity) -> Option<Duration> {
        Some(self.quantum)
    }

    fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.waiting.iter().for_each(visit);
    }
}
