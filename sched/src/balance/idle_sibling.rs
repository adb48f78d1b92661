//! Wake-up placement as Linux does it: near the waker or near where the thread last ran, on an idle CPU that shares the
//! last-level cache.
//!
//! Linux `select_task_rq_fair()`, `wake_affine()` and `select_idle_sibling()` in `kernel/sched/fair.c`. A waker has often just
//! written what the woken thread is about to read, so that its cache is worth as much as the thread's own.
//! What idle CPUs do is as in `idle_steal`: the two differ in placement alone.

use super::{Balancer, Entry, Placement, ThreadView, Victims, loaded_by_distance};
use crate::{Distance, MachineView};
use alloc::boxed::Box;
use formats::CpuId;

pub static IDLE_SIBLING: Entry = Entry {
    name: "idle_sibling",
    summary: "woken threads go to an idle CPU at the cache of the waker or of where they ran, as in Linux",
    conserves_work: true,
    new: |_| Box::new(IdleSibling),
};

struct IdleSibling;

impl Balancer for IdleSibling {
    fn place(&self, thread: &ThreadView, why: Placement, machine: &MachineView) -> CpuId {
        match why {
            Placement::Wake => select_idle_sibling(wake_affine(thread, machine), thread, machine),
            _ => machine.least_loaded(&thread.allowed, thread.last).unwrap_or(thread.last),
        }
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        loaded_by_distance(cpu, machine)
    }

    fn pulls(&self) -> bool {
        true
    }
}

/// Where to look for an idle CPU: around the waker, or around where the thread last ran.
fn wake_affine(thread: &ThreadView, machine: &MachineView) -> CpuId {
    let (waker, last) = (thread.here, thread.last);
    if !thread.allowed.contains(waker) || !thread.allowed.contains(last) {
        return if thread.allowed.contains(last) { last } else { waker };
    }
    if machine.is_idle(last) {
        return last;
    }
    let near = machine.topology().distance(waker, last) <= Distance::Cache;
    let lighter = machine.weight(waker) + u64::from(thread.weight) < machine.weight(last);
    if machine.is_idle(waker) && near || lighter { waker } else { last }
}

/// An idle CPU at the cache of `target`: itself, where the thread last ran, a core of which all hardware threads idle,
/// any. Without one, `target`.
fn select_idle_sibling(target: CpuId, thread: &ThreadView, machine: &MachineView) -> CpuId {
    let topology = machine.topology();
    let cache = topology.domain(target, Distance::Cache);
    let idle = machine.idle().and(&thread.allowed).and(&cache);
    if idle.contains(target) {
        return target;
    }
    if idle.contains(thread.last) {
        return thread.last;
    }
    let is_idle_core = |cpu: &CpuId| {
        let core = topology.domain(*cpu, Distance::Core).and(&machine.online());
        machine.idle().and(&core) == core
    };
    let allowed = |cpu: CpuId| thread.allowed.contains(cpu).then_some(cpu);
    idle.iter()
        .find(is_idle_core)
        .or_else(|| idle.first())
        .or_else(|| allowed(target))
        .or_else(|| machine.least_loaded(&thread.allowed, thread.last))
        .unwrap_or(thread.last)
}
