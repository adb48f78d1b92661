//! How the CPUs of a machine are related.

use alloc::vec::Vec;
use formats::{CpuId, CpuSet};

/// Where a CPU is. Numbers are unique in the whole machine: core 3 of socket 1 is not core 3 of socket 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub socket: u32,
    pub core: u32,
    /// The hardware thread within its core.
    pub thread: u32,
    /// The memory node.
    pub node: u32,
}

/// How far two CPUs are apart, nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distance {
    Same,
    /// Another hardware thread of the same core.
    Core,
    Socket,
    Node,
    Machine,
}

/// All CPUs that the machine may have, online or not. Fixed while it runs.
#[derive(Clone, Debug)]
pub struct Topology {
    places: Vec<Place>,
}

impl Topology {
    /// A machine whose CPU `n` is at `places[n]`.
    ///
    /// # Panics
    /// Without any CPU, or with more than [`CpuSet::CAPACITY`].
    pub fn new(places: Vec<Place>) -> Self {
        assert!(
            (1..=CpuSet::CAPACITY).contains(&places.len()),
            "a machine has 1 to {} CPUs",
            CpuSet::CAPACITY
        );
        Self { places }
    }

    /// One socket of `cpus` cores with one hardware thread each.
    pub fn flat(cpus: usize) -> Self {
        Self::new((0..cpus as u32).map(|core| Place { socket: 0, core, thread: 0, node: 0 }).collect())
    }

    /// `sockets` sockets, each a memory node, of `cores` cores with `threads` hardware threads; CPUs are numbered
    /// thread by thread, core by core.
    pub fn regular(sockets: u32, cores: u32, threads: u32) -> Self {
        let places = (0..sockets * cores * threads).map(|cpu| Place {
            socket: cpu / (cores * threads),
            core: cpu / threads,
            thread: cpu % threads,
            node: cpu / (cores * threads),
        });
        Self::new(places.collect())
    }

    /// The number of CPUs, at least 1.
    pub fn cpus(&self) -> usize {
        self.places.len()
    }

    pub fn all(&self) -> CpuSet {
        CpuId::first(self.cpus()).collect()
    }

    pub fn place(&self, cpu: CpuId) -> Place {
        self.places[cpu.index()]
    }

    pub fn distance(&self, a: CpuId, b: CpuId) -> Distance {
        let (x, y) = (self.place(a), self.place(b));
        if a == b {
            Distance::Same
        } else if x.core == y.core {
            Distance::Core
        } else if x.socket == y.socket {
            Distance::Socket
        } else if x.node == y.node {
            Distance::Node
        } else {
            Distance::Machine
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_follow_the_tree_of_sockets_cores_and_threads() {
        let machine = Topology::regular(2, 2, 2);
        let distance = |a, b| machine.distance(CpuId(a), CpuId(b));
        assert_eq!(machine.cpus(), 8);
        assert_eq!(distance(3, 3), Distance::Same);
        assert_eq!(distance(2, 3), Distance::Core);
        assert_eq!(distance(1, 2), Distance::Socket);
        assert_eq!(distance(3, 4), Distance::Machine);
    }
}
