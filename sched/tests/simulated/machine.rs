//! A simulated machine and the plain model that it is checked against.
//!
//! The model knows for each thread what it is doing, from what the core was told and answered, and nothing of queues or
//! policies. A broken promise is an `Err` with a sentence, so that the suite can be run on policies that are wrong on
//! purpose.

use crate::platform::Sim;
use sched::{
    Config, Core, CpuId, CpuSet, Dead, Kind, Leave, NewThread, Platform, Policy, Progress, Switch, Thread,
    ThreadId, Tick, Topology,
};
use std::collections::BTreeMap;
use std::sync::Arc;

pub type Check = Result<(), String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Waits for its turn.
    Ready,
    Running(CpuId),
    /// Has left the CPU, which has not finished the switch.
    Leaving(CpuId, Leave),
    Asleep,
    Dead,
}

pub struct Model {
    pub thread: Arc<Thread>,
    pub doing: Doing,
    /// A wake came after it had announced its sleep.
    woken: bool,
    first_run: bool,
    /// None of the CPUs where it may run was online: it may be anywhere until it is told again where to be.
    displaced: bool,
    pub ticks: usize,
}

/// One CPU as its kernel would run it.
struct Cpu {
    idle: Option<Arc<Thread>>,
    current: Option<ThreadId>,
    /// The switch is not finished.
    switching: bool,
    /// In `hlt`: only an interrupt gets it going.
    halted: bool,
    /// Something happened in its kernel: it looks at `needs_reschedule` before it goes on.
    attention: bool,
}

pub struct Machine {
    pub core: Core<Sim>,
    pub threads: BTreeMap<ThreadId, Model>,
    cpus: Vec<Cpu>,
    pub conserves_work: bool,
}

pub const RAN: Progress = Progress::User { retired: true, rip: 0x1000 };
pub const STUCK: Progress = Progress::User { retired: false, rip: 0x1000 };

/// Breaks a promise unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}
pub(crate) use ensure;

impl Machine {
    /// All CPUs online and idle.
    pub fn new(topology: Topology, config: Config) -> Self {
        let cpus = topology.cpus();
        Self::with_online(topology, config, cpus)
    }

    /// The first `online` CPUs online and idle; the others have never started.
    pub fn with_online(topology: Topology, config: Config, online: usize) -> Self {
        let cpus = topology.cpus();
        let mut machine = Self {
            core: Core::new(Sim::new(cpus), topology, config),
            threads: BTreeMap::new(),
            cpus: CpuId::first(cpus)
                .map(|_| Cpu { idle: None, current: None, switching: false, halted: true, attention: false })
                .collect(),
            conserves_work: config.balancer.conserves_work,
        };
        for cpu in CpuId::first(online) {
            let idle = new_thread(ThreadId(10_000 + cpu.0), Kind::Idle, CpuSet::of(cpu));
            let state = &mut machine.cpus[cpu.index()];
            state.idle = Some(machine.core.bring_online(cpu, idle));
            (state.halted, state.attention) = (false, true);
        }
        machine
    }

    pub fn cpu_ids(&self) -> impl ExactSizeIterator<Item = CpuId> + use<> {
        CpuId::first(self.cpus.len())
    }

    pub fn online(&mut self, cpu: CpuId, here: CpuId) -> Check {
        self.enter(here)?;
        self.core.set_online(cpu, here);
        self.check()
    }

    /// The thread that runs on `cpu`; `None` when that idles.
    pub fn running(&self, cpu: CpuId) -> Option<ThreadId> {
        self.cpus[cpu.index()].current
    }

    pub fn ready(&self) -> usize {
        self.threads.values().filter(|model| model.doing == Doing::Ready).count()
    }

    pub fn model(&self, id: ThreadId) -> &Model {
        &self.threads[&id]
    }

    /// `cpu` is in its kernel now: by an interrupt if it was in `hlt`, or by a system call.
    fn enter(&mut self, cpu: CpuId) -> Check {
        self.finish(cpu)?;
        let cpu = &mut self.cpus[cpu.index()];
        cpu.halted = false;
        cpu.attention = true;
        Ok(())
    }

    /// Makes and starts a thread on `cpu`.
    pub fn spawn(&mut self, cpu: CpuId, affinity: CpuSet) -> Result<ThreadId, String> {
        self.enter(cpu)?;
        let id = ThreadId(self.threads.len() as u32);
        let thread = self.core.spawn(new_thread(id, Kind::User, affinity), cpu);
        ensure!(!self.core.wake(&thread, cpu), "{id} was woken before it was started");
        self.core.start(&thread, cpu);
        self.core.start(&thread, cpu);
        let model =
            Model { thread, doing: Doing::Ready, woken: false, first_run: false, displaced: false, ticks: 0 };
        self.threads.insert(id, model);
        self.check()?;
        Ok(id)
    }

