//! Moving threads that may not stay where they are.

use crate::{Cause, Core, Enqueue, Placement, Platform, Thread};
use formats::{CpuId, CpuSet};

impl<P: Platform> Core<P> {
    /// From now on `thread` runs only on CPUs of `set`. A waiting thread moves at once; a running one leaves its CPU
    /// as soon as that reschedules, for which it is called: when it is the caller's own thread, the caller must see
    /// to that. CPUs that the machine does not have are ignored. When none of `set` is online, the thread runs
    /// anywhere until one is.
    pub fn set_affinity(&self, thread: &Thread, set: CpuSet, here: CpuId) {
        thread.store_affinity(set.and(&self.machine.topology().all()));
        self.platform.interleave();
        loop {
            let at = thread.cpu();
            let mut queue = self.lock(at);
            if thread.cpu() != at {
                // It moved on.
                continue;
            }
            if queue.current.as_ref().is_some_and(|current| current.id() == thread.id()) {
                let stays =
                    queue.current.as_ref().is_some_and(|current| self.may_stay(current, at, queue.online));
                drop(queue);
                if !stays {
                    self.call(at, here);
                }
                return;
            }
            let Some(token) = queue.remove(at, thread.id(), &self.machine) else {
                // It sleeps, or somebody has it in hand and will look at the new set when it arrives.
                return;
            };
            if self.may_stay(&token, at, queue.online) {
                let since = queue.since;
                queue.push(at, token, Enqueue::Preempt, since, &self.machine);
                drop(queue);
                self.offer(at, &thread.affinity(), here);
            } else {
                drop(queue);
                self.settle_in(token, Placement::Move, Cause::Affinity, Enqueue::Migrate, here);
            }
            return;
        }
    }

    /// `cpu` runs no more threads: those that wait there go elsewhere, and the one that runs leaves when the CPU
    /// reschedules, for which it is called. At least one other CPU must be online.
    pub fn take_offline(&self, cpu: CpuId, here: CpuId) {
        self.machine.online.remove(cpu);
        self.lock(cpu).online = false;
        self.machine.idle.remove(cpu);
        loop {
            let now = self.platform.now();
            let mut queue = self.lock(cpu);
            if queue.waiting() == 0 {
                break;
            }
            let Some(token) = queue.pick(cpu, false, now, &self.machine) else { break };
            drop(queue);
            self.settle_in(token, Placement::Move, Cause::Offline, Enqueue::Migrate, here);
        }
        self.call(cpu, here);
    }
}
