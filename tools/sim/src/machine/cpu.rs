//! One CPU as its kernel runs it: interrupts, the tick, switches, the idle loop.

use super::Machine;
use super::thread::Stage;
use crate::Error;
use crate::queue::NEVER;
use formats::{CpuId, Instant};
use sched::{Kind, Leave, Progress, Switch, Tick, Timer};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// In the place of a thread: the idle thread.
pub const IDLE: usize = usize::MAX;

/// How many different phases the ticks of CPUs have, as in the kernel.
const PHASES: u64 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for an interrupt.
    Halted,
    /// On the way to the next thread; interrupts are off until it is there.
    Switching,
    Running,
}

pub struct Cpu {
    state: State,
    /// The thread that runs or is switched to; [`IDLE`].
    pub thread: usize,
    /// When the switch or the running thread's step ends.
    ends: u64,
    tick: u64,
    /// When a call from another CPU arrives.
    call: u64,
    /// When the scheduler wants to look again.
    event: u64,
    /// The first deadline of a sleeper; never while `timers_due`.
    timer: u64,
    timers_due: bool,
    timers: BinaryHeap<Reverse<(u64, usize)>>,
    /// When the running thread was dispatched, and up to when its step is accounted.
    dispatched: u64,
    since: u64,
    /// What the kernel has done while idle, to be waited for by the next thread.
    idle_debt: u64,
    /// Computing done here.
    pub work: u64,
}

impl Default for Cpu {
    fn default() -> Self {
        Self {
            state: State::Halted,
            thread: IDLE,
            ends: NEVER,
            tick: NEVER,
            call: NEVER,
            event: NEVER,
            timer: NEVER,
            timers_due: false,
            timers: BinaryHeap::new(),
            dispatched: 0,
            since: 0,
            idle_debt: 0,
            work: 0,
        }
    }
}

impl Cpu {
    /// When something happens here.
    pub fn next(&self) -> u64 {
        match self.state {
            State::Switching => self.ends,
            State::Halted => self.call.min(self.event).min(self.timer),
            State::Running => self.ends.min(self.interrupt()),
        }
    }

    fn interrupt(&self) -> u64 {
        self.tick.min(self.call).min(self.event).min(self.timer)
    }

    /// Another CPU's call arrives at `time`.
    pub fn called(&mut self, time: u64) {
        self.call = self.call.min(time);
    }

    /// The thread of number `index` is to be woken at `deadline`.
    pub fn add_timer(&mut self, deadline: u64, index: usize) {
        self.timers.push(Reverse((deadline, index)));
        self.note_timer();
    }

    fn note_timer(&mut self) {
        let first = self.timers.peek().map_or(NEVER, |Reverse((deadline, _))| *deadline);
        self.timer = if self.timers_due { NEVER } else { first };
    }
}

fn id(cpu: usize) -> CpuId {
    CpuId(cpu as u32)
}

fn ticks(time: Option<Instant>) -> u64 {
    time.map_or(NEVER, |time| time.as_ticks())
}

impl Machine {
    /// What is due on `cpu` happens.
    pub(super) fn act(&mut self, cpu: usize) -> Result<(), Error> {
        match self.cpus[cpu].state {
            State::Switching => self.arrive(cpu),
            State::Halted => {
                self.note_interrupts(cpu);
                self.idle(cpu, self.costs.idle_exit.0);
                Ok(())
            }
            State::Running if self.cpus[cpu].interrupt() <= self.now => self.interrupt(cpu),
            State::Running => {
                self.account(cpu);
                self.proceed(cpu)
            }
        }
    }

    /// Calls and timers that are due make the CPU reschedule. Returns what their handlers cost.
    fn note_interrupts(&mut self, cpu: usize) -> u64 {
        let (here, now) = (&mut self.cpus[cpu], self.now);
        let mut cost = 0;
        if here.call <= now {
            here.call = NEVER;
            cost += self.costs.ipi_handler.0;
            self.core.request_reschedule(id(cpu));
        }
        if here.timer <= now {
            here.timers_due = true;
            here.timer = NEVER;
            cost += self.costs.tick.0;
            self.core.request_reschedule(id(cpu));
        }
        if here.event <= now {
            here.event = NEVER;
            cost += self.costs.tick.0;
            self.core.request_reschedule(id(cpu));
        }
        cost
    }

    /// An interrupt hits the running thread.
    fn interrupt(&mut self, cpu: usize) -> Result<(), Error> {
        self.account(cpu);
        let mut cost = self.note_interrupts(cpu);
        let in_call = self.live(cpu).stage != Stage::Compute;
        if self.cpus[cpu].tick <= self.now {
            cost += self.costs.tick.0;
            self.tick(cpu, in_call, cost)?;
        }
        self.charge(cpu, cost);
        if !in_call && self.leave_kernel(cpu) {
            return Ok(());
        }
        if self.timer == Timer::OneShot {
            self.limit_slice(cpu);
        }
        self.plan(cpu);
        Ok(())
    }

    fn tick(&mut self, cpu: usize, in_call: bool, cost: u64) -> Result<(), Error> {
        let progress = if in_call {
            Progress::Kernel
        } else {
            Progress::User { retired: self.now > self.cpus[cpu].dispatched, rip: 0 }
        };
        let answer = self.core.tick(id(cpu), progress);
        self.cpus[cpu].tick = match answer {
            Tick::Continue | Tick::Reschedule if self.timer == Timer::OneShot => NEVER,
            Tick::Continue | Tick::Reschedule => self.next_tick(cpu, self.now + cost),
            Tick::Rearm => self.now + cost + self.period,
            Tick::Livelock(livelock) => return Err(Error::Livelock(livelock)),
        };
        Ok(())
    }

