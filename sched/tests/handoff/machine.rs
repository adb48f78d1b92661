//! CPUs that run threads whose programs are lists of actions.

use crate::platform::Checked;
use sched::Platform;
use sched::{
    Config, Core, CpuId, CpuSet, Fault, Kind, Leave, NewThread, Policy, Progress, Switch, Thread, ThreadId,
    Tick, Topology, balance, order,
};
use shuttle::sync::Arc as Shared;
use shuttle::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// What a thread does next. Threads are named by their index; each has a semaphore of its own.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    Start(usize),
    Yield,
    /// Waits until the thread's own semaphore is positive, and decrements it.
    Down,
    /// Increments the semaphore of another thread and wakes it.
    Up(usize),
    /// A timer tick in user mode.
    Tick,
    Pin(usize, &'static [CpuId]),
    Offline(CpuId),
    Online(CpuId),
    /// Gives another thread another policy; the deadline class may refuse.
    Policy(usize, Policy),
    Order(&'static order::Entry),
    Balancer(&'static balance::Entry),
    /// Begins another program.
    Exec,
    /// A timer tick that ends the thread's first run, and leaves it its CPU.
    FirstTick,
    /// Keeps its CPU busy until another thread has ended.
    Await(usize),
    /// No violation of work conservation is being counted.
    AssertConserved,
    /// The thread runs on one of these CPUs now.
    Assert(&'static [CpuId]),
}

struct Guest {
    /// How many actions it has carried out.
    done: AtomicUsize,
    semaphore: AtomicUsize,
    /// Its context is in memory: it may be loaded on any CPU.
    saved: AtomicBool,
}

impl Guest {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            done: AtomicUsize::new(0),
            semaphore: AtomicUsize::new(0),
            saved: AtomicBool::new(true),
        })
    }
}

struct Machine {
    core: Core<Checked>,
    programs: &'static [&'static [Action]],
    threads: Vec<Arc<Thread>>,
    alive: AtomicUsize,
}

fn new_thread(id: usize, kind: Kind) -> NewThread {
    NewThread {
        id: ThreadId(id as u32),
        kind,
        affinity: CpuSet::ALL,
        policy: Policy::default(),
        task: Guest::new(),
    }
}

/// Runs one thread per program; the first is started, and starts the others. Returns when all have ended.
pub fn run(cpus: usize, programs: &'static [&'static [Action]], config: Config, fault: Option<Fault>) {
    let core = Core::new(Checked::new(cpus, fault), Topology::flat(cpus), config);
    for cpu in CpuId::first(cpus) {
        let idle = core.bring_online(cpu, new_thread(programs.len() + cpu.index(), Kind::Idle));
        guest(&idle).saved.store(false, SeqCst);
    }
    let threads = (0..programs.len()).map(|id| core.spawn(new_thread(id, Kind::User), CpuId::BOOT)).collect();
    let machine = Shared::new(Machine { core, programs, threads, alive: AtomicUsize::new(programs.len()) });
    machine.core.start(&machine.threads[0], CpuId::BOOT);
    let cpus = CpuId::first(cpus).map(|cpu| {
        let machine = machine.clone();
        thread::spawn(move || machine.cpu(cpu))
    });
    cpus.collect::<Vec<_>>().into_iter().for_each(|cpu| cpu.join().unwrap());
    let ended = |(thread, program): (&Arc<Thread>, &&[Action])| {
        thread.is_dead() && guest(thread).done.load(SeqCst) == program.len()
    };
    assert!(machine.threads.iter().zip(programs).all(ended));
    let now = machine.core.platform().now();
    for cpu in CpuId::first(machine.core.machine().topology().cpus()) {
        assert_eq!(machine.core.machine().waiting(cpu), 0);
        assert_eq!(machine.core.booked_bandwidth(cpu), 0, "a dead thread has bandwidth booked");
        let stats = machine.core.cpu_stats(cpu);
        let accounted = stats.busy_ns + stats.idle_ns;
        let passed = machine.core.platform().now().as_ticks();
        assert!(accounted <= passed, "{cpu} accounted {accounted} ns of {passed} ns");
        let slices = stats.slice_ns.sum();
        assert!(slices <= stats.busy_ns, "{cpu} gave {slices} ns of slices in {} ns", stats.busy_ns);
    }
    assert_eq!(machine.core.machine().violations().present(now), None, "a violation outlives all threads");
}

fn guest(thread: &Thread) -> &Guest {
    thread.task().expect("it was made with one")
}

