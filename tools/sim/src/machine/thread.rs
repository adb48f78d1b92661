//! Threads: what their programs do in user mode and in system calls.

use super::Machine;
use crate::Error;
use crate::workload::{self, Step};
use fastrand::Rng;
use formats::trace::{Event, Name};
use formats::{CpuId, CpuSet, ThreadId};
use sched::{Kind, Leave, NewThread, Platform, Policy};
use std::sync::Arc;

/// A thread that runs, waits, or has ended. Times in nanoseconds.
///
/// Whatever happens to a thread, it has not been looked at for long when there are many. So what is needed each time is
/// on one cache line.
#[repr(C, align(64))]
pub struct Thread {
    /// `None` when it has ended.
    pub handle: Option<Arc<sched::Thread>>,
    /// What is left of the step, and of what the kernel does before that goes on.
    pub remaining: u64,
    pub debt: u64,
    /// What it has had: computing, and what the kernel did for it.
    pub work: u64,
    pub overhead: u64,
    random: Rng,
    pub program: u32,
    /// The step where it is.
    at: u32,
    /// Where it last ran; [`NOWHERE`].
    pub last_cpu: u32,
    pub stage: Stage,
    entered: bool,
    waits: bool,
    /// How often each loop around the step is still to be gone through.
    loops: Vec<Option<u64>>,
    deadline: u64,
    pub started: u64,
    pub finished: Option<u64>,
    /// The thread that forked it; [`NOBODY`].
    parent: u32,
    /// Threads that it forked and that have not been waited for, and those of them that have ended.
    children: u32,
    ended: u32,
}

/// In the place of a CPU.
pub const NOWHERE: u32 = u32::MAX;

/// In the place of a thread.
const NOBODY: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The step has not begun.
    Fetch,
    /// In user mode.
    Compute,
    /// In a system call, which has its effect when its time is over.
    Call,
    /// It sleeps in a system call, or was woken and looks again.
    Retry,
}

/// What became of a system call.
enum Effect {
    Done,
    /// It sleeps until woken, and then looks again.
    Sleep,
    /// Another thread runs now.
    Left,
}

/// Messages under way.
pub struct Channel {
    capacity: u64,
    wake_room: u64,
    messages: u64,
    senders: Vec<usize>,
    receivers: Vec<usize>,
}

impl Channel {
    pub fn new(channel: &workload::Channel) -> Self {
        let workload::Channel { capacity, wake_room } = *channel;
        Self { capacity, wake_room, messages: 0, senders: Vec::new(), receivers: Vec::new() }
    }
}

impl Machine {
    /// What is to be known of the thread that runs on `cpu`.
    #[inline]
    pub(super) fn running(&mut self, cpu: usize) -> &mut Thread {
        &mut self.threads[self.cpus[cpu].thread]
    }

    pub(super) fn make_thread(
        &mut self,
        program: usize,
        parent: Option<usize>,
        random: Rng,
        affinity: CpuSet,
        here: usize,
    ) {
        let id = ThreadId(self.threads.len() as u32 + 1);
        let here = CpuId(here as u32);
        let new = NewThread { id, kind: Kind::User, affinity, policy: Policy::default(), task: Arc::new(()) };
        let handle = self.core.spawn(new, here);
        self.threads.push(Thread {
            handle: Some(handle.clone()),
            remaining: 0,
            debt: 0,
            work: 0,
            overhead: 0,
            random,
            program: program as u32,
            at: 0,
            last_cpu: NOWHERE,
            stage: Stage::Fetch,
            entered: false,
            waits: false,
            loops: Vec::new(),
            deadline: 0,
            started: self.now,
            finished: None,
            parent: parent.map_or(NOBODY, |parent| parent as u32),
            children: 0,
            ended: 0,
        });
        self.left += 1;
        self.most = self.most.max(self.left);
        let hardware = self.core.platform();
        let by = parent.map_or(0, |parent| parent as u32 + 1);
        hardware.trace(here, || Event::Born { thread: id, process: id.0, parent: ThreadId(by) });
        let name = &self.programs[program].name;
        hardware.trace(here, || Event::Named { thread: id, name: Name::new(name.as_bytes()) });
        self.core.start(&handle, here);
    }

