//! The programs of `userland` that compare machines, as simulated threads.

use super::{Channel, Start, Step, Workload, repeat};
use crate::time::Time;

/// `fork_spin_stress`: one child computes alone; then, so many rounds, many children compute the same all at once.
#[derive(Clone, Copy, Debug)]
pub struct SpinStress {
    pub children: u64,
    /// How long a child computes, in milliseconds.
    pub millis: u64,
    pub rounds: u64,
    pub solo_millis: u64,
}

impl Default for SpinStress {
    fn default() -> Self {
        Self { children: 50, millis: 30, rounds: 1, solo_millis: 100 }
    }
}

impl SpinStress {
    /// The name of the child that computes alone, and of those that do so together.
    pub const SOLO: &str = "solo";
    pub const CHILD: &str = "child";
    /// The program that forks them.
    pub const PARENT: &str = "parent";

    pub fn workload(&self) -> Workload {
        let mut workload = Workload { measured: Some(1), ..Workload::default() };
        let compute = |millis| vec![Step::Compute(Time::Fixed(millis * 1_000_000))];
        let solo = workload.add_program(Self::SOLO, compute(self.solo_millis));
        let child = workload.add_program(Self::CHILD, compute(self.millis));
        let mut steps = vec![Step::Fork(solo), Step::Wait];
        repeat(&mut steps, Some(self.rounds), |steps| {
            repeat(steps, Some(self.children), |steps| steps.push(Step::Fork(child)));
            steps.push(Step::Wait);
        });
        let parent = workload.add_program(Self::PARENT, steps);
        workload.start.push(Start { program: parent, count: 1, spread: false });
        workload
    }
}

/// `message_storm`: in each group, each of `pairs` senders sends to each of `pairs` receivers, `loops` times.
#[derive(Clone, Copy, Debug)]
pub struct MessageStorm {
    pub groups: u64,
    pub pairs: u64,
    pub loops: u64,
}

impl Default for MessageStorm {
    fn default() -> Self {
        Self { groups: 4, pairs: 5, loops: 50 }
    }
}

/// A pipe holds 64 KiB, a message is 100 bytes, and senders are woken when 4096 bytes are free.
const PIPE: Channel = Channel { capacity: 65_536 / 100, wake_room: 4_096_u64.div_ceil(100) };

impl MessageStorm {
    pub fn workload(&self) -> Workload {
        let mut workload = Workload::default();
        let mut main = Vec::new();
        for group in 0..self.groups {
            let pipes: Vec<usize> = (0..self.pairs).map(|_| workload.add_channel(PIPE)).collect();
            for (number, pipe) in pipes.iter().enumerate() {
                let mut steps = Vec::new();
                repeat(&mut steps, Some(self.pairs * self.loops), |steps| steps.push(Step::Receive(*pipe)));
                main.push(Step::Fork(workload.add_program(format!("receiver {group}.{number}"), steps)));
            }
            let mut steps = Vec::new();
            repeat(&mut steps, Some(self.loops), |steps| {
                steps.extend(pipes.iter().map(|pipe| Step::Send(*pipe)))
            });
            let sender = workload.add_program(format!("sender {group}"), steps);
            repeat(&mut main, Some(self.pairs), |steps| steps.push(Step::Fork(sender)));
        }
        main.push(Step::Wait);
        let main = workload.add_program("parent", main);
        workload.start.push(Start { program: main, count: 1, spread: false });
        workload
    }
}
