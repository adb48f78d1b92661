//! Files about the whole machine.

use super::process::TICK_NS;
use crate::errno::Errno;
use crate::{cpus, task};
use alloc::{format, string::String, vec::Vec};
use formats::record::CpuStats;
use mm::PAGE;

type Answer = Result<Vec<u8>, Errno>;

/// One entry per CPU that takes part.
pub fn cpuinfo() -> Answer {
    let entries: String =
        cpus::online().iter().map(|cpu| format!("processor\t: {}\n\n", cpu.index())).collect();
    Ok(entries.into_bytes())
}

pub fn meminfo() -> Answer {
    let kib = |frames: usize| frames * PAGE / 1024;
    let (total, free) = (kib(mm::frames::total()), kib(mm::frames::free()));
    let text =
        format!("MemTotal:     {total:10} kB\nMemFree:      {free:10} kB\nMemAvailable: {free:10} kB\n");
    Ok(text.into_bytes())
}

/// Times in clock ticks: user (with the system's, which is not told apart), nice, system, idle; then what is always 0
/// (man 5 proc_stat).
pub fn stat() -> Answer {
    let stats = cpus::stats();
    let line = |name: &str, busy: u64, idle: u64| {
        format!("cpu{name} {} 0 0 {} 0 0 0 0 0 0\n", busy / TICK_NS, idle / TICK_NS)
    };
    let sum = |of: fn(&CpuStats) -> u64| stats.iter().map(of).sum::<u64>();
    let mut text = line(" ", sum(|cpu| cpu.busy_ns), sum(|cpu| cpu.idle_ns));
    text.extend(stats.iter().map(|cpu| line(&format!("{}", cpu.cpu), cpu.busy_ns, cpu.idle_ns)));
    text += &format!("ctxt {}\n", sum(|cpu| cpu.switches));
    Ok(text.into_bytes())
}

/// Seconds since the start, and the idle seconds of all CPUs together.
pub fn uptime() -> Answer {
    let seconds = |ns: u64| format!("{}.{:02}", ns / 1_000_000_000, ns / TICK_NS % 100);
    let idle = cpus::stats().iter().map(|cpu| cpu.idle_ns).sum();
    Ok(format!("{} {}\n", seconds(arch::time::now().as_ticks()), seconds(idle)).into_bytes())
}

/// Ids are never used twice, so that they may grow as far as the type goes.
pub fn largest_id() -> Answer {
    Ok(format!("{}\n", u32::MAX).into_bytes())
}

pub fn most_threads() -> Answer {
    Ok(format!("{}\n", task::MAX_THREADS).into_bytes())
}

/// 1: mappings are never refused for lack of memory, it is only used up when it is touched (man 5 proc).
pub fn overcommit() -> Answer {
    Ok(b"1\n".to_vec())
}
