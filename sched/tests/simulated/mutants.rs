//! Policies that are wrong in ways in which real ones were. Each must fail the conformance suite, for its own reason.

use crate::conformance::conforms;
use sched::balance::{self, IDLE_STEAL};
use sched::order;
use sched::{
    Amount, Balancer, Config, CpuId, CpuSet, Duration, Enqueue, Entity, Instant, List, MachineView, Move,
    Placement, RunQueue, Runnable, ThreadId, ThreadView, Victims,
};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

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

/// As [`assert_caught`], by this scenario of the suite.
fn assert_caught_by(scenario: &str, balancer: &'static balance::Entry, complaint: &str) {
    let broken = conforms(Config { balancer, ..Config::default() }).expect_err("the mutant passed the suite");
    assert!(broken.starts_with(scenario), "another scenario caught it: {broken}");
    assert!(broken.contains(complaint), "it was caught for another reason: {broken}");
}

/// A mutant that does not promise to conserve work.
macro_rules! idler {
    ($policy:expr) => {{
        static ENTRY: balance::Entry =
            balance::Entry { name: "mutant", summary: "", conserves_work: false, new: |_| Box::new($policy) };
        &ENTRY
    }};
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

/// The least loaded CPU by figures that are taken once in eight decisions, the lowest among equals: in between, all children
/// go to one CPU.
struct LowestOfStaleTies {
    asked: AtomicU32,
    loads: [AtomicU32; 8],
}

impl Balancer for LowestOfStaleTies {
    fn place(&self, thread: &ThreadView, _: Placement, machine: &MachineView) -> CpuId {
        if self.asked.fetch_add(1, Relaxed).is_multiple_of(8) {
            let all = CpuId::first(machine.topology().cpus());
            all.zip(&self.loads).for_each(|(cpu, load)| load.store(machine.load(cpu), Relaxed));
        }
        let load = |cpu: &CpuId| self.loads[cpu.index()].load(Relaxed);
        thread.allowed.iter().min_by_key(load).unwrap_or(thread.here)
    }
}

#[test]
fn least_loaded_with_lowest_id_ties_is_caught() {
    let mutant =
        mutant!(LowestOfStaleTies { asked: AtomicU32::new(0), loads: [const { AtomicU32::new(0) }; 8] });
    assert_caught_by("forks fill the machine", mutant, "waits on CPU 0");
}

/// The least loaded of the CPUs that the machine may have: one that has not started looks the least loaded of all, and has
/// no timer that would ever end a slice.
struct PlacesWhereNoTimerRuns;

impl Balancer for PlacesWhereNoTimerRuns {
    fn place(&self, thread: &ThreadView, why: Placement, machine: &MachineView) -> CpuId {
        if thread.allowed.len() < machine.online().len() {
            return good().place(thread, why, machine);
        }
        let started = |cpu: &CpuId| !machine.is_online(*cpu);
        let all = CpuId::first(machine.topology().cpus());
        all.min_by_key(|cpu| (machine.load(*cpu), !started(cpu), *cpu != thread.last)).unwrap_or(thread.here)
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        good().on_idle(cpu, machine)
    }

    fn pulls(&self) -> bool {
        true
    }
}

#[test]
fn placing_on_a_cpu_whose_timer_is_not_running_is_caught() {
    assert_caught(mutant!(PlacesWhereNoTimerRuns), "had to be repaired");
}

/// Steals well, but from its own socket alone.
struct NeverLeavesItsSocket;

impl Balancer for NeverLeavesItsSocket {
    fn place(&self, thread: &ThreadView, why: Placement, machine: &MachineView) -> CpuId {
        good().place(thread, why, machine)
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        let socket = machine.topology().domain(cpu, sched::Distance::Socket);
        good().on_idle(cpu, machine).iter().filter(|victim| socket.contains(*victim)).collect()
    }

    fn pulls(&self) -> bool {
        true
    }
}

#[test]
fn stealing_inside_one_socket_only_is_caught() {
    assert_caught_by("forks fill the machine, with 8 CPUs", mutant!(NeverLeavesItsSocket), "idles while");
}

/// Tries the longest queue alone: when what waits there may not run here, it goes back to sleep.
struct GivesUpAfterOneVictim;

impl Balancer for GivesUpAfterOneVictim {
    fn place(&self, thread: &ThreadView, why: Placement, machine: &MachineView) -> CpuId {
        good().place(thread, why, machine)
    }

    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        machine.longest_queue(&machine.online(), cpu).into_iter().collect()
    }

    fn pulls(&self) -> bool {
        true
    }
}

#[test]
fn a_thief_that_gives_up_after_one_victim_is_caught() {
    assert_caught_by("idle CPUs look behind", mutant!(GivesUpAfterOneVictim), "idles while");
}

/// Numbers CPUs from 1: nobody steals from the first.
struct CountsFromOne;

impl Balancer for CountsFromOne {
    fn place(&self, thread: &ThreadView, why: Placement, machine: &MachineView) -> CpuId {
        good().place(thread, why, machine)
    }

