//! Policies that are wrong in ways in which real ones were. Each must fail the conformance suite, for its own reason.

use crate::conformance::conforms;
use sched::balance::{self, IDLE_STEAL};
use sched::order;
use sched::{
    Balancer, Config, CpuId, CpuSet, Duration, Enqueue, Entity, Instant, List, MachineView, Placement,
    RunQueue, Runnable, ThreadId, ThreadView, Victims,
};
use std::sync::OnceLock;

/// The good behaviour that mutants deviate from.
fn good() -> &'static dyn Balancer {
    static GOOD: OnceLock<Box<dyn Balancer>> = OnceLock::new();
    &**GOOD.get_or_init(|| (IDLE_STEAL.new)(&Config::default()))
}

fn assert_caught(balancer: &'static balance::Entry, complaint: &str) {
    assert_complaint(Config { balancer, ..Config::default() }, complaint);
}

fn assert_order_caught(order: &'static order::Entry, complaint: &str) {
    assert_complaint(Config { order, ..Config::default() }, complaint);
}

fn assert_complaint(config: Config, complaint: &str) {
    let broken = conforms(config).expect_err("the mutant passed the suite");
    assert!(broken.contains(complaint), "it was caught for another reason: {broken}");
}

macro_rules! mutant {
    ($policy:expr) => {{
        static ENTRY: balance::Entry =
            balance::Entry { name: "mutant", summary: "", conserves_work: true, new: |_| Box::new($policy) };
        &ENTRY
    }};
}

/// Counts who waits and not who runs, and takes the first of equals: all children end up on CPU 0.
struct IgnoresTheRunningThread;

impl Balancer for IgnoresTheRunningThread {
    fn place(&self, thread: &ThreadView, _: Placement, machine: &MachineView) -> CpuId {
        thread.allowed.iter().min_by_key(|cpu| machine.waiting(*cpu)).unwrap_or(thread.here)
    }
}

#[test]
fn placement_that_ignores_the_running_thread_is_caught() {
    assert_caught(mutant!(IgnoresTheRunningThread), "idles while");
}

/// `cpu % (n - 1)` instead of `cpu % n`: the last CPU thinks that it is another and finds nothing to do for itself.
struct LastCpuNeverSteals;

impl Balancer for LastCpuNeverSteals {
    fn place(&self, thread: &ThreadView, why: Placement, machine: &MachineView) -> CpuId {
        good().place(thread, why, machine)
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        let last = machine.topology().cpus() as u32 - 1;
        if cpu.0 == last { Victims::NONE } else { good().on_idle(cpu, machine) }
    }

    fn pulls(&self) -> bool {
        true
    }
}

#[test]
fn a_last_cpu_that_never_steals_is_caught() {
    assert_caught(mutant!(LastCpuNeverSteals), "idles while");
}

/// Steals only from sockets that are busier than its own on average: an idle CPU is hidden by a busy neighbour.
struct GroupAverages;

impl Balancer for GroupAverages {
    fn place(&self, thread: &ThreadView, why: Placement, machine: &MachineView) -> CpuId {
        good().place(thread, why, machine)
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        let topology = machine.topology();
        let load = |socket| -> u32 {
            let members = CpuId::first(topology.cpus()).filter(|cpu| topology.place(*cpu).socket == socket);
            members.map(|cpu| machine.load(cpu)).sum()
        };
        let own = topology.place(cpu).socket;
        let busier = |victim: &CpuId| {
            let socket = topology.place(*victim).socket;
            topology.cpus() == 1 || socket != own && load(socket) > load(own)
        };
        good().on_idle(cpu, machine).iter().filter(busier).collect()
    }

    fn pulls(&self) -> bool {
        true
    }
}

#[test]
fn group_averages_that_hide_idle_cpus_are_caught() {
    assert_caught(mutant!(GroupAverages), "idles while");
}

/// New threads find an idle CPU; woken ones go to where the waker is.
struct WakesOntoTheWaker;

impl Balancer for WakesOntoTheWaker {
    fn place(&self, thread: &ThreadView, why: Placement, machine: &MachineView) -> CpuId {
        if why == Placement::Wake && thread.allowed.contains(thread.here) {
            return thread.here;
        }
        thread.allowed.iter().min_by_key(|cpu| machine.load(*cpu)).unwrap_or(thread.here)
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        good().on_idle(cpu, machine)
    }
}

