//! Which processors there are, and where a thread runs.

use anyhow::Context;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread, as the affinity calls name it.
pub const SELF: Pid = Pid::from_raw(0);

/// The processors that the calling thread may use, in ascending order.
pub fn allowed() -> anyhow::Result<Vec<usize>> {
    affinity_of(SELF)
}

/// The processors that `thread` may use, in ascending order.
pub fn affinity_of(thread: Pid) -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(thread).context("sched_getaffinity")?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Restricts `thread` to `cpus`. A thread that runs elsewhere has moved when this returns.
pub fn restrict(thread: Pid, cpus: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu)?;
    }
    sched_setaffinity(thread, &set).with_context(|| format!("sched_setaffinity({thread}, {cpus:?})"))
}

/// Moves the calling thread to `cpu` and keeps it there.
pub fn pin_to(cpu: usize) -> anyhow::Result<()> {
    restrict(SELF, &[cpu])
}

/// The processor that the calling thread runs on at this moment.
pub fn current() -> usize {
    sched_getcpu().expect("getcpu has no way to fail without pointers to write to")
}
