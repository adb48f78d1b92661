//! Seeded random decisions, each of them legal: to shake out what a kernel or a program takes for granted.
//!
//! As a model checker tries interleavings, this tries placements and migrations that no sane policy would make, and makes
//! the same ones again for the same seed.

use super::{Amount, Balancer, Entry, Move, Placement, ThreadView, Victims};
use crate::MachineView;
use alloc::boxed::Box;
use formats::{CpuId, Duration};

pub static CHAOS: Entry = Entry {
    name: "chaos",
    summary: "random decisions, for finding races: the same ones for the same seed",
    conserves_work: false,
    new: |_| Box::new(Chaos),
};

struct Chaos;

/// The pause between two balancing calls on a CPU is random up to this.
const LONGEST_PAUSE_MS: usize = 20;

impl Balancer for Chaos {
    fn place(&self, thread: &ThreadView, _why: Placement, machine: &MachineView) -> CpuId {
        machine.draw(&thread.allowed, thread.here).unwrap_or(thread.last)
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        let wanted = machine.random(cpu, Victims::CAPACITY);
        let victims: Victims = (0..wanted).filter_map(|_| machine.draw(&machine.online(), cpu)).collect();
        victims.taking(amount(cpu, machine))
    }

    fn pulls(&self) -> bool {
        true
    }

    fn on_balance(&self, cpu: CpuId, machine: &MachineView) -> Option<Move> {
        let online = machine.online();
        let (from, to) = (machine.draw(&online, cpu)?, machine.draw(&online, cpu)?);
        Some(Move { from, to, amount: amount(cpu, machine) })
    }

    fn next_balance(&self, cpu: CpuId, machine: &MachineView) -> Option<Duration> {
        Some(Duration::from_millis(1 + machine.random(cpu, LONGEST_PAUSE_MS) as u64))
    }
}

fn amount(cpu: CpuId, machine: &MachineView) -> Amount {
    match machine.random(cpu, 3) {
        0 => Amount::One,
        1 => Amount::Half,
        _ => Amount::AtMost(machine.random(cpu, 8)),
    }
}