    pub fn tick(&mut self, cpu: CpuId, progress: Progress) -> Result<Tick, String> {
        self.enter(cpu)?;
        self.core.platform().advance(self.core.config().tick.as_ticks());
        if self.core.next_event(cpu).is_some_and(|event| event <= self.core.platform().now()) {
            self.core.request_reschedule(cpu);
        }
        let answer = self.core.tick(cpu, progress);
        if let Some(id) = self.running(cpu) {
            let guarantee = self.core.config().first_run;
            let model = self.threads.get_mut(&id).expect("it runs");
            model.ticks += 1;
            let had = model.first_run;
            model.first_run = model.thread.has_had_first_run();
            let (now, retired) = (model.first_run, matches!(progress, Progress::User { retired: true, .. }));
            ensure!(now || !had, "{id} lost its first run");
            ensure!(now || !retired || !guarantee, "{id} ran for a tick and its first run is not over");
            if guarantee && progress == STUCK && had {
                ensure!(now == had, "a tick without progress ended the first run of {id}");
            }
            if guarantee && !had && retired {
                ensure!(answer == Tick::Continue, "the first tick of {id} was answered by {answer:?}");
            }
        }
        Ok(answer)
    }

    pub fn give_way(&mut self, cpu: CpuId) -> Check {
        self.leave(cpu, Leave::Yield)
    }

    pub fn exit(&mut self, cpu: CpuId) -> Check {
        self.leave(cpu, Leave::Exit)
    }

    /// The thread on `cpu` is about to run another program.
    pub fn exec(&mut self, cpu: CpuId) -> Check {
        self.leave(cpu, Leave::Exec)
    }

    pub fn sleep(&mut self, cpu: CpuId) -> Check {
        self.enter(cpu)?;
        let Some(id) = self.running(cpu) else { return Ok(()) };
        let thread = self.threads[&id].thread.clone();
        self.core.announce_sleep(&thread);
        self.leave(cpu, Leave::Block)
    }

    /// The thread on `cpu` announces a sleep, is woken by `waker`, and tries to sleep all the same.
    pub fn sleep_woken(&mut self, cpu: CpuId, waker: CpuId) -> Check {
        self.enter(cpu)?;
        self.enter(waker)?;
        let Some(id) = self.running(cpu) else { return Ok(()) };
        let thread = self.threads[&id].thread.clone();
        self.core.announce_sleep(&thread);
        ensure!(
            self.core.wake(&thread, waker),
            "{id} had announced its sleep, and the wake says that it had not"
        );
        let switch = self.core.reschedule(cpu, Leave::Block);
        ensure!(switch.is_none(), "{id} was woken and left its CPU all the same");
        self.check()
    }

    pub fn sleep_cancelled(&mut self, cpu: CpuId) -> Check {
        self.enter(cpu)?;
        let Some(id) = self.running(cpu) else { return Ok(()) };
        let thread = self.threads[&id].thread.clone();
        self.core.announce_sleep(&thread);
        self.core.cancel_sleep(&thread);
        ensure!(!self.core.wake(&thread, cpu), "{id} had cancelled its sleep, and was woken");
        self.check()
    }

    pub fn wake(&mut self, id: ThreadId, cpu: CpuId) -> Check {
        self.enter(cpu)?;
        let Some(model) = self.threads.get_mut(&id) else { return Ok(()) };
        let woken = self.core.wake(&model.thread, cpu);
        let expected = match model.doing {
            Doing::Asleep => {
                model.doing = Doing::Ready;
                true
            }
            // Only the first of several wakes finds the announcement.
            Doing::Leaving(_, Leave::Block) => !std::mem::replace(&mut model.woken, true),
            _ => false,
        };
        ensure!(woken == expected, "the wake of {id} answered {woken}");
        self.check()
    }

    pub fn set_affinity(&mut self, id: ThreadId, set: CpuSet, cpu: CpuId) -> Check {
        self.enter(cpu)?;
        let Some(model) = self.threads.get_mut(&id) else { return Ok(()) };
        model.displaced = false;
        self.core.set_affinity(&model.thread, set, cpu);
        self.check()
    }

    pub fn offline(&mut self, cpu: CpuId, here: CpuId) -> Check {
        self.enter(here)?;
        self.core.take_offline(cpu, here);
        self.check()
    }

    fn leave(&mut self, cpu: CpuId, why: Leave) -> Check {
        self.enter(cpu)?;
        if self.running(cpu).is_none() {
            return Ok(());
        }
        self.reschedule(cpu, why)
    }

    /// What the kernel of `cpu` does on its way out, and the idle loop before it waits: it looks whether it should
    /// reschedule.
    pub fn go_on(&mut self, cpu: CpuId) -> Check {
        self.finish(cpu)?;
        let state = &mut self.cpus[cpu.index()];
        let kicked = self.core.platform().take_kick(cpu);
        if !(state.attention || kicked) {
            return Ok(());
        }
        state.attention = false;
        state.halted = false;
        if self.core.needs_reschedule(cpu) {
            self.reschedule(cpu, Leave::Preempt)?;
        }
        // The kernel looks at the flag again before it leaves: balancing may have raised it meanwhile.
        self.cpus[cpu.index()].attention |= self.core.needs_reschedule(cpu);
        let state = &mut self.cpus[cpu.index()];
        state.halted = state.current.is_none() && !state.switching;
        Ok(())
    }

