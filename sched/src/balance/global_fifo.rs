//! One queue for the whole machine: each CPU takes the next thread from it, and puts back the one whose slice is over.
//!
//! The classical scheduler of early multiprocessors, and of queueing theory (M/M/n): none waits while a CPU idles, and all
//! wait alike. Its price is the lock of the one queue, and caches that are cold after each slice.
//!
//! The queue is that of the lowest CPU where the thread may run. So that all wait in one order, pick an order that gives
//! the oldest: `round_robin` or `fifo`. Coming to that CPU and leaving it are counted as migrations.

use super::{Balancer, Entry, Placement, ThreadView, Victims, loaded_by_distance};
use crate::MachineView;
use alloc::boxed::Box;
use formats::CpuId;

pub static GLOBAL_FIFO: Entry = Entry {
    name: "global_fifo",
    summary: "one queue that all CPUs share",
    conserves_work: true,
    new: |_| Box::new(GlobalFifo),
};

struct GlobalFifo;

impl Balancer for GlobalFifo {
    fn place(&self, thread: &ThreadView, _why: Placement, machine: &MachineView) -> CpuId {
        let idle = machine.idle().and(&thread.allowed);
        if idle.contains(thread.last) {
            return thread.last;
        }
        let queue = thread.allowed.first().unwrap_or(thread.last);
        idle.first().unwrap_or(queue)
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        loaded_by_distance(cpu, machine)
    }

    fn pulls(&self) -> bool {
        true
    }

    fn shares_queue(&self) -> bool {
        true
    }
}
