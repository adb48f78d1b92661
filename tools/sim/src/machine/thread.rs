//! Threads: what their programs do in user mode and in system calls.

use super::Machine;
use crate::Error;
use crate::workload::{self, Step};
use fastrand::Rng;
use formats::trace::{Event, Name};
use formats::{CpuId, CpuSet, ThreadId};
use sched::{Kind, Leave, NewThread, Platform, Policy};
use std::sync::Arc;

/// A thread that runs, waits, or has ended.
pub struct Thread {
    pub program: usize,
    pub started: u64,
    pub finished: Option<u64>,
    /// Set when it ends, or the run.
    pub work: u64,
    pub overhead: u64,
    pub live: Option<Box<Live>>,
}

/// What there is of a thread until it ends. Times in nanoseconds.
pub struct Live {
    pub handle: Arc<sched::Thread>,
    pub stage: Stage,
    pub program: usize,
    /// The step where it is.
    at: usize,
    /// What is left of the step, and of what the kernel does before that goes on.
    pub remaining: u64,
    pub debt: u64,
    work: u64,
    pub overhead: u64,
    pub last_cpu: Option<usize>,
    entered: bool,
    waits: bool,
    parent: Option<usize>,
    /// Threads that it forked and that have not been waited for, and those of them that have ended.
    children: u64,
    ended: u64,
    deadline: u64,
    /// How often each loop around the step is still to be gone through.
    loops: Vec<Option<u64>>,
    random: Rng,
}

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
    pub(super) fn live(&mut self, cpu: usize) -> &mut Live {
        let thread = self.cpus[cpu].thread;
        self.threads[thread].live.as_mut().expect("a thread that runs has not ended")
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
        let live = Live {
            handle: handle.clone(),
            stage: Stage::Fetch,
            program,
            at: 0,
            remaining: 0,
            debt: 0,
            work: 0,
            overhead: 0,
            last_cpu: None,
            entered: false,
            waits: false,
            parent,
            children: 0,
            ended: 0,
            deadline: 0,
            loops: Vec::new(),
            random,
        };
        let (started, live) = (self.now, Some(Box::new(live)));
        self.threads.push(Thread { program, started, finished: None, work: 0, overhead: 0, live });
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
            let live = self.live(cpu);
            match live.stage {
                Stage::Compute | Stage::Call if live.remaining + live.debt > 0 => {
                    self.plan(cpu);
                    return Ok(());
                }
                Stage::Compute => {
                    live.stage = Stage::Fetch;
                    live.at += 1;
                }
                Stage::Fetch => self.begin_step(cpu),
                Stage::Call | Stage::Retry => match self.effect(cpu) {
                    Effect::Done => {
                        let live = self.live(cpu);
                        live.stage = Stage::Fetch;
                        live.at += 1;
                        if self.leave_kernel(cpu) {
                            return Ok(());
                        }
                    }
                    Effect::Sleep => {
                        self.live(cpu).stage = Stage::Retry;
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
        let live = self.threads[index].live.as_mut().expect("a thread that runs has not ended");
        if !live.entered {
            live.entered = true;
            self.core.note_first_instruction(&live.handle, CpuId(cpu as u32));
        }
        let costs = &self.costs;
        let call = match self.programs[live.program].steps.get(live.at) {
            Some(Step::Compute(time)) => {
                let ns = time.draw(&mut live.random) as f64 * self.slowdown;
                // A loop of steps that take no time would never end.
                live.remaining = (ns.round() as u64).max(1);
                live.work += live.remaining;
                live.stage = Stage::Compute;
                return;
            }
            Some(Step::Repeat(times)) => {
                live.loops.push(*times);
                live.at += 1;
                return;
            }
            Some(Step::Again(begin)) => {
                match live.loops.last_mut() {
                    Some(None) => live.at = begin + 1,
                    Some(Some(times)) if *times > 1 => {
                        *times -= 1;
                        live.at = begin + 1;
                    }
                    _ => {
                        live.loops.pop();
                        live.at += 1;
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
        live.remaining = call.0.max(1);
        live.overhead += live.remaining;
        live.stage = Stage::Call;
    }

    /// The system call of the thread on `cpu` does what it is for.
    fn effect(&mut self, cpu: usize) -> Effect {
        let here = CpuId(cpu as u32);
        let index = self.cpus[cpu].thread;
        let live = self.threads[index].live.as_mut().expect("a thread that runs has not ended");
        let first = live.stage == Stage::Call;
        match self.programs[live.program].steps.get(live.at) {
            Some(Step::Sleep(time)) => {
                if first {
                    live.deadline = self.now + time.draw(&mut live.random);
                    self.cpus[cpu].add_timer(live.deadline, index);
                }
                if self.now >= live.deadline { Effect::Done } else { Effect::Sleep }
            }
            Some(Step::Fork(program)) => {
                let (program, random) = (*program, Rng::with_seed(live.random.u64(..)));
                live.children += 1;
                let affinity = live.handle.affinity();
                self.make_thread(program, Some(index), random, affinity, cpu);
                Effect::Done
            }
            Some(Step::Wait) => {
                live.children -= std::mem::take(&mut live.ended);
                live.waits = live.children > 0;
                if live.waits { Effect::Sleep } else { Effect::Done }
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
                live.stage = Stage::Fetch;
                live.at += 1;
                match self.core.reschedule(here, Leave::Yield) {
                    Some(switch) => {
                        self.switch(cpu, &switch, 0);
                        Effect::Left
                    }
                    None => {
                        live.at -= 1;
                        Effect::Done
                    }
                }
            }
            Some(Step::Pin(set)) => {
                let handle = live.handle.clone();
                self.core.set_affinity(&handle, **set, here);
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
        let Some(live) = &self.threads[index].live else { return 0 };
        if !self.core.wake(&live.handle, CpuId(cpu as u32)) {
            return 0;
        }
        self.blocked -= 1;
        self.costs.wake.0
    }

    /// The thread on `cpu` sleeps; whether another runs now.
    fn sleep(&mut self, cpu: usize) -> Result<bool, Error> {
        let here = CpuId(cpu as u32);
        let index = self.cpus[cpu].thread;
        let live = self.threads[index].live.as_ref().expect("a thread that runs has not ended");
        let timed = live.deadline > self.now;
        self.core.announce_sleep(&live.handle);
        let Some(switch) = self.core.reschedule(here, Leave::Block) else {
            self.core.cancel_sleep(&live.handle);
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
        let parent = self.live(cpu).parent;
        if let Some(parent) = parent
            && let Some(live) = &mut self.threads[parent].live
        {
            live.ended += 1;
            if std::mem::take(&mut live.waits) {
                self.wake(parent, cpu);
            }
        }
        let switch = self.core.reschedule(CpuId(cpu as u32), Leave::Exit);
        let thread = &mut self.threads[index];
        thread.finished = Some(self.now);
        if let Some(live) = thread.live.take() {
            thread.work = live.work;
            thread.overhead = live.overhead;
            let ran = live.handle.ran().as_ticks();
            if ran != live.work + live.overhead {
                self.problems.push(format!(
                    "thread {} was charged {ran} ns and has used {} ns",
                    index + 1,
                    live.work + live.overhead
                ));
            }
        }
        self.left -= 1;
        let switch = switch.expect("a thread that exits is always followed, if by idle");
        self.switch(cpu, &switch, 0);
    }

    /// Where a thread is, for a message.
    pub(super) fn describe(&self, thread: &Thread) -> String {
        let program = &self.programs[thread.program];
        let at = thread.live.as_ref().map_or(0, |live| live.at);
        let what = program.steps.get(at).map_or_else(|| "its end".to_owned(), |step| format!("{step:?}"));
        format!("step {} of `{}`: {what}", at + 1, program.name)
    }
}
