//! Where each CPU is, which caches it has, and which memory is near
//! (`Documentation/ABI/stable/sysfs-devices-system-cpu`, `…-node`).

use super::super::directory::Builder;
use super::super::text::Text;
use super::{FILE_SYSTEM, list, mask};
use crate::cpus::{self, hotplug};
use crate::errno::Errno;
use crate::fs::{Kind, Metadata};
use alloc::{format, string::String, sync::Arc, vec::Vec};
use arch::cpu::describe::{self, Cache};
use formats::{CpuId, CpuSet};
use mm::PAGE;
use sched::Place;

type Answer = Result<Vec<u8>, Errno>;

/// A directory that is being filled.
struct Filling<'b> {
    directory: &'b mut Builder,
    next: &'b mut dyn FnMut() -> u64,
}

impl Filling<'_> {
    fn below(&mut self, name: &str) -> Filling<'_> {
        let metadata = Metadata::new(Kind::Directory, 0o755, (self.next)(), FILE_SYSTEM);
        Filling { directory: self.directory.directory(name, metadata), next: self.next }
    }

    fn file(&mut self, name: &str, generate: impl Fn() -> Answer + Send + Sync + 'static) {
        self.directory.insert(name, Arc::new(Text::new((self.next)(), FILE_SYSTEM, generate)));
    }

    /// A line that never changes.
    fn line(&mut self, name: &str, value: impl core::fmt::Display) {
        let line = format!("{value}\n").into_bytes();
        self.file(name, move || Ok(line.clone()));
    }

    /// A set of CPUs as a mask and as a list.
    fn set(&mut self, mask_name: &str, list_name: &str, set: &CpuSet) {
        self.line(mask_name, mask(set));
        self.line(list_name, String::from_utf8_lossy(&list(set)).trim_end());
    }
}

/// Adds to the root of sysfs what does not change while the machine runs.
pub fn add(root: &mut Builder, next: &mut dyn FnMut() -> u64) {
    let mut root = Filling { directory: root, next };
    let mut devices = root.below("devices");
    let mut system = devices.below("system");
    let mut all = system.below("cpu");
    let caches = describe::caches();
    all.line("kernel_max", hotplug::possible().len().saturating_sub(1));
    for cpu in hotplug::possible().iter() {
        let mut one = all.below(&format!("cpu{}", cpu.0));
        places(&mut one.below("topology"), cpu);
        let mut directory = one.below("cache");
        for (number, cache) in caches.iter().enumerate() {
            describe_cache(&mut directory.below(&format!("index{number}")), cpu, number, cache, &caches);
        }
    }
    nodes(&mut system.below("node"));
}

/// The CPUs whose place is like that of `cpu`.
fn those_like(cpu: CpuId, alike: impl Fn(Place, Place) -> bool) -> CpuSet {
    let topology = cpus::topology();
    let place = topology.place(cpu);
    hotplug::possible().iter().filter(|other| alike(topology.place(*other), place)).collect()
}

fn places(directory: &mut Filling<'_>, cpu: CpuId) {
    let place = cpus::topology().place(cpu);
    let core = those_like(cpu, |a, b| (a.socket, a.core) == (b.socket, b.core));
    let socket = those_like(cpu, |a, b| a.socket == b.socket);
    directory.line("physical_package_id", place.socket);
    directory.line("die_id", 0);
    directory.line("core_id", place.core);
    directory.set("thread_siblings", "thread_siblings_list", &core);
    directory.set("core_cpus", "core_cpus_list", &core);
    directory.set("core_siblings", "core_siblings_list", &socket);
    directory.set("package_cpus", "package_cpus_list", &socket);
    directory.set("die_cpus", "die_cpus_list", &socket);
}

/// The last of the caches is shared as the topology says, the others by the threads of a core.
fn describe_cache(directory: &mut Filling<'_>, cpu: CpuId, number: usize, cache: &Cache, all: &[Cache]) {
    let is_last = all.len() > 1 && number + 1 == all.len();
    let sharers = match is_last {
        true => those_like(cpu, |a, b| (a.socket, a.cache) == (b.socket, b.cache)),
        false => those_like(cpu, |a, b| (a.socket, a.core) == (b.socket, b.core)),
    };
    directory.line("level", cache.level);
    directory.line("type", cache.kind);
    directory.line("size", format!("{}K", cache.bytes / 1024));
    directory.line("coherency_line_size", cache.line);
    directory.line("ways_of_associativity", cache.ways);
    directory.line("number_of_sets", cache.sets);
    directory.set("shared_cpu_map", "shared_cpu_list", &sharers);
}

fn nodes(directory: &mut Filling<'_>) {
    let topology = cpus::topology();
    let mut numbers: Vec<u32> = hotplug::possible().iter().map(|cpu| topology.place(cpu).node).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let set: CpuSet = numbers.iter().map(|number| CpuId(*number)).collect();
    let numbers_list = String::from_utf8(list(&set)).unwrap_or_default();
    for name in ["online", "possible", "has_cpu", "has_memory", "has_normal_memory"] {
        directory.line(name, numbers_list.trim_end());
    }
    let on = |node: u32| -> CpuSet {
        hotplug::possible().iter().filter(|cpu| topology.place(*cpu).node == node).collect()
    };
    let first = |node: u32| on(node).iter().next().unwrap_or(CpuId(0));
    for node in &numbers {
        let mut one = directory.below(&format!("node{node}"));
        one.set("cpumap", "cpulist", &on(*node));
        let distances: Vec<String> = numbers
            .iter()
            .map(|other| format!("{}", topology.node_distance(first(*node), first(*other))))
            .collect();
        one.line("distance", distances.join(" "));
        // Frames are not told apart by node: the first has them all.
        let (node, has_memory) = (*node, *node == numbers[0]);
        one.file("meminfo", move || {
            let kib = |frames: usize| if has_memory { frames * PAGE / 1024 } else { 0 };
            let (total, free) = (kib(mm::frames::total()), kib(mm::frames::free()));
            let rows = [("MemTotal", total), ("MemFree", free), ("MemUsed", total - free)];
            let line = |(name, value): &(&str, usize)| {
                format!("Node {node} {:<15} {value:>8} kB\n", format!("{name}:"))
            };
            Ok(rows.iter().map(line).collect::<String>().into_bytes())
        });
    }
}
