//! A machine that runs by itself: threads compute, sleep and yield by simple programs, timers fire when they should, and
//! time passes only in between. It drives the core as the kernel does.

use crate::machine::RAN;
use crate::platform::Sim;
use sched::{
    Config, Core, CpuId, CpuSet, Duration, Instant, Kind, Leave, NewThread, Platform, Policy, Thread,
    ThreadId, Timer, Topology,
};
use std::sync::Arc;

/// What a thread does again and again: compute for `burst`, then this.
#[derive(Clone, Copy, Debug)]
pub enum Then {
    /// It never comes to an end.
    Never,
    Sleep(Duration),
    Yield,
    Exit,
}

#[derive(Clone, Copy, Debug)]
pub struct Program {
    pub burst: Duration,
    pub then: Then,
}

impl Program {
    pub const SPIN: Self = Self { burst: Duration::from_millis(1 << 40), then: Then::Never };

    pub fn periodic(burst_us: u64, sleep_us: u64) -> Self {
        Self { burst: us(burst_us), then: Then::Sleep(us(sleep_us)) }
    }
}

pub const fn us(count: u64) -> Duration {
    Duration::from_ticks(count * 1_000)
}

pub const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

struct Guest {
    thread: Arc<Thread>,
    program: Program,
    left: Duration,
    wakes_at: Option<Instant>,
}

struct Cpu {
    current: Option<usize>,
    next_tick: Instant,
    event: Option<Instant>,
    /// The current thread has run since it was dispatched.
    has_run: bool,
}

pub struct Laboratory {
    pub core: Core<Sim>,
    guests: Vec<Guest>,
    cpus: Vec<Cpu>,
}

impl Laboratory {
    pub fn new(cpus: usize, config: Config) -> Self {
        let core = Core::new(Sim::new(cpus), Topology::flat(cpus), config);
        CpuId::first(cpus).for_each(|cpu| drop(core.bring_online(cpu, idle(cpu))));
        let now = core.platform().now();
        let cpu = |_| Cpu { current: None, next_tick: now + config.tick, event: None, has_run: false };
        let mut laboratory = Self { cpus: CpuId::first(cpus).map(cpu).collect(), guests: Vec::new(), core };
        laboratory.act();
        laboratory
    }

    pub fn back_online(&mut self, cpu: CpuId) {
        self.core.set_online(cpu, CpuId::BOOT);
    }

    pub fn now(&self) -> Instant {
        self.core.platform().now()
    }

    /// Starts a thread on CPU 0; returns its index.
    pub fn start(&mut self, policy: Policy, affinity: CpuSet, program: Program) -> usize {
        let (index, kind) = (self.guests.len(), Kind::User);
        let id = ThreadId(index as u32 + 1);
        let new = NewThread { id, kind, affinity, policy, task: Arc::new(index) };
        let thread = self.core.spawn(new, CpuId::BOOT);
        self.core.start(&thread, CpuId::BOOT);
        self.guests.push(Guest { thread, program, left: program.burst, wakes_at: None });
        self.act();
        index
    }

    /// Starts a thread that may run on CPU 0 only.
    pub fn start_here(&mut self, policy: Policy, program: Program) -> usize {
        self.start(policy, CpuSet::of(CpuId::BOOT), program)
    }

    pub fn thread(&self, index: usize) -> &Arc<Thread> {
        &self.guests[index].thread
    }

    /// How long it has run in all.
    pub fn ran(&self, index: usize) -> Duration {
        self.core.ran(&self.guests[index].thread)
    }

    pub fn running(&self, cpu: CpuId) -> Option<usize> {
        self.cpus[cpu.index()].current
    }

    pub fn set_program(&mut self, index: usize, program: Program) {
        (self.guests[index].program, self.guests[index].left) = (program, program.burst);
    }

    /// Lets it sleep no longer.
    pub fn wake(&mut self, index: usize) {
        self.guests[index].wakes_at = None;
        self.core.wake(&self.guests[index].thread, CpuId::BOOT);
        self.act();
    }

    /// Each CPU does what it was called for, until none has anything left to do.
    pub fn act(&mut self) {
        for round in 0.. {
            assert!(round < 1_000, "the machine does not come to rest");
            let mut any = false;
            for cpu in CpuId::first(self.cpus.len()) {
                let called = self.core.platform().take_kick(cpu);
                if called || self.core.needs_reschedule(cpu) {
                    any = true;
                    let has_run = self.cpus[cpu.index()].has_run;
                    self.reschedule(cpu, if has_run { Leave::Preempt } else { Leave::Hold });
                }
            }
            if !any {
                return;
            }
        }
    }