#[test]
fn waking_onto_a_busy_cpu_while_others_idle_is_caught() {
    assert_caught(mutant!(WakesOntoTheWaker), "idles while");
}

/// Steals well, but lets the thieves sleep when a thread must wait.
struct DoesNotCallThieves;

impl Balancer for DoesNotCallThieves {
    fn place(&self, thread: &ThreadView, why: Placement, machine: &MachineView) -> CpuId {
        good().place(thread, why, machine)
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        good().on_idle(cpu, machine)
    }
}

#[test]
fn thieves_that_are_not_called_are_caught() {
    assert_caught(mutant!(DoesNotCallThieves), "idles while");
}

/// The least loaded CPU, but never the one where the thread has just been.
struct PingPong;

impl Balancer for PingPong {
    fn place(&self, thread: &ThreadView, _: Placement, machine: &MachineView) -> CpuId {
        let key = |cpu: &CpuId| (machine.load(*cpu), *cpu == thread.last);
        thread.allowed.iter().min_by_key(key).unwrap_or(thread.here)
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        good().on_idle(cpu, machine)
    }

    fn pulls(&self) -> bool {
        true
    }
}

#[test]
fn ping_pong_migration_is_caught() {
    assert_caught(mutant!(PingPong), "it migrated");
}

/// Works on the set of CPUs that was online when it was made: domains that are not rebuilt.
struct RemembersTheMachine(OnceLock<CpuSet>);

impl Balancer for RemembersTheMachine {
    fn place(&self, thread: &ThreadView, _: Placement, machine: &MachineView) -> CpuId {
        let set = self.0.get_or_init(|| machine.online());
        set.iter().min_by_key(|cpu| machine.load(*cpu)).unwrap_or(thread.here)
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        good().on_idle(cpu, machine)
    }

    fn pulls(&self) -> bool {
        true
    }
}

#[test]
fn a_set_of_cpus_that_is_not_rebuilt_is_caught() {
    assert_caught(mutant!(RemembersTheMachine(OnceLock::new())), "had to be repaired");
}

/// Round robin with one thing wrong.
struct Wrong {
    waiting: List,
    fault: Fault,
    lost: Vec<Runnable>,
}

#[derive(PartialEq)]
enum Fault {
    /// The youngest first: the oldest starve.
    Stack,
    /// Never ends a slice.
    NoSlices,
    /// Forgets a thread that gives way.
    LosesYielding,
    /// Gives away threads that may not run where they go.
    IgnoresAffinity,
}

impl RunQueue for Wrong {
    fn enqueue(&mut self, thread: Runnable, why: Enqueue, _: Instant) {
        match (&self.fault, why) {
            (Fault::Stack, _) => self.waiting.push_front(thread),
            (Fault::LosesYielding, Enqueue::Yield) => self.lost.push(thread),
            _ => self.waiting.push_back(thread),
        }
    }

    fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        self.waiting.remove(|entity| entity.id() == id)
    }

    fn pick(&mut self, current: Option<&Entity>, _: Instant) -> Option<Runnable> {
        match current {
            Some(current) if !current.slice_expired() => None,
            _ => self.waiting.pop_front(),
        }
    }

    fn give(&mut self, to: CpuId) -> Option<Runnable> {
        self.waiting.remove(|entity| self.fault == Fault::IgnoresAffinity || entity.may_run_on(to))
    }

    fn slice(&self, _: &Entity) -> Option<Duration> {
        (self.fault != Fault::NoSlices).then(|| Config::default().quantum)
    }

    fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.waiting.iter().for_each(visit);
    }
}

macro_rules! wrong {
    ($fault:expr) => {{
        static ENTRY: order::Entry = order::Entry {
            name: "mutant",
            summary: "",
            preemptive: true,
            new: |_| Box::new(Wrong { waiting: List::new(), fault: $fault, lost: Vec::new() }),
        };
        &ENTRY
    }};
}

#[test]
fn a_stack_instead_of_a_queue_is_caught() {
    assert_order_caught(wrong!(Fault::Stack), "ticks instead of");
}

#[test]
fn slices_that_never_end_are_caught() {
    assert_order_caught(wrong!(Fault::NoSlices), "ticks instead of");
}

#[test]
fn a_queue_that_loses_threads_is_caught() {
    assert_order_caught(wrong!(Fault::LosesYielding), "whatever happens");
}

#[test]
fn a_queue_that_ignores_affinity_is_caught() {
    assert_order_caught(wrong!(Fault::IgnoresAffinity), "had to be repaired");
}