    /// The first tick after `now` in the phase of `cpu`.
    fn next_tick(&self, cpu: usize, now: u64) -> u64 {
        let phase = self.period * (cpu as u64 % PHASES) / PHASES;
        (now.saturating_sub(phase) / self.period + 1) * self.period + phase
    }

    /// The kernel's way back to user mode; whether another thread goes instead.
    pub(super) fn leave_kernel(&mut self, cpu: usize) -> bool {
        while self.core.needs_reschedule(id(cpu)) {
            self.run_due_timers(cpu);
            let has_run = self.now > self.cpus[cpu].dispatched;
            let why = if has_run { Leave::Preempt } else { Leave::Hold };
            if let Some(switch) = self.core.reschedule(id(cpu), why) {
                self.switch(cpu, &switch, 0);
                return true;
            }
            self.limit_slice(cpu);
        }
        false
    }

    /// Notes when this CPU must look again although nothing happens.
    fn limit_slice(&mut self, cpu: usize) {
        self.cpus[cpu].event = ticks(self.core.next_event(id(cpu)));
        if self.timer == Timer::OneShot {
            self.cpus[cpu].tick = ticks(self.core.slice_end(id(cpu)));
        }
    }

    /// Begins to change threads, which takes `extra` longer than usual.
    pub(super) fn switch(&mut self, cpu: usize, switch: &Switch, extra: u64) {
        let cost = self.costs.switch.0 + extra;
        let here = &mut self.cpus[cpu];
        here.state = State::Switching;
        here.ends = self.now + cost;
        here.thread = IDLE;
        if switch.next.kind() == Kind::User {
            here.thread = switch.next.id().0 as usize - 1;
            self.live(cpu).overhead += cost;
        }
    }

    /// The next thread is there.
    fn arrive(&mut self, cpu: usize) -> Result<(), Error> {
        drop(self.core.finish_switch(id(cpu)));
        if self.cpus[cpu].thread == IDLE {
            self.idle(cpu, 0);
            return Ok(());
        }
        let here = &mut self.cpus[cpu];
        here.state = State::Running;
        here.dispatched = self.now;
        here.since = self.now;
        if self.timer == Timer::Periodic && here.tick == NEVER {
            self.cpus[cpu].tick = self.next_tick(cpu, self.now);
        }
        self.limit_slice(cpu);
        self.refill(cpu);
        if self.live(cpu).stage != Stage::Retry && self.leave_kernel(cpu) {
            return Ok(());
        }
        self.proceed(cpu)
    }

    /// The thread that has arrived brings its working set to these caches.
    fn refill(&mut self, cpu: usize) {
        let live = self.live(cpu);
        match live.last_cpu.replace(cpu) {
            Some(last) if last != cpu => {
                let distance = self.core.machine().topology().distance(id(last), id(cpu));
                self.charge(cpu, self.costs.migration.0 + self.costs.refill.of(distance));
            }
            _ => {}
        }
    }

    /// The idle loop, up to the next thread or the next interrupt.
    fn idle(&mut self, cpu: usize, extra: u64) {
        while self.core.needs_reschedule(id(cpu)) {
            self.run_due_timers(cpu);
            if let Some(switch) = self.core.reschedule(id(cpu), Leave::Preempt) {
                let debt = std::mem::take(&mut self.cpus[cpu].idle_debt);
                self.switch(cpu, &switch, extra + debt);
                return;
            }
        }
        let event = ticks(self.core.next_event(id(cpu)));
        let here = &mut self.cpus[cpu];
        here.state = State::Halted;
        here.tick = NEVER;
        here.event = event;
        here.idle_debt = 0;
    }

    /// Wakes the sleepers of this CPU whose time has come.
    fn run_due_timers(&mut self, cpu: usize) {
        if !std::mem::take(&mut self.cpus[cpu].timers_due) {
            return;
        }
        let mut cost = 0;
        while let Some(Reverse((deadline, _))) = self.cpus[cpu].timers.peek()
            && *deadline <= self.now
        {
            let Some(Reverse((_, index))) = self.cpus[cpu].timers.pop() else { break };
            if let Some(live) = &self.threads[index].live {
                self.core.wake(&live.handle, id(cpu));
                cost += self.costs.wake.0;
            }
        }
        self.cpus[cpu].note_timer();
        match self.cpus[cpu].thread {
            IDLE => self.cpus[cpu].idle_debt += cost,
            _ => self.charge(cpu, cost),
        }
    }

    /// The kernel works for `cost` in the running thread's time, before that goes on.
    pub(super) fn charge(&mut self, cpu: usize, cost: u64) {
        let live = self.live(cpu);
        live.debt += cost;
        live.overhead += cost;
    }

    /// Accounts what the running thread has done since the last time.
    pub(super) fn account(&mut self, cpu: usize) {
        let elapsed = self.now - std::mem::replace(&mut self.cpus[cpu].since, self.now);
        let measured = self.measured;
        let live = self.live(cpu);
        let paid = live.debt.min(elapsed);
        live.debt -= paid;
        live.remaining -= elapsed - paid;
        if live.stage == Stage::Compute && measured.is_none_or(|measured| measured == live.program) {
            self.cpus[cpu].work += elapsed - paid;
        }
    }

    /// Plans the end of the running thread's step.
    pub(super) fn plan(&mut self, cpu: usize) {
        let live = self.live(cpu);
        let left = live.debt + live.remaining;
        self.cpus[cpu].since = self.now;
        self.cpus[cpu].ends = self.now + left;
    }
}