    fn reschedule(&mut self, cpu: CpuId, why: Leave) {
        let switch = self.core.reschedule(cpu, why);
        if let Some(switch) = switch {
            let next = switch.next.task::<usize>().copied();
            self.cpus[cpu.index()].current = next;
            self.cpus[cpu.index()].has_run = false;
            self.core.finish_switch(cpu);
        }
        self.cpus[cpu.index()].event = self.core.next_event(cpu);
    }

    fn tick_at(&self, cpu: CpuId) -> Option<Instant> {
        let state = &self.cpus[cpu.index()];
        state.current?;
        match self.core.config().timer {
            Timer::Periodic => Some(state.next_tick),
            Timer::OneShot => self.core.slice_end(cpu),
        }
    }

    /// The next moment at which anything happens by itself.
    fn next(&self) -> Option<Instant> {
        let now = self.now();
        let of_cpu = |cpu: CpuId| {
            let state = &self.cpus[cpu.index()];
            let burst = state.current.map(|index| now + self.guests[index].left);
            [self.tick_at(cpu), state.event, burst].into_iter().flatten().min()
        };
        let wakes = self.guests.iter().filter_map(|guest| guest.wakes_at);
        CpuId::first(self.cpus.len()).filter_map(of_cpu).chain(wakes).min()
    }

    fn pass(&mut self, until: Instant) {
        let passed = until.checked_duration_since(self.now()).unwrap_or(Duration::from_ticks(0));
        self.core.platform().advance(passed.as_ticks());
        for cpu in &mut self.cpus {
            let Some(index) = cpu.current else { continue };
            let left = &mut self.guests[index].left;
            *left = left.checked_sub(passed).unwrap_or(Duration::from_ticks(0));
            cpu.has_run |= passed.as_ticks() > 0;
        }
    }

    /// Lets `time` pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now() + time;
        let mut at_once = 0;
        loop {
            let next = self.next().filter(|next| *next < end);
            let stands = next.is_some_and(|next| next <= self.now());
            at_once = if stands { at_once + 1 } else { 0 };
            assert!(at_once < 1_000, "time stands still");
            self.pass(next.unwrap_or(end));
            if next.is_none() {
                return;
            }
            self.happen();
        }
    }

    /// All that is due now.
    fn happen(&mut self) {
        let now = self.now();
        for index in 0..self.guests.len() {
            if self.guests[index].wakes_at.is_some_and(|at| at <= now) {
                self.guests[index].wakes_at = None;
                let at = self.guests[index].thread.cpu();
                self.core.wake(&self.guests[index].thread, at);
            }
        }
        for cpu in CpuId::first(self.cpus.len()) {
            if self.cpus[cpu.index()].event.is_some_and(|at| at <= now) {
                self.cpus[cpu.index()].event = None;
                self.core.request_reschedule(cpu);
            }
            if self.tick_at(cpu).is_some_and(|at| at <= now) {
                let _ = self.core.tick(cpu, RAN);
            }
            while self.cpus[cpu.index()].next_tick <= now {
                self.cpus[cpu.index()].next_tick += self.core.config().tick;
            }
            self.end_burst(cpu);
        }
        self.act();
    }

    fn end_burst(&mut self, cpu: CpuId) {
        let Some(index) = self.running(cpu) else { return };
        if self.guests[index].left.as_ticks() > 0 {
            return;
        }
        let now = self.now();
        let guest = &mut self.guests[index];
        guest.left = guest.program.burst;
        match guest.program.then {
            Then::Never => {}
            Then::Yield => self.reschedule(cpu, Leave::Yield),
            Then::Exit => self.reschedule(cpu, Leave::Exit),
            Then::Sleep(time) => {
                guest.wakes_at = Some(now + time);
                let thread = guest.thread.clone();
                self.core.announce_sleep(&thread);
                self.reschedule(cpu, Leave::Block);
            }
        }
    }
}

fn idle(cpu: CpuId) -> NewThread {
    let (id, affinity) = (ThreadId(100_000 + cpu.0), CpuSet::of(cpu));
    NewThread { id, kind: Kind::Idle, affinity, policy: Policy::default(), task: Arc::new(()) }
}
