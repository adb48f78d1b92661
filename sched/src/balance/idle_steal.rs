//! Work stealing: threads stay where they were made or last ran, and idle CPUs come and take them.
//!
//! R. D. Blumofe and C. E. Leiserson, "Scheduling multithreaded computations by work stealing", Journal of the ACM
//! 46(5), 1999. Theirs picks victims at random, because a thief there cannot see the queues; here it can, so it goes
//! to the nearest loaded one.

use super::{Balancer, Entry, Placement, ThreadView, Victims, loaded_by_distance, near};
use crate::MachineView;
use alloc::boxed::Box;
use formats::CpuId;

pub static IDLE_STEAL: Entry = Entry {
    name: "idle_steal",
    summary: "threads stay, and idle CPUs take them from the nearest loaded CPU",
    conserves_work: true,
    new: |_| Box::new(IdleSteal),
};

struct IdleSteal;

impl Balancer for IdleSteal {
    fn place(&self, thread: &ThreadView, _why: Placement, machine: &MachineView) -> CpuId {
        near(thread.last, thread, machine)
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        loaded_by_distance(cpu, machine)
    }

    fn pulls(&self) -> bool {
        true
    }
}