impl Machine {
    /// The life of a CPU.
    fn cpu(&self, here: CpuId) {
        let mut current = self.core.current(here);
        while self.alive.load(SeqCst) > 0 {
            self.core.platform().interleave();
            let switch = match current.kind() {
                Kind::Idle if self.core.needs_reschedule(here) => self.core.reschedule(here, Leave::Preempt),
                Kind::Idle => {
                    self.halt(here);
                    None
                }
                Kind::User if self.core.platform().take_kick(here) && self.core.needs_reschedule(here) => {
                    self.core.reschedule(here, Leave::Preempt)
                }
                Kind::User => self.step(&current, here),
            };
            if let Some(switch) = switch {
                current = self.switch(here, &current, switch);
            }
        }
    }

    /// Waits for a kick, or for what the timer was armed for: where nothing else happens, time passes until then.
    fn halt(&self, here: CpuId) {
        match self.core.next_event(here) {
            Some(at) => {
                self.core.platform().pass_until(at);
                self.core.request_reschedule(here);
                thread::yield_now();
            }
            None => self.core.platform().halt(here),
        }
    }

    /// The next action of the thread that runs.
    fn step(&self, current: &Arc<Thread>, here: CpuId) -> Option<Switch> {
        let guest = guest(current);
        let program = self.programs[current.id().0 as usize];
        let Some(action) = program.get(guest.done.fetch_add(1, SeqCst)) else {
            guest.done.store(program.len(), SeqCst);
            return self.core.reschedule(here, Leave::Exit);
        };
        match *action {
            Action::Start(id) => self.core.start(&self.threads[id], here),
            Action::Yield => return self.core.reschedule(here, Leave::Yield),
            Action::Down if !self.down(current) => return self.core.reschedule(here, Leave::Block),
            Action::Down => {}
            Action::Up(id) => {
                self::guest(&self.threads[id]).semaphore.fetch_add(1, SeqCst);
                self.core.wake(&self.threads[id], here);
            }
            Action::Tick => {
                self.core.tick(here, Progress::User { retired: true, rip: 0 });
            }
            Action::Pin(id, cpus) => {
                self.core.set_affinity(&self.threads[id], cpus.iter().copied().collect(), here);
            }
            Action::Offline(cpu) => self.core.take_offline(cpu, here),
            Action::Online(cpu) => self.core.set_online(cpu, here),
            Action::Policy(id, policy) => {
                let _ = self.core.set_policy(&self.threads[id], policy, here);
            }
            Action::Order(order) => drop(self.core.set_order(order, here).unwrap()),
            Action::Balancer(balancer) => self.core.set_balancer(balancer, here).unwrap(),
            Action::Exec => return self.core.reschedule(here, Leave::Exec),
            Action::FirstTick => {
                assert!(!current.has_had_first_run(), "{current:?} has had its first tick");
                let answer = self.core.tick(here, Progress::User { retired: true, rip: 0 });
                assert_eq!(answer, Tick::Continue);
                assert!(current.has_had_first_run());
            }
            Action::Await(id) if !self.threads[id].is_dead() => {
                guest.done.fetch_sub(1, SeqCst);
                thread::yield_now();
            }
            Action::Await(_) => {}
            Action::AssertConserved => {
                let violations = self.core.machine().violations();
                assert_eq!(violations.present(self.core.platform().now()), None, "nobody waits");
            }
            Action::Assert(cpus) => assert!(cpus.contains(&here), "{current:?} runs on {here}"),
        }
        self.core.needs_reschedule(here).then(|| self.core.reschedule(here, Leave::Preempt)).flatten()
    }

    /// Whether the semaphore was positive. If not, the sleep is announced, and the thread tries again afterwards.
    fn down(&self, current: &Arc<Thread>) -> bool {
        let guest = guest(current);
        self.core.announce_sleep(current);
        let positive = guest.semaphore.fetch_update(SeqCst, SeqCst, |count| count.checked_sub(1)).is_ok();
        if positive {
            self.core.cancel_sleep(current);
        } else {
            guest.done.fetch_sub(1, SeqCst);
            self.core.platform().interleave();
        }
        positive
    }

    /// Saves one context and loads the other.
    fn switch(&self, here: CpuId, current: &Arc<Thread>, switch: Switch) -> Arc<Thread> {
        assert!(Arc::ptr_eq(current, &switch.previous), "a thread leaves that did not run");
        self.core.platform().interleave();
        let saved_twice = guest(&switch.previous).saved.swap(true, SeqCst);
        assert!(!saved_twice, "{:?} ran without its context", switch.previous);
        let was_saved = guest(&switch.next).saved.swap(false, SeqCst);
        assert!(was_saved, "{:?} runs before its context is saved, or twice", switch.next);
        if self.core.finish_switch(here).is_some() && self.alive.fetch_sub(1, SeqCst) == 1 {
            self.core.platform().kick_all();
        }
        switch.next
    }
}
