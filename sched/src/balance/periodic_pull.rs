//! Balancing as Linux does it: a CPU that falls idle, and each CPU now and then, pulls from the busiest CPU of a domain, the
//! smallest domain first.
//!
//! Linux `Documentation/scheduler/sched-domains.rst` and `load_balance()` in `kernel/sched/fair.c`. The domains are the core,
//! the last-level cache, the socket, the node and the machine. A domain is out of balance when its busiest CPU has more
//! than 1.25 times the weight of the one that pulls (Linux's default `imbalance_pct`; 1.17 inside a cache); then half of
//! the difference moves. Left out: groups of CPUs, which Linux compares before CPUs, and averages over time.

use super::{Amount, Balancer, Entry, Move, Placement, ThreadView, Victims, near};
use crate::{Distance, MachineView};
use alloc::boxed::Box;
use formats::{CpuId, CpuSet, Duration};

pub static PERIODIC_PULL: Entry = Entry {
    name: "periodic_pull",
    summary: "CPUs pull from the busiest of their domain when they fall idle and now and then, as in Linux",
    conserves_work: false,
    new: |_| Box::new(PeriodicPull),
};

struct PeriodicPull;

/// Linux's interval is a millisecond for each CPU of the domain, here of the machine; not more often than this.
const SHORTEST: Duration = Duration::from_millis(4);
const LONGEST: Duration = Duration::from_millis(64);

impl Balancer for PeriodicPull {
    fn place(&self, thread: &ThreadView, why: Placement, machine: &MachineView) -> CpuId {
        match why {
            Placement::Fork | Placement::Exec => {
                machine.least_loaded(&thread.allowed, thread.last).unwrap_or(thread.last)
            }
            Placement::Wake | Placement::Move | Placement::Turn => near(thread.last, thread, machine),
        }
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        let busiest = |distance| machine.longest_queue(&machine.topology().domain(cpu, distance), cpu);
        Distance::OUTWARD.into_iter().filter_map(busiest).collect()
    }

    fn on_balance(&self, cpu: CpuId, machine: &MachineView) -> Option<Move> {
        Distance::OUTWARD.into_iter().find_map(|distance| {
            let from = busiest(&machine.topology().domain(cpu, distance), machine)?;
            let (most, own) = (machine.weight(from), machine.weight(cpu));
            if most * 100 <= own * imbalance_percent(distance) {
                return None;
            }
            // As many threads of average weight as make up half of the difference.
            let threads = (most - own) / 2 * u64::from(machine.load(from)) / most.max(1);
            let idle = machine.load(cpu) == 0;
            let amount = Amount::AtMost(threads.max(idle.into()) as usize);
            (threads > 0 || idle).then_some(Move { from, to: cpu, amount })
        })
    }

    fn next_balance(&self, _cpu: CpuId, machine: &MachineView) -> Option<Duration> {
        let cpus = machine.topology().cpus() as u32;
        (cpus > 1).then(|| Duration::from_millis(cpus.into()).clamp(SHORTEST, LONGEST))
    }

    fn idle_bound(&self) -> Option<Duration> {
        Some(LONGEST)
    }
}

/// The CPU of most weight on which a thread waits.
fn busiest(domain: &CpuSet, machine: &MachineView) -> Option<CpuId> {
    machine.loaded().and(domain).iter().max_by_key(|cpu| machine.weight(*cpu))
}

fn imbalance_percent(distance: Distance) -> u64 {
    if distance <= Distance::Cache { 117 } else { 125 }
}
