//! Two choices: of two CPUs drawn at random, the less loaded one gets the thread.
//!
//! M. Mitzenmacher, "The power of two choices in randomized load balancing", IEEE Transactions on Parallel and
//! Distributed Systems 12(10), 2001: the longest queue grows as log log n instead of log n / log log n, without
//! looking at all of the machine and without all CPUs choosing the same least loaded one at once.
//!
//! Two amendments for a machine with few CPUs: an idle CPU is taken when there is one, and a CPU that falls idle
//! takes a thread from the longer of two random queues.

use super::{Balancer, Entry, Placement, ThreadView, Victims, loaded_by_distance};
use crate::MachineView;
use alloc::boxed::Box;
use formats::CpuId;

pub static TWO_CHOICES: Entry = Entry {
    name: "two_choices",
    summary: "the less loaded of two random CPUs, idle ones first; idle CPUs take from the longer of two queues",
    conserves_work: true,
    new: |_| Box::new(TwoChoices),
};

struct TwoChoices;

impl Balancer for TwoChoices {
    fn place(&self, thread: &ThreadView, why: Placement, machine: &MachineView) -> CpuId {
        // What it left in the caches of its last CPU is worth more than a choice.
        if why == Placement::Wake && thread.allowed.contains(thread.last) && machine.is_idle(thread.last) {
            return thread.last;
        }
        let idle = machine.idle().and(&thread.allowed);
        if let Some(cpu) = machine.draw(&idle, thread.here) {
            return cpu;
        }
        let choice = || machine.draw(&thread.allowed, thread.here).unwrap_or(thread.last);
        let (first, second) = (choice(), choice());
        if machine.load(second) < machine.load(first) { second } else { first }
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        let mut victims = loaded_by_distance(cpu, machine);
        let count = victims.iter().len();
        let drawn = (machine.random(cpu, count), machine.random(cpu, count));
        let waiting = |index| victims.iter().nth(index).map(|victim| machine.waiting(victim));
        if count > 1 {
            // The others stay as second choices, for when a third CPU was quicker.
            victims.prefer(if waiting(drawn.1) > waiting(drawn.0) { drawn.1 } else { drawn.0 });
        }
        victims
    }

    fn pulls(&self) -> bool {
        true
    }
}
