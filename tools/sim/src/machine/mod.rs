//! The machine: CPUs that run threads, and the kernel's part between `sched` and both.
//!
//! On each CPU one thing happens next: its thread's step ends, a switch is done, an interrupt comes. The machine takes
//! the earliest of all CPUs, sets the clock to it, and plays what the kernel does then: [`cpu`] is the kernel's
//! `interrupts`, `clock`, `context` and idle loop; [`thread`] is what threads do in user mode and in system calls.

mod cpu;
mod thread;

use crate::outcome::{Outcome, ThreadSummary};
use crate::platform::{Hardware, Sink};
use crate::queue::Queue;
use crate::workload::{Program, Workload};
use crate::{Calibration, Error};
use cpu::Cpu;
use fastrand::Rng;
use formats::record::Scheduler;
use formats::{CpuId, CpuSet, Instant, ThreadId};
use sched::{Core, Kind, NewThread, Policy, Timer, Topology};
use std::sync::Arc;
use thread::{Channel, Thread};

/// The machine to simulate.
pub struct Config {
    pub topology: Topology,
    /// Order, balancer, tick, seed.
    pub scheduler: sched::Config,
    pub costs: Calibration,
    /// How many times slower its CPUs are than those that the costs and the workload's times are for.
    pub slowdown: f64,
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub events: u64,
    pub now: Instant,
    /// Threads that have not ended.
    pub threads: u64,
}

/// How many events there are between two reports of progress.
const REPORT: u64 = 1 << 17;

/// Runs `workload` until all its threads have ended or its duration is over. Events go to `sink`; `progress` is told now
/// and then how far it is, and says whether to go on.
///
/// # Errors
/// When the threads that are left wait for ever, the scheduler reports a live-lock, or `progress` has had enough.
pub fn run(
    config: Config,
    workload: &Workload,
    sink: Option<Box<dyn Sink>>,
    mut progress: impl FnMut(Progress) -> bool,
) -> Result<Outcome, Error> {
    let mut machine = Machine::new(config, workload, sink);
    machine.boot()?;
    machine.start(workload);
    let end = workload.duration.map_or(u64::MAX, |duration| machine.now.saturating_add(duration));
    while machine.left > 0 {
        let Some((cpu, time)) = machine.queue.first() else { return Err(machine.deadlock()) };
        if time > end {
            machine.set_now(end);
            break;
        }
        machine.step(cpu, time)?;
        if machine.events.is_multiple_of(REPORT) {
            let now = Instant::from_ticks(machine.now);
            if !progress(Progress { events: machine.events, now, threads: machine.left as u64 }) {
                return Err(Error::Interrupted);
            }
        }
    }
    Ok(machine.outcome())
}

struct Machine {
    core: Core<Hardware>,
    costs: Calibration,
    slowdown: f64,
    timer: Timer,
    /// The period of the tick, in nanoseconds.
    period: u64,
    programs: Vec<Program>,
    measured: Option<usize>,
    channels: Vec<Channel>,
    threads: Vec<Thread>,
    cpus: Vec<Cpu>,
    queue: Queue,
    now: u64,
    kicked: Vec<CpuId>,
    events: u64,
    /// Threads that have not ended, and the most that there were.
    left: usize,
    most: usize,
    /// Of those, how many sleep until another thread does something.
    blocked: usize,
    problems: Vec<String>,
    random: Rng,
}

impl Machine {
    fn new(config: Config, workload: &Workload, sink: Option<Box<dyn Sink>>) -> Self {
        let cpus = config.topology.cpus();
        let mut costs = config.costs.scaled(config.slowdown);
        if workload.calls_are_free {
            costs = costs.without_calls();
        }
        Self {
            core: Core::new(Hardware::new(sink), config.topology, config.scheduler),
            costs,
            slowdown: config.slowdown,
            timer: config.scheduler.timer,
            period: config.scheduler.tick.as_ticks(),
            programs: workload.programs.clone(),
            measured: workload.measured,
            channels: workload.channels.iter().map(Channel::new).collect(),
            threads: Vec::new(),
            cpus: (0..cpus).map(|_| Cpu::default()).collect(),
            queue: Queue::new(cpus),
            now: 0,
            kicked: Vec::new(),
            events: 0,
            left: 0,
            most: 0,
            blocked: 0,
            problems: Vec::new(),
            random: Rng::with_seed(config.scheduler.seed),
        }
    }

