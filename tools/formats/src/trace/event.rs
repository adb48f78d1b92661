//! The events.

use crate::{CpuId, ThreadId};
use core::fmt;

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

impl Left {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 5] = [Self::Preempted, Self::Yielded, Self::Slept, Self::Exited, Self::Idle];
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

impl Moved {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 8] = [
        Self::Fork,
        Self::Exec,
        Self::Wake,
        Self::Steal,
        Self::Pull,
        Self::Push,
        Self::Affinity,
        Self::Offline,
    ];
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

impl Ticked {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 4] = [Self::Charged, Self::Granted, Self::Spared, Self::Rearmed];
}

/// The name of a thread: at most 16 bytes, as `comm` of Linux (man 5 proc_pid_comm).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name([u8; Self::CAPACITY]);

impl Name {
    pub const CAPACITY: usize = 16;

    /// The name, cut off where it gets too long, or at its first zero byte.
    pub fn new(name: &[u8]) -> Self {
        let mut bytes = [0; Self::CAPACITY];
        for (to, from) in bytes.iter_mut().zip(name.iter().take_while(|byte| **byte != 0)) {
            *to = *from;
        }
        Self(bytes)
    }

    pub(super) const fn padded(&self) -> &[u8; Self::CAPACITY] {
        &self.0
    }

    /// Its bytes, without padding.
    pub fn bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().utf8_chunks().try_for_each(|chunk| {
            f.write_str(chunk.valid())?;
            if chunk.invalid().is_empty() { Ok(()) } else { f.write_str("\u{fffd}") }
        })
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
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
    /// A thread was made, in `process`, by `parent`; 0 stands for the kernel.
    Born {
        thread: ThreadId,
        process: u32,
        parent: ThreadId,
    },
    /// The thread bears this name from now on.
    Named {
        thread: ThreadId,
        name: Name,
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
    /// A spin lock was waited for until now. `rank` tells which kind of lock: the numbers are the kernel's.
    Contended {
        rank: u32,
        nanoseconds: u64,
    },
    /// An interrupt came in.
    Interrupt {
        vector: u8,
    },
    /// The CPU has nothing to do and waits for an interrupt.
    Halt,
    /// An instruction of a thread that is single-stepped.
    Step {
        thread: ThreadId,
        rip: u64,
    },
}
