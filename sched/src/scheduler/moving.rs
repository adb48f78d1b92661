//! Moving threads that may not stay where they are.

use crate::{Cause, Core, Enqueue, Placement, Platform, Thread};
use formats::{CpuId, CpuSet};

impl<P: Platform> Core<P> {
    /// From now on `thread` runs only on CPUs of `set`. A waiting thread moves at once; a running one leaves its CPU
    /// as soon as that reschedules, for which it is called: when it is the caller's own thread, the caller must see
    /// to that. CPUs that the machine does not have are ignored. When none of `set` is online, the thread runs
    /// anywhere.
    pub fn set_affinity(&self, thread: &Thread, set: CpuSet, here: CpuId) {
        thread.store_affinity(set.and(&self.machine.topology().all()));
        self.platform.interleave();
        // Whoever takes it elsewhere from here on will look at the new set on arrival, because that writes `cpu` first.
        let at = thread.cpu();
        let mut queue = self.lock(at);
        if self.may_stay(thread, at, queue.online) {
            let waits = queue.waiting() > 0;
            drop(queue);
            if waits {
                // It may have become welcome on a CPU that is idle.
                self.offer(at, &thread.affinity(), here);
            }
            return;
        }
        if queue.current().id() == thread.id() {
            drop(queue);
            self.call(at, here);
            return;
        }
        // If it is not in the queue, it sleeps or is in somebody's hands.
        let token = queue.remove(at, thread.id(), &self.machine);
        drop(queue);
        if let Some(token) = token {
            self.settle_in(token, Placement::Move, Cause::Affinity, Enqueue::Migrate, here);
        }
    }

    /// Makes the CPU on which `thread` runs enter the kernel soon, if it is another: for a thread that must notice
    /// something there, such as a signal.
    pub fn interrupt(&self, thread: &Thread, here: CpuId) {
        let at = thread.cpu();
        if at != here {
            self.call(at, here);
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
