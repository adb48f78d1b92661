//! The record of a run: JSON lines on COM2, one [`Event`] each.
//!
//! A run that ends well writes `boot`, any number of `program` and `user`, then `scheduler`, `accounting`, `system_calls`
//! and `exit`. A kernel that notices something wrong writes `failure` at that moment.
//! Times are nanoseconds of the guest's clock; whether that is wall or virtual time, the host knows.

use crate::{CpuId, Histogram, ThreadId};
use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// The version of this schema, in every `boot` event. It grows when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Boot(Boot),
    /// A line that a program wrote to `/dev/results`; `line` is the program's own JSON.
    User {
        thread: ThreadId,
        line: String,
    },
    Scheduler(Scheduler),
    Accounting(Accounting),
    SystemCalls(SystemCalls),
    Failure(Failure),
    Exit(Exit),
}

/// The machine as the kernel found it, written when the first program starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Boot {
    pub schema: u32,
    pub kernel_version: String,
    pub bootloader: String,
    pub command_line: String,
    pub cpus: u32,
    /// Local APIC ids of CPUs that are in the MADT but did not start.
    pub dead_cpus: Vec<u32>,
    /// `xapic` or `x2apic`.
    pub apic: String,
    /// What the clock was calibrated against.
    pub clock_reference: String,
    pub tsc_hz: u64,
    /// Ticks per second; 0 means one-shot.
    pub hz: u32,
    pub order: String,
    pub balancer: String,
    pub seed: u64,
    pub memory_bytes: u64,
    /// Kernel image, page tables, heap, stacks and per-frame tables when the first program starts.
    pub kernel_bytes: u64,
    /// From the kernel's entry to the first user instruction.
    pub boot_ns: u64,
}

/// What the scheduler counted from the start of the program to its end.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Scheduler {
    pub elapsed_ns: u64,
    pub cpus: Vec<CpuStats>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CpuStats {
    pub cpu: u32,
    /// Time in user threads, their system calls included.
    pub busy_ns: u64,
    pub idle_ns: u64,
    pub ticks: u64,
    pub switches: u64,
    pub preemptions: u64,
    pub migrations_in: u64,
    pub migrations_out: u64,
    pub steals: u64,
    pub steal_attempts: u64,
    /// Reschedule interrupts that this CPU sent.
    pub kicks: u64,
    /// New threads that were granted their first tick here.
    pub first_runs: u64,
    /// Ticks that found no user instruction retired since dispatch.
    pub no_progress_ticks: u64,
    /// From fork to the first user instruction, for threads that first ran here.
    pub first_run_latency_ns: Histogram,
}

/// Resources in use before the program started and after it ended. They must agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    pub frames: u64,
    pub threads: u64,
    pub processes: u64,
    pub file_descriptions: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Accounting {
    pub before: Resources,
    pub after: Resources,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SystemCalls {
    /// Calls that Tine does not have (they got ENOSYS): number and how often.
    pub unknown: Vec<(u64, u64)>,
}

/// Something that the kernel noticed about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    pub cpu: CpuId,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// A thread is dispatched over and over and never retires an instruction.
    Livelock,
    /// A CPU has stopped ticking.
    Stall,
    /// A spin lock is held for ever.
    Deadlock,
    /// Resources did not come back.
    Leak,
    Panic,
}

/// How the first program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum Exit {
    Exited { status: i32 },
    Killed { signal: i32 },
}