    /// Lets the thread that runs on `cpu` go on, up to where it next takes time or leaves.
    pub(super) fn proceed(&mut self, cpu: usize) -> Result<(), Error> {
        loop {
            let thread = self.running(cpu);
            match thread.stage {
                Stage::Compute | Stage::Call if thread.remaining + thread.debt > 0 => {
                    self.plan(cpu);
                    return Ok(());
                }
                Stage::Compute => {
                    thread.stage = Stage::Fetch;
                    thread.at += 1;
                }
                Stage::Fetch => self.begin_step(cpu),
                Stage::Call | Stage::Retry => match self.effect(cpu) {
                    Effect::Done => {
                        let thread = self.running(cpu);
                        thread.stage = Stage::Fetch;
                        thread.at += 1;
                        if self.leave_kernel(cpu) {
                            return Ok(());
                        }
                    }
                    Effect::Sleep => {
                        self.running(cpu).stage = Stage::Retry;
                        if self.sleep(cpu)? {
                            return Ok(());
                        }
                    }
                    Effect::Left => return Ok(()),
                },
            }
        }
    }

    fn begin_step(&mut self, cpu: usize) {
        let index = self.cpus[cpu].thread;
        let thread = &mut self.threads[index];
        if !thread.entered {
            thread.entered = true;
            if let Some(handle) = &thread.handle {
                self.core.note_first_instruction(handle, CpuId(cpu as u32));
            }
        }
        let costs = &self.costs;
        let call = match self.programs[thread.program as usize].steps.get(thread.at as usize) {
            Some(Step::Compute(time)) => {
                let ns = time.draw(&mut thread.random) as f64 * self.slowdown;
                // A loop of steps that take no time would never end.
                thread.remaining = (ns.round() as u64).max(1);
                thread.work += thread.remaining;
                thread.stage = Stage::Compute;
                return;
            }
            Some(Step::Repeat(times)) => {
                thread.loops.push(*times);
                thread.at += 1;
                return;
            }
            Some(Step::Again(begin)) => {
                match thread.loops.last_mut() {
                    Some(None) => thread.at = *begin as u32 + 1,
                    Some(Some(times)) if *times > 1 => {
                        *times -= 1;
                        thread.at = *begin as u32 + 1;
                    }
                    _ => {
                        thread.loops.pop();
                        thread.at += 1;
                    }
                }
                return;
            }
            Some(Step::Sleep(_)) => costs.sleep,
            Some(Step::Fork(_)) => costs.fork,
            Some(Step::Wait) => costs.wait,
            Some(Step::Send(_)) => costs.send,
            Some(Step::Receive(_)) => costs.receive,
            Some(Step::Yield) => costs.yielding,
            Some(Step::Pin(_)) => costs.pin,
            Some(Step::Exit) | None => costs.exit,
        };
        thread.remaining = call.0.max(1);
        thread.overhead += thread.remaining;
        thread.stage = Stage::Call;
    }

