//! As FreeBSD's ULE: threads stay with their CPU; idle CPUs pull; twice a second the longest queue is evened out with the
//! shortest.
//!
//! J. Roberson, "ULE: a modern scheduler for FreeBSD", BSDCon 2003: pulling keeps CPUs from idling, and pushing keeps
//! those that are all busy from being busy unequally, which pulling never notices. A thread moves to the least loaded CPU
//! when it begins another program, which is when it has least to lose.

use super::{Amount, Balancer, Entry, Move, Placement, ThreadView, Victims, loaded_by_distance, near};
use crate::MachineView;
use alloc::boxed::Box;
use formats::{CpuId, Duration};

pub static ULE: Entry = Entry {
    name: "ule",
    summary: "threads stay, idle CPUs pull, and twice a second the longest queue gives to the shortest, as in FreeBSD",
    conserves_work: true,
    new: |_| Box::new(Ule),
};

struct Ule;

const PERIOD: Duration = Duration::from_millis(500);

impl Balancer for Ule {
    fn place(&self, thread: &ThreadView, why: Placement, machine: &MachineView) -> CpuId {
        match why {
            Placement::Exec => machine.least_loaded(&thread.allowed, thread.last).unwrap_or(thread.last),
            _ => near(thread.last, thread, machine),
        }
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        loaded_by_distance(cpu, machine)
    }

    fn pulls(&self) -> bool {
        true
    }

    fn on_balance(&self, cpu: CpuId, machine: &MachineView) -> Option<Move> {
        let online = machine.online();
        if online.first() != Some(cpu) {
            return None;
        }
        let from = machine.longest_queue(&online, cpu)?;
        let to = machine.least_loaded(&online, from)?;
        let difference = machine.load(from).saturating_sub(machine.load(to));
        (difference > 1).then_some(Move { from, to, amount: Amount::AtMost(difference as usize / 2) })
    }

    fn next_balance(&self, _cpu: CpuId, machine: &MachineView) -> Option<Duration> {
        (machine.topology().cpus() > 1).then_some(PERIOD)
    }
}
