//! `schedstat` of the machine and of threads, in version 15 of Linux's format (`Documentation/scheduler/sched-stats.rst`).

use crate::cpus;
use crate::errno::Errno;
use crate::fs::proc::process::TICK_NS;
use alloc::{format, string::String, vec::Vec};
use formats::record::CpuStats;

/// Nine fields for each CPU. What Tine does not count, yields and wake-ups by CPU of the waker, is 0.
pub fn machine() -> Result<Vec<u8>, Errno> {
    let mut text = format!("version 15\ntimestamp {}\n", arch::time::now().as_ticks() / TICK_NS);
    let online = cpus::online();
    let stats = cpus::stats();
    text.extend(stats.iter().filter(|cpu| online.contains(formats::CpuId(cpu.cpu))).map(line));
    Ok(text.into_bytes())
}

/// Yields, 0, calls of the scheduler, those that went idle, wake-ups, those by the CPU itself, time in threads, time that
/// threads waited, slices.
fn line(cpu: &CpuStats) -> String {
    let CpuStats { cpu: number, switches, busy_ns, run_delay_ns: delay, wake_latency_ns: woken, .. } = cpu;
    let to_idle = switches.saturating_sub(delay.count());
    let (wakes, waited, slices) = (woken.count(), delay.sum(), delay.count());
    format!("cpu{number} 0 0 {switches} {to_idle} {wakes} 0 {busy_ns} {waited} {slices}\n")
}

/// A thread: time on CPUs, time that it waited for one, both in nanoseconds, and how often it was given one. All 0 for one
/// that has ended.
pub fn thread(thread: Option<&sched::Thread>) -> Vec<u8> {
    let (ran, waited, slices) = thread.map_or((0, 0, 0), |thread| {
        let stats = thread.stats();
        (cpus::cpu_time(thread).as_ticks(), stats.run_delay().as_ticks(), stats.dispatches())
    });
    format!("{ran} {waited} {slices}\n").into_bytes()
}
