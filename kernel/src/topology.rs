//! Where the CPUs of this machine are: what the processor and the firmware say, or the command line.

use crate::options::Options;
use alloc::vec::Vec;
use arch::acpi::{ApicId, Machine};
use arch::topology::{Layout, Location};
use formats::{CpuId, record};
use sched::{Place, Topology};

/// The places of the first `possible` CPUs that may come. CPUs get their numbers in the order of the MADT, this one first; if a
/// processor does not answer, those after it get the numbers, and the places, of those before.
///
/// # Errors
/// A sentence, when the command line describes a smaller machine.
pub fn find(options: &Options, machine: &Machine, possible: usize) -> Result<Topology, &'static str> {
    match options.topology {
        Some((sockets, cores, threads)) if (sockets * cores * threads) as usize >= possible => {
            Ok(Topology::regular(sockets, cores, threads))
        }
        Some(_) => Err("topology: it has fewer CPUs than the machine"),
        None => Ok(discover(machine, possible)),
    }
}

fn discover(machine: &Machine, possible: usize) -> Topology {
    let here = arch::apic::here();
    let others = machine.processors.iter().copied().filter(|id| *id != here);
    let ids: Vec<ApicId> = core::iter::once(here).chain(others).take(possible).collect();
    let layout = Layout::detect();
    let at: Vec<Location> = ids.iter().map(|id| layout.locate(*id)).collect();
    let sockets = dense(at.iter().map(|it| it.socket));
    let caches = dense(at.iter().map(|it| it.cache));
    let cores = dense(at.iter().map(|it| it.core));
    let place = |cpu: usize| Place {
        socket: sockets[cpu],
        cache: caches[cpu],
        core: cores[cpu],
        thread: at[cpu].thread,
        node: machine.nodes.of(ids[cpu]),
    };
    Topology::new((0..ids.len()).map(place).collect()).with_node_distances(machine.nodes.distances().to_vec())
}

/// The same numbers, but without gaps.
fn dense(numbers: impl Iterator<Item = u32>) -> Vec<u32> {
    let numbers: Vec<u32> = numbers.collect();
    let mut known = numbers.clone();
    known.sort_unstable();
    known.dedup();
    numbers.iter().map(|number| known.partition_point(|smaller| smaller < number) as u32).collect()
}

/// The places of the first `cpus` CPUs, for the record of the run.
pub fn record(topology: &Topology, cpus: usize) -> Vec<record::Place> {
    let place = |cpu| {
        let Place { node, socket, cache, core, thread } = topology.place(cpu);
        record::Place { node, socket, cache, core, thread }
    };
    CpuId::first(cpus).map(place).collect()
}