    /// Whether `cpu` would do anything in [`go_on`](Self::go_on).
    pub fn has_a_reason(&self, cpu: CpuId) -> bool {
        let state = &self.cpus[cpu.index()];
        state.attention || state.switching || self.core.platform().is_kicked(cpu)
    }

    fn reschedule(&mut self, cpu: CpuId, why: Leave) -> Check {
        let before = self.running(cpu);
        let switch = self.core.reschedule(cpu, why);
        let Some(Switch { previous, next }) = switch else {
            ensure!(
                before.is_none() || !matches!(why, Leave::Exit | Leave::Block),
                "a thread stays that should leave"
            );
            return self.check();
        };
        if let Some(id) = before {
            ensure!(previous.id() == id, "{} left {cpu}, where {id} ran", previous.id());
            let model = self.threads.get_mut(&id).expect("it ran");
            if why == Leave::Preempt && self.core.config().first_run && model.thread.may_run_on(cpu) {
                let ends = model.first_run || !self.core.machine().is_online(cpu);
                ensure!(ends, "{id} was preempted before its first tick");
            }
            model.doing = Doing::Leaving(cpu, why);
            model.woken = false;
        }
        let state = &mut self.cpus[cpu.index()];
        state.switching = true;
        state.current = None;
        if next.kind() == Kind::Idle {
            ensure!(
                state.idle.as_ref().is_some_and(|idle| idle.id() == next.id()),
                "another CPU's idle thread"
            );
            state.attention = true;
        } else {
            let id = next.id();
            let model = self.threads.get_mut(&id).ok_or("an unknown thread runs")?;
            ensure!(model.doing == Doing::Ready, "{id} was picked while it was {:?}", model.doing);
            model.doing = Doing::Running(cpu);
            state.current = Some(id);
        }
        self.check()
    }

    /// The next thread finishes the switch, if there is one to finish.
    pub fn finish(&mut self, cpu: CpuId) -> Check {
        if !std::mem::take(&mut self.cpus[cpu.index()].switching) {
            return Ok(());
        }
        let dead: Option<Dead> = self.core.finish_switch(cpu);
        // It is in its kernel still, and looks at the flag before it leaves that.
        self.cpus[cpu.index()].attention |= self.core.needs_reschedule(cpu);
        let mut leaving =
            self.threads.values_mut().filter(|m| matches!(m.doing, Doing::Leaving(at, _) if at == cpu));
        let left = leaving.next();
        ensure!(leaving.next().is_none(), "two threads leave {cpu}");
        let expected = match left {
            None => None,
            Some(model) => {
                let Doing::Leaving(_, why) = model.doing else { unreachable!("it was filtered") };
                model.doing = match why {
                    Leave::Preempt | Leave::Hold | Leave::Yield | Leave::Exec => Doing::Ready,
                    Leave::Block if model.woken => Doing::Ready,
                    Leave::Block => Doing::Asleep,
                    Leave::Exit => Doing::Dead,
                };
                (why == Leave::Exit).then(|| model.thread.id())
            }
        };
        let died = dead.map(|dead| dead.id());
        ensure!(died == expected, "{died:?} died, not {expected:?}");
        self.check()
    }

    /// What must hold between any two steps.
    fn check(&mut self) -> Check {
        let online = self.core.machine().online();
        for model in self.threads.values_mut() {
            model.displaced |= model.thread.affinity().and(&online).is_empty();
        }
        let machine = self.core.machine();
        let waiting: u32 = self.cpu_ids().map(|cpu| machine.waiting(cpu)).sum();
        ensure!(
            waiting as usize == self.ready(),
            "{} threads are ready and {waiting} are in queues",
            self.ready()
        );
        for (id, model) in &self.threads {
            let thread = &model.thread;
            ensure!(thread.is_dead() == (model.doing == Doing::Dead), "{id} is {:?}", model.doing);
            ensure!(thread.is_asleep() == (model.doing == Doing::Asleep), "{id} is {:?}", model.doing);
            if model.doing == Doing::Ready {
                ensure!(
                    self.may_be(model, thread.cpu()),
                    "{id} waits on {}, where it may not run",
                    thread.cpu()
                );
            }
            if let Doing::Running(cpu) = model.doing {
                ensure!(self.core.current(cpu).id() == *id, "{id} does not run on {cpu}");
                let leaves = self.core.needs_reschedule(cpu) || self.cpus[cpu.index()].switching;
                let called = self.core.needs_reschedule(cpu)
                    && (self.cpus[cpu.index()].attention || self.core.platform().is_kicked(cpu));
                ensure!(
                    self.may_be(model, cpu) || called || leaves && self.cpus[cpu.index()].switching,
                    "{id} runs on {cpu}, where it may not, and nobody calls it"
                );
            }
        }
        Ok(())
    }

    fn may_be(&self, model: &Model, cpu: CpuId) -> bool {
        self.core.machine().is_online(cpu) && (model.thread.may_run_on(cpu) || model.displaced)
    }
}

fn new_thread(id: ThreadId, kind: Kind, affinity: CpuSet) -> NewThread {
    NewThread { id, kind, affinity, policy: Policy::default(), task: Arc::new(()) }
}