    fn set_now(&mut self, now: u64) {
        self.now = now;
        self.core.platform().set_now(now);
    }

    /// Brings all CPUs online and lets them fall idle.
    fn boot(&mut self) -> Result<(), Error> {
        for cpu in CpuId::first(self.cpus.len()) {
            let idle = NewThread {
                id: ThreadId(0),
                kind: Kind::Idle,
                affinity: CpuSet::of(cpu),
                policy: Policy::default(),
                task: Arc::new(()),
            };
            self.core.bring_online(cpu, idle);
            self.cpus[cpu.index()].called(0);
            self.replan(cpu.index());
        }
        while let Some((cpu, 0)) = self.queue.first() {
            self.step(cpu, 0)?;
        }
        Ok(())
    }

    fn start(&mut self, workload: &Workload) {
        self.set_now(1);
        for start in &workload.start {
            for index in 0..start.count {
                let here = if start.spread { index as usize % self.cpus.len() } else { 0 };
                let random = Rng::with_seed(self.random.u64(..));
                let all = self.core.machine().topology().all();
                self.make_thread(start.program, None, random, all, here);
                // No simulated thread starts it that would look around on its way out of the kernel.
                self.cpus[here].called(self.now);
                self.replan(here);
                self.deliver_calls();
            }
        }
    }

    /// What happens first on `cpu`, at `time`.
    fn step(&mut self, cpu: usize, time: u64) -> Result<(), Error> {
        self.events += 1;
        if time > self.now {
            self.set_now(time);
        }
        self.act(cpu)?;
        self.replan(cpu);
        self.deliver_calls();
        Ok(())
    }

    fn replan(&mut self, cpu: usize) {
        self.queue.set(cpu, self.cpus[cpu].next());
    }

    /// Calls from CPU to CPU are on their way now.
    fn deliver_calls(&mut self) {
        self.core.platform().take_kicked(&mut self.kicked);
        while let Some(called) = self.kicked.pop() {
            self.cpus[called.index()].called(self.now + self.costs.ipi.0);
            self.replan(called.index());
        }
    }

    fn deadlock(&self) -> Error {
        let left = || self.threads.iter().enumerate().filter(|(_, thread)| thread.live.is_some());
        let (first, at) = match left().next() {
            Some((index, thread)) => (index, self.describe(thread)),
            None => (0, String::new()),
        };
        let now = Instant::from_ticks(self.now);
        Error::Deadlock { now, count: left().count(), first: first as u32 + 1, at }
    }

    fn outcome(mut self) -> Outcome {
        let cpus = CpuId::first(self.cpus.len()).map(|cpu| self.core.cpu_stats(cpu)).collect();
        let violations = self.core.machine().violations();
        let scheduler = Scheduler {
            elapsed_ns: self.now,
            violation_ns: violations.total(Instant::from_ticks(self.now)).as_ticks(),
            longest_violation_ns: violations.longest().as_ticks(),
            violations: violations.count(),
            cpus,
        };
        let programs = &self.programs;
        let summary = |thread: &Thread| ThreadSummary {
            program: programs[thread.program].name.clone(),
            started: thread.started,
            finished: thread.finished,
            work_ns: thread.work,
            overhead_ns: thread.overhead,
        };
        Outcome {
            scheduler,
            events: self.events,
            most_threads: self.most as u64,
            work_ns: self.cpus.iter().map(|cpu| (cpu.work as f64 / self.slowdown).round() as u64).collect(),
            problems: std::mem::take(&mut self.problems),
            threads: self.threads.iter().map(summary).collect(),
        }
    }
}
