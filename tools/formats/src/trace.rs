//! What happens on the CPUs, as the kernel and the simulator note it and the tools draw it.
//!
//! A trace is a header and then blocks, one CPU each; a block's events are in the order of time. All numbers are
//! little-endian. [`Record`] is an event with its time, 32 bytes, so that a ring of them needs no framing.

use crate::{CpuId, ThreadId};

/// The version of this format.
pub const VERSION: u32 = 1;

/// Why a thread left its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Left {
    Preempted,
    Yielded,
    Slept,
    Exited,
    /// It was the idle thread.
    Idle,
}

/// Why a thread went to another CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Moved {
    Fork,
    Exec,
    Wake,
    Steal,
    Pull,
    Push,
    Affinity,
    Offline,
}

/// What a tick decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ticked {
    Charged,
    /// The first tick of a new thread.
    Granted,
    /// No progress since dispatch.
    Spared,
    Rearmed,
}

/// One event on one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `next` runs instead of `previous`; 0 stands for idle.
    Switch {
        previous: ThreadId,
        next: ThreadId,
        why: Left,
    },
    /// `thread` is runnable and waits on `to`, where `waiting` now wait.
    Wake {
        thread: ThreadId,
        to: CpuId,
        waiting: u32,
    },
    /// A new thread may run.
    Fork {
        parent_cpu: CpuId,
        thread: ThreadId,
    },
    Migrate {
        thread: ThreadId,
        from: CpuId,
        to: CpuId,
        why: Moved,
    },
    Tick {
        thread: ThreadId,
        verdict: Ticked,
    },
    /// The first user instruction of `thread`, `latency` nanoseconds after its start.
    FirstRun {
        thread: ThreadId,
        latency: u64,
    },
    /// The balancer was asked for a CPU and answered `chosen`; it saw `idle` CPUs idle, and so many wait on both.
    Placed {
        thread: ThreadId,
        chosen: CpuId,
        idle: u32,
        waiting_there: u32,
        waiting_here: u32,
    },
    /// An idle CPU looked for work on `victims` CPUs.
    Stole {
        victims: u32,
        threads: u32,
    },
    /// An interprocessor interrupt was sent to `to`.
    Kick {
        to: CpuId,
    },
    /// Another order or balancer is in force: its place in the list of names.
    Policy {
        order: bool,
        number: u32,
    },
    /// User mode was left for system call `number`, and entered again.
    SyscallEnter {
        thread: ThreadId,
        number: u32,
    },
    SyscallExit {
        thread: ThreadId,
        number: u32,
    },
    PageFault {
        thread: ThreadId,
        address: u64,
    },
    /// Where the thread that was switched to goes on in user mode, and its page table.
    Resume {
        thread: ThreadId,
        rip: u64,
        cr3: u64,
    },
    /// A spin lock was waited for.
    Contended {
        rank: u32,
        nanoseconds: u64,
    },
    /// An instruction of a thread that is single-stepped.
    Step {
        thread: ThreadId,
        rip: u64,
    },
}