    /// The system call of the thread on `cpu` does what it is for.
    fn effect(&mut self, cpu: usize) -> Effect {
        let here = CpuId(cpu as u32);
        let index = self.cpus[cpu].thread;
        let thread = &mut self.threads[index];
        let first = thread.stage == Stage::Call;
        match self.programs[thread.program as usize].steps.get(thread.at as usize) {
            Some(Step::Sleep(time)) => {
                if first {
                    thread.deadline = self.now + time.draw(&mut thread.random);
                    self.cpus[cpu].add_timer(thread.deadline, index);
                }
                if self.now >= thread.deadline { Effect::Done } else { Effect::Sleep }
            }
            Some(Step::Fork(program)) => {
                let (program, random) = (*program, Rng::with_seed(thread.random.u64(..)));
                thread.children += 1;
                let affinity = thread.handle.as_ref().map_or(CpuSet::ALL, |handle| handle.affinity());
                self.make_thread(program, Some(index), random, affinity, cpu);
                Effect::Done
            }
            Some(Step::Wait) => {
                thread.children -= std::mem::take(&mut thread.ended);
                thread.waits = thread.children > 0;
                if thread.waits { Effect::Sleep } else { Effect::Done }
            }
            Some(Step::Send(channel)) => {
                let channel = &mut self.channels[*channel];
                if channel.messages >= channel.capacity {
                    channel.senders.push(index);
                    return Effect::Sleep;
                }
                channel.messages += 1;
                if channel.messages == 1 {
                    let woken = std::mem::take(&mut channel.receivers);
                    self.wake_all(woken, cpu);
                }
                Effect::Done
            }
            Some(Step::Receive(channel)) => {
                let channel = &mut self.channels[*channel];
                if channel.messages == 0 {
                    channel.receivers.push(index);
                    return Effect::Sleep;
                }
                channel.messages -= 1;
                if channel.capacity - channel.messages >= channel.wake_room.min(channel.capacity) {
                    let woken = std::mem::take(&mut channel.senders);
                    self.wake_all(woken, cpu);
                }
                Effect::Done
            }
            Some(Step::Yield) => {
                thread.stage = Stage::Fetch;
                thread.at += 1;
                match self.core.reschedule(here, Leave::Yield) {
                    Some(switch) => {
                        self.switch(cpu, &switch, 0);
                        Effect::Left
                    }
                    None => {
                        thread.at -= 1;
                        Effect::Done
                    }
                }
            }
            Some(Step::Pin(set)) => {
                if let Some(handle) = &thread.handle {
                    self.core.set_affinity(handle, **set, here);
                }
                Effect::Done
            }
            Some(Step::Exit | Step::Compute(_) | Step::Repeat(_) | Step::Again(_)) | None => {
                self.exit(cpu);
                Effect::Left
            }
        }
    }

    fn wake_all(&mut self, woken: Vec<usize>, cpu: usize) {
        let mut cost = 0;
        for index in woken {
            cost += self.wake(index, cpu);
        }
        self.charge(cpu, cost);
    }

    /// Wakes a thread that waits for another; what that costs.
    fn wake(&mut self, index: usize, cpu: usize) -> u64 {
        let Some(handle) = &self.threads[index].handle else { return 0 };
        if !self.core.wake(handle, CpuId(cpu as u32)) {
            return 0;
        }
        self.blocked -= 1;
        self.costs.wake.0
    }

    /// The thread on `cpu` sleeps; whether another runs now.
    fn sleep(&mut self, cpu: usize) -> Result<bool, Error> {
        let here = CpuId(cpu as u32);
        let index = self.cpus[cpu].thread;
        let thread = &self.threads[index];
        let timed = thread.deadline > self.now;
        let Some(handle) = &thread.handle else { return Ok(false) };
        self.core.announce_sleep(handle);
        let Some(switch) = self.core.reschedule(here, Leave::Block) else {
            self.core.cancel_sleep(handle);
            return Ok(false);
        };
        self.blocked += usize::from(!timed);
        if self.blocked == self.left {
            return Err(self.deadlock());
        }
        self.switch(cpu, &switch, 0);
        Ok(true)
    }

    fn exit(&mut self, cpu: usize) {
        let index = self.cpus[cpu].thread;
        let parent = self.threads[index].parent as usize;
        if let Some(forker) = self.threads.get_mut(parent) {
            forker.ended += 1;
            if std::mem::take(&mut forker.waits) {
                self.wake(parent, cpu);
            }
        }
        let switch = self.core.reschedule(CpuId(cpu as u32), Leave::Exit);
        let thread = &mut self.threads[index];
        thread.finished = Some(self.now);
        thread.loops = Vec::new();
        let ran = thread.handle.take().map_or(0, |handle| handle.ran().as_ticks());
        let used = thread.work + thread.overhead;
        if ran != used {
            self.problems.push(format!("thread {} was charged {ran} ns and has used {used} ns", index + 1));
        }
        self.left -= 1;
        let switch = switch.expect("a thread that exits is always followed, if by idle");
        self.switch(cpu, &switch, 0);
    }

    /// Where a thread is, for a message.
    pub(super) fn describe(&self, thread: &Thread) -> String {
        let program = &self.programs[thread.program as usize];
        let at = thread.at as usize;
        let what = program.steps.get(at).map_or_else(|| "its end".to_owned(), |step| format!("{step:?}"));
        format!("step {} of `{}`: {what}", at + 1, program.name)
    }
}
