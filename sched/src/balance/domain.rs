//! Domains of CPUs that share a cache: threads move freely inside one, and between two only when their loads differ.
//!
//! As `scx_rusty` of sched_ext (its README and `src/load_balance.rs` document it): a domain for each last-level cache; new
//! threads go to the domain with the least load, woken ones stay in theirs; a CPU that falls idle takes from its own
//! domain, and then from others of its memory node ("greedy"); across nodes only the periodic balancer moves threads, by
//! comparing each domain's load with the average: those above push, those below pull. Here loads are weights of the
//! moment, not averages of the past.

use super::{Amount, Balancer, Entry, Move, Placement, ThreadView, Victims, loaded_by_distance};
use crate::{Distance, MachineView};
use alloc::boxed::Box;
use formats::{CpuId, CpuSet, Duration};

pub static DOMAIN: Entry = Entry {
    name: "domain",
    summary: "threads stay at their cache; domains of unequal load push and pull, as in scx_rusty",
    conserves_work: false,
    new: |_| Box::new(Domain),
};

struct Domain;

/// `scx_rusty`'s default is 2 s; its tuner looks each 0.1 s.
const PERIOD: Duration = Duration::from_millis(100);

/// A load that differs from the average by no more than this is in balance.
const SLACK_PERCENT: u64 = 5;

impl Balancer for Domain {
    fn place(&self, thread: &ThreadView, why: Placement, machine: &MachineView) -> CpuId {
        let home = machine.topology().domain(thread.last, Distance::Cache).and(&thread.allowed);
        let domain = match why {
            Placement::Fork | Placement::Exec => least_loaded_domain(thread, machine),
            _ => home,
        };
        machine
            .least_loaded(&domain, thread.last)
            .or_else(|| machine.least_loaded(&thread.allowed, thread.last))
            .unwrap_or(thread.last)
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        let node = machine.topology().domain(cpu, Distance::Node);
        loaded_by_distance(cpu, machine).iter().filter(|victim| node.contains(*victim)).collect()
    }

    fn pulls(&self) -> bool {
        true
    }

    fn on_balance(&self, cpu: CpuId, machine: &MachineView) -> Option<Move> {
        let online = machine.online();
        let own = machine.topology().domain(cpu, Distance::Cache).and(&online);
        if own.first() != Some(cpu) {
            return None;
        }
        let load = load_per_cpu(&own, machine);
        let average = load_per_cpu(&online, machine);
        let others = || domains(&online, machine).filter(|set| *set != own);
        if load * 100 > average * (100 + SLACK_PERCENT) {
            let to = others().min_by_key(|set| load_per_cpu(set, machine))?;
            move_between(&own, &to, cpu, machine)
        } else if load * 100 < average * (100 - SLACK_PERCENT) {
            let from = others().max_by_key(|set| load_per_cpu(set, machine))?;
            move_between(&from, &own, cpu, machine)
        } else {
            None
        }
    }

    fn next_balance(&self, _cpu: CpuId, machine: &MachineView) -> Option<Duration> {
        (machine.topology().caches().len() > 1).then_some(PERIOD)
    }
}

/// The domains, each without the CPUs that are not in `within`; those that are empty then are left out.
fn domains(within: &CpuSet, machine: &MachineView) -> impl Iterator<Item = CpuSet> {
    machine.topology().caches().iter().map(|set| set.and(within)).filter(|set| !set.is_empty())
}

fn least_loaded_domain(thread: &ThreadView, machine: &MachineView) -> CpuSet {
    let key = |set: &CpuSet| (load_per_cpu(set, machine), !set.contains(thread.last));
    domains(&thread.allowed, machine).min_by_key(key).unwrap_or(thread.allowed)
}

/// The weight of all threads there, for each CPU.
fn load_per_cpu(set: &CpuSet, machine: &MachineView) -> u64 {
    set.iter().map(|cpu| machine.weight(cpu)).sum::<u64>() / set.len().max(1) as u64
}

/// As many threads as make both equally loaded, from the longest queue of one to the least loaded CPU of the other.
fn move_between(from: &CpuSet, to: &CpuSet, near: CpuId, machine: &MachineView) -> Option<Move> {
    let weight = |set: &CpuSet| set.iter().map(|cpu| machine.weight(cpu)).sum::<u64>();
    let threads = from.iter().map(|cpu| u64::from(machine.load(cpu))).sum::<u64>();
    let (many, few) = (from.len() as u64, to.len() as u64);
    let surplus = (weight(from) * few).saturating_sub(weight(to) * many) / (many + few);
    let amount = Amount::AtMost((surplus * threads / weight(from).max(1)) as usize);
    let (from, to) = (machine.longest_queue(from, near)?, machine.least_loaded(to, near)?);
    Some(Move { from, to, amount })
}
