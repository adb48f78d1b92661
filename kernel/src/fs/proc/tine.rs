//! Files that only Tine has: `/proc/tine`.

use crate::errno::Errno;
use crate::{cpus, leaks};
use alloc::{format, string::String, vec::Vec};

/// What is in use, to be compared with what it was before: `NAME COUNT` on each line.
pub fn leaks() -> Result<Vec<u8>, Errno> {
    let now = leaks::count();
    let lines = [
        ("frames", now.frames),
        ("threads", now.threads),
        ("processes", now.processes),
        ("file_descriptions", now.file_descriptions),
    ];
    Ok(lines.iter().map(|(name, count)| format!("{name} {count}\n")).collect::<String>().into_bytes())
}

/// What the scheduler has counted, a line for each CPU under a line of names; times in nanoseconds.
pub fn sched() -> Result<Vec<u8>, Errno> {
    let mut text = String::from(
        "cpu busy_ns idle_ns ticks switches preemptions migrations_in migrations_out steals steal_attempts kicks \
         first_runs no_progress_ticks\n",
    );
    text.extend(cpus::stats().iter().map(|cpu| {
        let counts = [
            cpu.busy_ns,
            cpu.idle_ns,
            cpu.ticks,
            cpu.switches,
            cpu.preemptions,
            cpu.migrations_in,
            cpu.migrations_out,
            cpu.steals,
            cpu.steal_attempts,
            cpu.kicks,
            cpu.first_runs,
            cpu.no_progress_ticks,
        ];
        let counts: String = counts.iter().map(|count| format!(" {count}")).collect();
        format!("{}{counts}\n", cpu.cpu)
    }));
    Ok(text.into_bytes())
}
