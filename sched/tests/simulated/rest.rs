//! A simulated machine comes to rest: what must then hold, and how it ends.

use crate::machine::{Check, Doing, Machine, Model, RAN, ensure};
use sched::{Class, CpuId, CpuSet, Platform, Policy, Thread, ThreadId};
use std::sync::Arc;

impl Machine {
    /// Lets everything happen that is under way, and checks that nothing that should happen was forgotten. Work is
    /// conserved at once where all threads may run everywhere, and otherwise after as many ticks as there are CPUs.
    pub fn settle(&mut self) -> Check {
        self.come_to_rest()?;
        let online = self.core.machine().online();
        let bound = |model: &Model| is_bound(&model.thread) || model.thread.affinity().and(&online) != online;
        let pinned = |model: &Model| model.doing != Doing::Dead && bound(model);
        let patience = if self.threads.values().any(pinned) { self.cpu_ids().len() } else { 0 };
        for _ in 0..patience {
            if self.wasted().is_none() {
                break;
            }
            for cpu in online.iter().filter(|cpu| self.running(*cpu).is_some()).collect::<Vec<_>>() {
                self.tick(cpu, RAN)?;
            }
            self.come_to_rest()?;
        }
        match self.wasted() {
            Some((cpu, id)) => {
                Err(format!("{cpu} idles while {id} waits on {}", self.model(id).thread.cpu()))
            }
            None => Ok(()),
        }
    }

    /// An idle CPU and a thread that waits elsewhere, if the balancer promises that there is none.
    fn wasted(&self) -> Option<(CpuId, ThreadId)> {
        self.idle_while_waiting().filter(|_| self.conserves_work)
    }

    /// An idle CPU and a thread that waits elsewhere and could run there.
    pub fn idle_while_waiting(&self) -> Option<(CpuId, ThreadId)> {
        let idle = self.core.machine().online().iter().filter(|cpu| self.running(*cpu).is_none());
        let free = |model: &Model| model.doing == Doing::Ready && !is_bound(&model.thread);
        let ready = || self.threads.iter().filter(|(_, model)| free(model));
        let taker = |cpu| ready().find(|(_, model)| model.thread.may_run_on(cpu)).map(|(id, _)| (cpu, *id));
        idle.filter_map(taker).next()
    }

    /// Goes on until no CPU has a reason to do anything.
    pub fn come_to_rest(&mut self) -> Check {
        let cpus: Vec<_> = self.cpu_ids().collect();
        self.fire_events();
        for round in 0.. {
            ensure!(round < 1_000, "the machine does not come to rest");
            if !cpus.iter().any(|cpu| self.has_a_reason(*cpu)) {
                break;
            }
            for cpu in &cpus {
                self.go_on(*cpu)?;
            }
        }
        let machine = self.core.machine();
        for cpu in machine.online().iter() {
            ensure!(!self.core.needs_reschedule(cpu), "{cpu} should reschedule and does not know it");
            let idle = self.running(cpu).is_none();
            ensure!(!idle || machine.waiting(cpu) == 0, "{cpu} sleeps while a thread waits on it");
            let now = self.core.platform().now();
            let late = self.core.next_event(cpu).filter(|at| *at <= now);
            ensure!(late.is_none(), "{cpu} did not act on an event, and its timer fires again and again");
        }
        let wasteful = self.could_be_taken();
        let counted = machine.violations().present(self.core.platform().now()).is_some();
        ensure!(counted == wasteful, "work is wasted: {wasteful}, and counted as such: {counted}");
        Ok(())
    }

    /// Whether a CPU in the idle mask may take a thread that waits.
    fn could_be_taken(&self) -> bool {
        let idle = self.core.machine().idle();
        let mut any = false;
        for cpu in self.cpu_ids() {
            self.core.each_waiting(cpu, &mut |entity| {
                let thread = entity.thread();
                any |= !is_bound(thread) && !thread.affinity().and(&idle).is_empty();
            });
        }
        any
    }

    /// How many proposals of the policies the core had to repair.
    pub fn repairs(&self) -> u64 {
        self.cpu_ids().map(|cpu| self.core.repairs(cpu)).sum()
    }

    /// Ends all threads: each is woken, allowed everywhere, and exits when it runs. A thread that the policies lost
    /// never does.
    pub fn drain(&mut self) -> Check {
        let online = self.core.machine().online();
        let here = online.first().ok_or("no CPU is online")?;
        for cpu in self.cpu_ids().collect::<Vec<_>>() {
            self.finish(cpu)?;
        }
        for id in self.threads.keys().copied().collect::<Vec<_>>() {
            self.set_affinity(id, CpuSet::ALL, here)?;
            self.set_policy(id, Policy::default(), here)?;
            self.wake(id, here)?;
        }
        for _ in 0..=2 * self.threads.len() {
            self.settle()?;
            for cpu in online.iter() {
                self.exit(cpu)?;
            }
        }
        self.settle()?;
        match self.threads.iter().find(|(_, model)| model.doing != Doing::Dead) {
            Some((id, model)) => Err(format!("{id} never got to its end: it is {:?}", model.doing)),
            None => Ok(()),
        }
    }

    /// After [`drain`](Self::drain): each thread's memory comes back when its last user lets go of it.
    pub fn all_memory_comes_back(self) -> Check {
        for (id, model) in self.threads {
            ensure!(Arc::strong_count(&model.thread) == 1, "something still holds {id}");
        }
        Ok(())
    }
}

/// Whether it stays where it was admitted: no CPU may take it.
fn is_bound(thread: &Thread) -> bool {
    thread.policy().class() == Class::Deadline
}
