//! How the CPUs of a machine are related.

use alloc::{vec, vec::Vec};
use formats::{CpuId, CpuSet};

/// Where a CPU is. Numbers are unique in the whole machine: core 3 of socket 1 is not core 3 of socket 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub socket: u32,
    /// The last-level cache that it shares with others.
    pub cache: u32,
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
    /// Another core at the same last-level cache.
    Cache,
    Socket,
    Node,
    Machine,
}

impl Distance {
    /// The distances at which other CPUs may be, nearest first: a policy that goes from near to far goes through these.
    pub const OUTWARD: [Self; 5] = [Self::Core, Self::Cache, Self::Socket, Self::Node, Self::Machine];
}

/// All CPUs that the machine may have, online or not. Fixed while it runs.
#[derive(Clone, Debug)]
pub struct Topology {
    places: Vec<Place>,
    /// For each of [`Distance::OUTWARD`] but the last.
    domains: [Domains; 4],
    /// SLIT: row by row, how far memory of the other node is, where 10 is local; empty: not known.
    node_distances: Vec<Vec<u8>>,
}

/// The CPUs divided into sets.
#[derive(Clone, Debug)]
struct Domains {
    sets: Vec<CpuSet>,
    /// For each CPU the index of its set.
    of: Vec<usize>,
}

impl Domains {
    fn new(places: &[Place], key: impl Fn(&Place) -> u32) -> Self {
        let mut keys: Vec<u32> = places.iter().map(&key).collect();
        let of = keys.clone();
        keys.sort_unstable();
        keys.dedup();
        let of: Vec<usize> = of.iter().map(|own| keys.partition_point(|key| key < own)).collect();
        let mut sets = vec![CpuSet::EMPTY; keys.len()];
        CpuId::first(places.len()).for_each(|cpu| sets[of[cpu.index()]].insert(cpu));
        Self { sets, of }
    }
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
        let domains = [
            Domains::new(&places, |place| place.core),
            Domains::new(&places, |place| place.cache),
            Domains::new(&places, |place| place.socket),
            Domains::new(&places, |place| place.node),
        ];
        Self { places, domains, node_distances: Vec::new() }
    }

    /// With the distances between memory nodes, `rows[from][to]`.
    #[must_use]
    pub fn with_node_distances(mut self, rows: Vec<Vec<u8>>) -> Self {
        self.node_distances = rows;
        self
    }

    /// One socket of `cpus` cores with one hardware thread each.
    pub fn flat(cpus: usize) -> Self {
        Self::regular(1, cpus as u32, 1)
    }

    /// `sockets` sockets, each a memory node with one last-level cache, of `cores` cores with `threads` hardware threads;
    /// CPUs are numbered thread by thread, core by core.
    pub fn regular(sockets: u32, cores: u32, threads: u32) -> Self {
        Self::with_caches(sockets, 1, cores, threads)
    }

    /// As [`regular`](Self::regular), with `caches` last-level caches in each socket, of `cores` cores each.
    pub fn with_caches(sockets: u32, caches: u32, cores: u32, threads: u32) -> Self {
        let places = (0..sockets * caches * cores * threads).map(|cpu| {
            let core = cpu / threads;
            let cache = core / cores;
            let socket = cache / caches;
            Place { socket, cache, core, thread: cpu % threads, node: socket }
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
        } else if x.cache == y.cache {
            Distance::Cache
        } else if x.socket == y.socket {
            Distance::Socket
        } else if x.node == y.node {
            Distance::Node
        } else {
            Distance::Machine
        }
    }

    /// The CPUs that share with `cpu` what the distance is named for, `cpu` included: its core, its last-level cache, its
    /// socket, its memory node.
    pub fn domain(&self, cpu: CpuId, distance: Distance) -> CpuSet {
        let domains = match distance {
            Distance::Same => return CpuSet::of(cpu),
            Distance::Core => &self.domains[0],
            Distance::Cache => &self.domains[1],
            Distance::Socket => &self.domains[2],
            Distance::Node => &self.domains[3],
            Distance::Machine => return self.all(),
        };
        domains.sets[domains.of[cpu.index()]]
    }

    /// The sets into which the machine is divided by its last-level caches.
    pub fn caches(&self) -> &[CpuSet] {
        &self.domains[1].sets
    }

    /// How far the memory of the node of `b` is for `a`, where 10 is local (ACPI 6.5, 5.2.17).
    pub fn node_distance(&self, a: CpuId, b: CpuId) -> u8 {
        const LOCAL: u8 = 10;
        const REMOTE: u8 = 20;
        let (from, to) = (self.place(a).node, self.place(b).node);
        let known = self.node_distances.get(from as usize).and_then(|row| row.get(to as usize));
        known.copied().unwrap_or(if from == to { LOCAL } else { REMOTE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_follow_the_tree_of_sockets_caches_cores_and_threads() {
        let machine = Topology::with_caches(2, 2, 2, 2);
        let distance = |a, b| machine.distance(CpuId(a), CpuId(b));
        assert_eq!(machine.cpus(), 16);
        assert_eq!(distance(3, 3), Distance::Same);
        assert_eq!(distance(2, 3), Distance::Core);
        assert_eq!(distance(1, 2), Distance::Cache);
        assert_eq!(distance(3, 4), Distance::Socket);
        assert_eq!(distance(7, 8), Distance::Machine);
    }

    #[test]
    fn a_domain_is_all_that_shares_the_thing() {
        let machine = Topology::with_caches(2, 2, 2, 2);
        let members =
            |distance| machine.domain(CpuId(5), distance).iter().map(|cpu| cpu.0).collect::<Vec<_>>();
        assert_eq!(members(Distance::Core), [4, 5]);
        assert_eq!(members(Distance::Cache), [4, 5, 6, 7]);
        assert_eq!(members(Distance::Socket), (0..8).collect::<Vec<_>>());
        assert_eq!(members(Distance::Machine).len(), 16);
        assert_eq!(machine.caches().len(), 4);
    }

    #[test]
    fn nodes_are_as_far_as_the_firmware_says() {
        let machine = Topology::regular(2, 1, 1);
        let between = |machine: &Topology| machine.node_distance(CpuId(0), CpuId(1));
        assert_eq!(between(&machine), 20);
        assert_eq!(between(&machine.with_node_distances(vec![vec![10, 17], vec![17, 10]])), 17);
    }
}
