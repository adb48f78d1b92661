//! The record of a run: JSON lines on COM2, one [`Event`] each.
//!
//! A run that ends well writes `boot`, any number of `program` and `user`, then `scheduler`, `accounting`, `system_calls`
//! and `exit`. A kernel that notices something wrong writes `failure` at that moment.
//! Times are nanoseconds of the guest's clock; whether that is wall or virtual time, the host knows.

use crate::{CpuId, Histogram, ThreadId};
use alloc::{boxed::Box, string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// The version of this schema, in every `boot` event. It grows when a field changes its meaning or goes.
pub const SCHEMA: u32 = 2;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Boot(Box<Boot>),
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
    /// Where each CPU is, in the order of their numbers.
    pub places: Vec<Place>,
    /// Kernel image, page tables, heap, stacks and per-frame tables when the first program starts.
    pub kernel_bytes: u64,
    /// From the kernel's entry to the first user instruction.
    pub boot_ns: u64,
}

/// Where a CPU is. Numbers are dense and unique in the machine: core 3 is in one socket only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub node: u32,
    pub socket: u32,
    /// The last-level cache.
    pub cache: u32,
    pub core: u32,
    /// The hardware thread within its core.
    pub thread: u32,
}

/// What the scheduler counted from the start of the program to its end.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Scheduler {
    pub elapsed_ns: u64,
    /// Times in which a thread waited on one CPU while another idled: in all, the longest, and how many.
    pub violation_ns: u64,
    pub longest_violation_ns: u64,
    pub violations: u64,
    pub cpus: Vec<CpuStats>,
    #[serde(default)]
    pub swaps: Swaps,
}

/// Changes of the policies in force, made while the machine ran.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Swaps {
    pub balancers: u64,
    pub orders: u64,
    /// Each time that a queue was locked for a change of the order, thread by thread: how long.
    pub pause_ns: Histogram,
}

/// What was counted on one CPU.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CpuStats {
    pub cpu: u32,
    /// Time in user threads, their system calls included.
    pub busy_ns: u64,
    pub idle_ns: u64,
    pub ticks: u64,
    pub switches: u64,
    /// Switches away from a thread that would have gone on.
    pub preemptions: u64,
    pub migrations_in: u64,
    pub migrations_out: u64,
    /// `migrations_in` by cause.
    pub migrations: Migrations,
    /// Times that this CPU took threads from another when it was idle, and times that it tried.
    pub steals: u64,
    pub steal_attempts: u64,
    /// Reschedule interrupts that this CPU sent.
    pub kicks: u64,
    /// Calls of the balancer on this CPU, and the time that they took.
    pub balancer_calls: u64,
    pub balancer_ns: u64,
    /// How long threads waited here, in all, while another CPU idled that they could have had.
    pub violation_ns: u64,
    /// New threads that were granted their first tick here, and how many of those kept another waiting.
    pub first_runs: u64,
    pub first_runs_delaying: u64,
    /// Ticks that found no user instruction retired since dispatch.
    pub no_progress_ticks: u64,
    /// Proposals of a policy that could not be carried out as they were.
    pub repairs: u64,
    /// From fork to the first user instruction, for threads that first ran here.
    pub first_run_latency_ns: Histogram,
    /// From being made runnable to running.
    pub run_delay_ns: Histogram,
    /// The same for threads that were woken.
    pub wake_latency_ns: Histogram,
    /// From dispatch to leaving the CPU.
    pub slice_ns: Histogram,
}

/// How many threads came to a CPU, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migrations {
    /// Placed elsewhere than where they were made.
    pub fork: u64,
    /// Moved when they began another program.
    pub exec: u64,
    /// Placed elsewhere than where they had slept.
    pub wake: u64,
    /// Taken by an idle CPU.
    pub steal: u64,
    /// Moved by periodic balancing, or because they are real-time threads, at the request of the CPU where they went.
    pub pull: u64,
    /// The same at the request of another CPU.
    pub push: u64,
    /// Not allowed any more where they were.
    pub affinity: u64,
    /// Their CPU went offline.
    pub offline: u64,
}

impl Migrations {
    pub fn total(&self) -> u64 {
        self.fork + self.exec + self.wake + self.steal + self.pull + self.push + self.affinity + self.offline
    }
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
    /// The run took longer than it may by the machine's own clock.
    Late,
    /// Resources did not come back.
    Leak,
    /// A scheduling policy starves threads, wastes CPUs, or breaks its contract; it was replaced.
    Policy,
    Panic,
}

/// How the first program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum Exit {
    Exited { status: i32 },
    Killed { signal: i32 },
}
