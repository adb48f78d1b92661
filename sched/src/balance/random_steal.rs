//! Randomized work stealing: an idle CPU takes the oldest thread of a victim that it draws at random.
//!
//! R. D. Blumofe and C. E. Leiserson, "Scheduling multithreaded computations by work stealing", Journal of the ACM 46(5),
//! 1999. A thief there draws until it meets a victim that has work; that is a uniform draw among those that have, which
//! this view of the machine can do at once. Chance keeps several thieves from meeting at one queue.

use super::{Balancer, Entry, Placement, ThreadView, Victims, loaded_at_random, near};
use crate::MachineView;
use alloc::boxed::Box;
use formats::CpuId;

pub static RANDOM_STEAL: Entry = Entry {
    name: "random_steal",
    summary: "threads stay, and an idle CPU takes one from a random loaded CPU",
    conserves_work: true,
    new: |_| Box::new(RandomSteal),
};

struct RandomSteal;

impl Balancer for RandomSteal {
    fn place(&self, thread: &ThreadView, _why: Placement, machine: &MachineView) -> CpuId {
        near(thread.last, thread, machine)
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        loaded_at_random(cpu, machine)
    }

    fn pulls(&self) -> bool {
        true
    }
}
