//! Stealing half: an idle CPU takes half of what waits at a random victim.
//!
//! D. Hendler and N. Shavit, "Non-blocking steal-half work queues", PODC 2002: work spreads over n CPUs in about log n steals,
//! where taking one at a time needs one steal for each thread.

use super::{Amount, Balancer, Entry, Placement, ThreadView, Victims, loaded_at_random, near};
use crate::MachineView;
use alloc::boxed::Box;
use formats::CpuId;

pub static STEAL_HALF: Entry = Entry {
    name: "steal_half",
    summary: "threads stay, and an idle CPU takes half of those that wait on a random loaded CPU",
    conserves_work: true,
    new: |_| Box::new(StealHalf),
};

struct StealHalf;

impl Balancer for StealHalf {
    fn place(&self, thread: &ThreadView, _why: Placement, machine: &MachineView) -> CpuId {
        near(thread.last, thread, machine)
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        loaded_at_random(cpu, machine).taking(Amount::Half)
    }

    fn pulls(&self) -> bool {
        true
    }
}
