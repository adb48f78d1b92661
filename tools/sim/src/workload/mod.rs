//! What threads do: programs of a few kinds of steps.

mod builtin;
mod file;
mod replay;

pub use builtin::{MessageStorm, SpinStress};
pub use replay::{recorded, replay};

use crate::time::Time;
use formats::CpuSet;

/// The programs of a run, and which threads begin.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    pub(crate) programs: Vec<Program>,
    pub(crate) channels: Vec<Channel>,
    pub(crate) start: Vec<Start>,
    /// The run ends after so many nanoseconds, whatever is left to do.
    pub(crate) duration: Option<u64>,
    /// The program whose computing is counted CPU by CPU; `None`: all.
    pub(crate) measured: Option<usize>,
    /// What system calls cost is part of what threads compute.
    pub(crate) calls_are_free: bool,
}

/// One thread's steps. It ends after the last one.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub name: String,
    pub steps: Box<[Step]>,
}

/// Loops are flat: `Repeat` to begin one, `Again` at its end.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Compute(Time),
    Sleep(Time),
    /// Starts a thread of this program.
    Fork(usize),
    /// Waits until all threads that it forked have ended.
    Wait,
    Send(usize),
    Receive(usize),
    Yield,
    Pin(Box<CpuSet>),
    /// What follows, so often; `None`: for ever.
    Repeat(Option<u64>),
    /// Back to the step after the `Repeat` at this index, unless it was the last time.
    Again(usize),
    Exit,
}

/// Messages that were sent and not yet received. Senders wait for room, receivers for a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel {
    pub capacity: u64,
    /// Senders are woken when there is room for so many.
    pub wake_room: u64,
}

/// Threads that are there from the beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub program: usize,
    pub count: u64,
    /// Made on all CPUs in turn instead of on the first.
    pub spread: bool,
}

impl Workload {
    /// How many threads are there from the beginning.
    pub fn threads(&self) -> u64 {
        self.start.iter().map(|start| start.count).sum()
    }

    pub(crate) fn add_program(&mut self, name: impl Into<String>, steps: Vec<Step>) -> usize {
        self.programs.push(Program { name: name.into(), steps: steps.into() });
        self.programs.len() - 1
    }

    pub(crate) fn add_channel(&mut self, channel: Channel) -> usize {
        self.channels.push(channel);
        self.channels.len() - 1
    }
}

/// Appends `body`, `times` times.
pub(crate) fn repeat(steps: &mut Vec<Step>, times: Option<u64>, body: impl FnOnce(&mut Vec<Step>)) {
    if times == Some(0) {
        return;
    }
    let begin = steps.len();
    steps.push(Step::Repeat(times));
    body(steps);
    steps.push(Step::Again(begin));
}