    fn on_idle(&self, _: CpuId, machine: &MachineView) -> Victims {
        machine.loaded().iter().filter(|cpu| cpu.0 >= 1).collect()
    }

    fn pulls(&self) -> bool {
        true
    }
}

#[test]
fn a_first_cpu_that_nobody_steals_from_is_caught() {
    assert_caught(mutant!(CountsFromOne), "waits on CPU 0");
}

/// An idle CPU, whether the thread may run there or not.
struct PlacesOnAnyIdleCpu;

impl Balancer for PlacesOnAnyIdleCpu {
    fn place(&self, thread: &ThreadView, _: Placement, machine: &MachineView) -> CpuId {
        machine.idle().first().unwrap_or(thread.last)
    }
}

#[test]
fn placement_that_ignores_affinity_is_caught() {
    assert_caught(idler!(PlacesOnAnyIdleCpu), "had to be repaired");
}

/// `n` for the last CPU instead of `n - 1`.
struct OneTooFar;

impl Balancer for OneTooFar {
    fn place(&self, thread: &ThreadView, why: Placement, machine: &MachineView) -> CpuId {
        match why {
            Placement::Fork => CpuId(machine.topology().cpus() as u32),
            _ => good().place(thread, why, machine),
        }
    }
}

#[test]
fn a_cpu_that_the_machine_does_not_have_is_caught() {
    assert_caught(idler!(OneTooFar), "had to be repaired");
}

/// Draws another CPU than its own by dividing by the number of others.
struct DividesByTheOthers;

impl Balancer for DividesByTheOthers {
    fn place(&self, thread: &ThreadView, why: Placement, machine: &MachineView) -> CpuId {
        let others = machine.topology().cpus() as u32 - 1;
        let other = CpuId((thread.here.0 + 1 + thread.id.0 % others) % (others + 1));
        if thread.allowed.contains(other) { other } else { good().place(thread, why, machine) }
    }
}

#[test]
fn a_panic_on_a_machine_with_one_cpu_is_caught() {
    assert_caught_by("forks fill the machine, with 1 CPUs", idler!(DividesByTheOthers), "it panicked");
}

/// Pulls from the busiest CPU now and then, with one thing wrong.
struct WrongPull {
    asked: AtomicU32,
    fault: PullFault,
}

#[derive(PartialEq)]
enum PullFault {
    /// Pulls when the difference is one, which only turns it round.
    NoThreshold,
    /// Gives to the busiest instead of taking from it.
    Backwards,
    /// Asks to be called again the first times, and then no more.
    StopsAsking,
}

impl Balancer for WrongPull {
    fn place(&self, thread: &ThreadView, why: Placement, machine: &MachineView) -> CpuId {
        good().place(thread, why, machine)
    }

    fn on_balance(&self, cpu: CpuId, machine: &MachineView) -> Option<Move> {
        let busiest = machine.longest_queue(&machine.online(), cpu)?;
        let surplus = machine.load(busiest).saturating_sub(machine.load(cpu));
        let (from, to) = match self.fault {
            PullFault::Backwards => (cpu, busiest),
            _ => (busiest, cpu),
        };
        let worth = surplus > 1 || self.fault == PullFault::NoThreshold;
        worth.then_some(Move { from, to, amount: Amount::One })
    }

    fn next_balance(&self, _: CpuId, _: &MachineView) -> Option<Duration> {
        let tired = self.fault == PullFault::StopsAsking && self.asked.fetch_add(1, Relaxed) >= 20;
        (!tired).then_some(Duration::from_millis(10))
    }

    fn idle_bound(&self) -> Option<Duration> {
        Some(Duration::from_millis(10))
    }
}

macro_rules! wrong_pull {
    ($fault:expr) => {
        idler!(WrongPull { asked: AtomicU32::new(0), fault: $fault })
    };
}

#[test]
fn balancing_that_never_comes_to_rest_is_caught() {
    assert_caught_by(
        "a balanced machine",
        wrong_pull!(PullFault::NoThreshold),
        "migrations on a machine in balance",
    );
}

#[test]
fn balancing_the_wrong_way_is_caught() {
    assert_caught_by("threads that pile up", wrong_pull!(PullFault::Backwards), "idles while");
}

#[test]
fn balancing_that_stops_is_caught() {
    assert_caught_by("threads that pile up", wrong_pull!(PullFault::StopsAsking), "idles while");
}

/// Moves a thread to the next CPU each time it is placed.
struct Tourist;

impl Balancer for Tourist {
    fn place(&self, thread: &ThreadView, _: Placement, machine: &MachineView) -> CpuId {
        let next = CpuId((thread.last.0 + 1) % machine.topology().cpus() as u32);
        if thread.allowed.contains(next) { next } else { thread.allowed.first().unwrap_or(thread.last) }
    }
}

#[test]
fn a_thread_that_wakes_on_another_cpu_each_time_is_caught() {
    assert_caught_by("a lone sleeper", idler!(Tourist), "it migrated");
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
