//! Files about the whole machine.

use super::load;
use super::process::TICK_NS;
use crate::errno::Errno;
use crate::{clock, cpus, task};
use alloc::{format, string::String, vec::Vec};
use formats::record::CpuStats;
use formats::{CpuId, CpuSet};

pub type Answer = Result<Vec<u8>, Errno>;

/// What is known of the CPUs that take part.
fn online_stats() -> Vec<CpuStats> {
    let online: CpuSet = cpus::online();
    cpus::stats().into_iter().filter(|cpu| online.contains(CpuId(cpu.cpu))).collect()
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
    text.extend(online_stats().iter().map(|cpu| line(&format!("{}", cpu.cpu), cpu.busy_ns, cpu.idle_ns)));
    let since_boot = arch::time::now().as_ticks();
    text += &format!(
        "intr {}\nctxt {}\nbtime {}\nprocesses {}\nprocs_running {}\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
        sum(|cpu| cpu.ticks + cpu.kicks),
        sum(|cpu| cpu.switches),
        (clock::realtime_ns() - since_boot) / 1_000_000_000,
        task::last_id(),
        load::running(),
    );
    Ok(text.into_bytes())
}

/// Ticks and reschedule interrupts of each CPU. Those are counted where they are sent.
pub fn interrupts() -> Answer {
    let stats = online_stats();
    let head: String = stats.iter().map(|cpu| format!("       CPU{:<3}", cpu.cpu)).collect();
    let row = |name: &str, of: fn(&CpuStats) -> u64, what: &str| {
        let counts: String = stats.iter().map(|cpu| format!(" {:>10}", of(cpu))).collect();
        format!("{name:>4}:{counts}   {what}\n")
    };
    let timer = row("LOC", |cpu| cpu.ticks, "Local timer interrupts");
    let kicks = row("RES", |cpu| cpu.kicks, "Rescheduling interrupts");
    Ok(format!("    {head}\n{timer}{kicks}").into_bytes())
}

/// Tine has no soft interrupts.
pub fn softirqs() -> Answer {
    const NAMES: [&str; 10] =
        ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"];
    let stats = online_stats();
    let mut text = String::from("                    ");
    text.extend(stats.iter().map(|cpu| format!("CPU{:<8}", cpu.cpu)));
    text.push('\n');
    for name in NAMES {
        let zeroes: String = stats.iter().map(|_| format!(" {:>10}", 0)).collect();
        text += &format!("{name:>12}:{zeroes}\n");
    }
    Ok(text.into_bytes())
}

/// Seconds since the start, and the idle seconds of all CPUs together.
pub fn uptime() -> Answer {
    let seconds = |ns: u64| format!("{}.{:02}", ns / 1_000_000_000, ns / TICK_NS % 100);
    let idle = cpus::stats().iter().map(|cpu| cpu.idle_ns).sum();
    Ok(format!("{} {}\n", seconds(arch::time::now().as_ticks()), seconds(idle)).into_bytes())
}

/// As `uname` tells it.
pub fn version() -> Answer {
    let version =
        concat!("Linux version 6.12.0-tine (tine) (rustc) #1 SMP Tine ", env!("CARGO_PKG_VERSION"), "\n");
    Ok(version.as_bytes().to_vec())
}

pub fn filesystems() -> Answer {
    const NAMES: [&str; 5] = ["sysfs", "tmpfs", "proc", "devtmpfs", "pipefs"];
    Ok(NAMES.iter().map(|name| format!("nodev\t{name}\n")).collect::<String>().into_bytes())
}

/// Ids are never used twice, so that they may grow as far as the type goes.
pub fn largest_id() -> Answer {
    Ok(format!("{}\n", u32::MAX).into_bytes())
}

pub fn most_threads() -> Answer {
    Ok(format!("{}\n", task::MAX_THREADS).into_bytes())
}

/// The turn of a real-time thread, in milliseconds (man 7 sched).
pub fn rr_timeslice() -> Answer {
    Ok(format!("{}\n", cpus::quantum().as_ticks() / 1_000_000).into_bytes())
}

/// A random number in the form of RFC 9562, version 4.
fn uuid() -> [u8; 16] {
    let mut bytes = [0; 16];
    crate::fs::random::fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

fn shown(bytes: &[u8; 16]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let parts = [0..4, 4..6, 6..8, 8..10, 10..16].map(|part| hex(&bytes[part]));
    format!("{}\n", parts.join("-"))
}

/// Another one at each reading.
pub fn random_uuid() -> Answer {
    Ok(shown(&uuid()).into_bytes())
}

/// The same until the machine starts again.
pub fn boot_id() -> Answer {
    static BOOT: spin::Once<[u8; 16]> = spin::Once::new();
    Ok(shown(BOOT.call_once(uuid)).into_bytes())
}
