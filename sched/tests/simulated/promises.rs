//! What the core promises, one situation at a time.

use crate::machine::{Doing, Machine, RAN};
use crate::platform;
use sched::balance::{IDLE_STEAL, NONE, TWO_CHOICES};
use sched::order::FIFO;
use sched::{
    Config, CpuId, CpuSet, Duration, Instant, Leave, Migrations, Platform, Progress, ThreadId, Tick, Timer,
    Topology,
};

pub const A: CpuId = CpuId(0);
pub const B: CpuId = CpuId(1);

/// A machine at rest.
pub fn machine(cpus: usize, config: Config) -> Machine {
    let mut machine = Machine::new(Topology::flat(cpus), config);
    machine.settle().unwrap();
    machine
}

pub fn stay() -> Config {
    Config { balancer: &NONE, ..Config::default() }
}

/// `count` threads on CPU A, which may run everywhere, the first of them running.
pub fn spawn(machine: &mut Machine, count: usize) -> Vec<ThreadId> {
    let ids = (0..count).map(|_| machine.spawn(A, CpuSet::ALL).unwrap()).collect();
    machine.settle().unwrap();
    ids
}

#[test]
fn a_quantum_of_three_ticks_lasts_three_ticks_each_time() {
    let quantum = Duration::from_ticks(30_000_000);
    let mut machine = machine(1, Config { quantum, ..stay() });
    for id in spawn(&mut machine, 2).into_iter().cycle().take(6) {
        assert_eq!(machine.running(A), Some(id));
        if !machine.model(id).thread.has_had_first_run() {
            machine.tick(A, RAN).unwrap();
        }
        let answers = [(); 3].map(|()| machine.tick(A, RAN).unwrap());
        assert_eq!(answers, [Tick::Continue, Tick::Continue, Tick::Reschedule]);
        machine.settle().unwrap();
    }
}

#[test]
fn a_thread_that_was_alone_for_long_has_a_fresh_slice_when_another_comes() {
    let mut machine = machine(1, Config { quantum: Duration::from_ticks(20_000_000), ..stay() });
    spawn(&mut machine, 1);
    for _ in 0..8 {
        assert_eq!(machine.tick(A, RAN), Ok(Tick::Continue));
    }
    let second = machine.spawn(A, CpuSet::ALL).unwrap();
    machine.settle().unwrap();
    assert_ne!(machine.running(A), Some(second));
}

#[test]
fn threads_that_yield_take_turns() {
    let mut machine = machine(1, stay());
    let ids = spawn(&mut machine, 3);
    for id in ids.iter().cycle().take(9) {
        assert_eq!(machine.running(A), Some(*id));
        machine.give_way(A).unwrap();
        machine.settle().unwrap();
    }
}

#[test]
fn a_yield_without_competitors_takes_no_lock_and_reads_no_clock() {
    let machine = {
        let mut machine = machine(2, Config::default());
        spawn(&mut machine, 1);
        machine
    };
    let cpu = if machine.running(A).is_some() { A } else { B };
    let before = (platform::locks_taken(), machine.core.platform().clock_reads());
    assert!(machine.core.reschedule(cpu, Leave::Yield).is_none());
    assert_eq!((platform::locks_taken(), machine.core.platform().clock_reads()), before);
}

#[test]
fn fifo_runs_each_thread_to_its_end_in_order_of_arrival() {
    let mut machine = machine(1, Config { order: &FIFO, ..stay() });
    for id in spawn(&mut machine, 3) {
        for _ in 0..5 {
            assert_eq!(machine.tick(A, RAN), Ok(Tick::Continue));
            machine.settle().unwrap();
        }
        assert_eq!(machine.running(A), Some(id));
        machine.exit(A).unwrap();
        machine.settle().unwrap();
    }
}

#[test]
fn a_running_thread_leaves_a_cpu_where_it_may_not_be() {
    let mut machine = machine(2, stay());
    let id = spawn(&mut machine, 1)[0];
    machine.set_affinity(id, CpuSet::of(B), B).unwrap();
    assert!(machine.core.platform().is_kicked(A));
    machine.settle().unwrap();
    assert_eq!(machine.model(id).doing, Doing::Running(B));
}

#[test]
fn a_sleeping_thread_wakes_where_it_may_be() {
    let mut machine = machine(2, stay());
    let id = spawn(&mut machine, 1)[0];
    machine.sleep(A).unwrap();
    machine.settle().unwrap();
    machine.set_affinity(id, CpuSet::of(B), A).unwrap();
    machine.wake(id, A).unwrap();
    machine.settle().unwrap();
    assert_eq!(machine.model(id).doing, Doing::Running(B));
    assert_eq!(machine.core.migrations(B), Migrations { wake: 1, ..Migrations::default() });
    assert_eq!(machine.core.cpu_stats(A).migrations_out, 1);
}

#[test]
fn what_a_sleeper_was_called_for_is_not_forgotten_when_a_wake_keeps_it_awake() {
    let mut machine = machine(2, stay());
    let id = spawn(&mut machine, 1)[0];
    machine.set_affinity(id, CpuSet::of(B), B).unwrap();
    machine.sleep_woken(A, B).unwrap();
    assert!(machine.core.needs_reschedule(A));
}

#[test]
fn a_cpu_that_comes_online_looks_for_work_before_it_sleeps() {
    let machine = Machine::new(Topology::flat(2), stay());
    assert!(machine.core.needs_reschedule(B));
}

#[test]
fn a_cpu_that_comes_back_online_is_called_and_takes_threads_again() {
    let mut machine = machine(2, Config { balancer: &IDLE_STEAL, ..Config::default() });
    machine.offline(B, A).unwrap();
    let ids = spawn(&mut machine, 2);
    assert_eq!(machine.running(B), None);
    assert_eq!(machine.core.machine().online(), CpuSet::of(A));
    machine.core.set_online(B, A);
    assert!(machine.core.platform().is_kicked(B));
    machine.settle().unwrap();
    assert_eq!(machine.running(B), Some(ids[1]));
}

#[test]
fn a_cpu_that_gets_its_first_waiting_thread_is_called_to_arm_its_timer() {
    let mut machine = machine(1, Config { timer: Timer::OneShot, ..stay() });
    spawn(&mut machine, 1);
    assert_eq!(machine.core.slice_end(A), None);
    machine.spawn(A, CpuSet::ALL).unwrap();
    assert!(machine.core.needs_reschedule(A));
    machine.settle().unwrap();
    assert!(machine.core.slice_end(A).is_some());
}

#[test]
fn a_slice_that_has_not_ended_is_not_cut_short_by_an_early_timer() {
    let quantum = Duration::from_ticks(25_000_000);
    let mut machine = machine(1, Config { timer: Timer::OneShot, quantum, ..stay() });
    spawn(&mut machine, 2);
    machine.tick(A, RAN).unwrap();
    let end = machine.core.slice_end(A).unwrap();
    let mut answers = Vec::new();
    while answers.last() != Some(&Tick::Reschedule) {
        answers.push(machine.tick(A, RAN).unwrap());
    }
    assert!(now(&machine) >= end);
    assert_eq!(answers.len(), 3);
}

#[test]
fn all_time_is_accounted_to_threads_or_to_idling() {
    let mut machine = machine(2, stay());
    let start = now(&machine);
    let ids = spawn(&mut machine, 2);
    for _ in 0..10 {
        machine.tick(A, RAN).unwrap();
        machine.settle().unwrap();
    }
    machine.exit(A).unwrap();
    machine.settle().unwrap();
    machine.exit(A).unwrap();
    machine.settle().unwrap();
    machine.core.platform().advance(5_000_000);
    let elapsed = (now(&machine) - start).as_ticks();
    let (a, b) = (machine.core.cpu_stats(A), machine.core.cpu_stats(B));
    assert_eq!(a.busy_ns + a.idle_ns, elapsed);
    assert_eq!((b.busy_ns, b.idle_ns), (0, elapsed));
    assert_eq!(ids.iter().map(|id| machine.model(*id).thread.ran().as_ticks()).sum::<u64>(), a.busy_ns);
}

#[test]
fn the_first_run_latency_is_the_time_from_the_start_to_the_first_instruction() {
    let mut machine = machine(1, stay());
    let id = spawn(&mut machine, 1)[0];
    let thread = machine.model(id).thread.clone();
    machine.core.platform().advance(3_000);
    machine.core.note_first_instruction(&thread, A);
    machine.core.platform().advance(5_000);
    machine.core.note_first_instruction(&thread, A);
    let latency = machine.core.cpu_stats(A).first_run_latency_ns;
    assert_eq!((latency.count(), latency.max()), (1, 3_000));
}

#[test]
fn a_thread_that_is_discarded_unstarted_is_freed() {
    let machine = machine(1, stay());
    let task = std::sync::Arc::new(());
    let kind = sched::Kind::User;
    let new = sched::NewThread {
        id: ThreadId(1),
        kind,
        affinity: CpuSet::ALL,
        policy: sched::Policy::default(),
        task: task.clone(),
    };
    let thread = machine.core.spawn(new, A);
    machine.core.discard(&thread);
    machine.core.start(&thread, A);
    drop(thread);
    assert_eq!(std::sync::Arc::strong_count(&task), 1);
}

#[test]
fn a_tick_that_interrupts_the_idle_thread_for_work_says_so() {
    let mut machine = machine(1, stay());
    machine.spawn(A, CpuSet::ALL).unwrap();
    assert_eq!(machine.tick(A, Progress::Kernel), Ok(Tick::Reschedule));
}

#[test]
fn the_same_seed_makes_the_same_choices_and_another_seed_others() {
    let choices = |seed| {
        let mut machine = machine(8, Config { balancer: &TWO_CHOICES, seed, ..Config::default() });
        (0..32)
            .map(|_| {
                let id = machine.spawn(A, CpuSet::ALL).unwrap();
                machine.model(id).thread.cpu()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(choices(1), choices(1));
    assert_ne!(choices(1), choices(2));
}

#[test]
fn two_choices_keep_the_longest_queue_short() {
    const CPUS: usize = 64;
    let mut machine = machine(CPUS, Config { balancer: &TWO_CHOICES, ..Config::default() });
    for _ in 0..10 * CPUS {
        machine.spawn(A, CpuSet::ALL).unwrap();
    }
    let longest = machine.cpu_ids().map(|cpu| machine.core.machine().load(cpu)).max().unwrap();
    // One choice would give about 20; two give the mean and log log n more.
    assert!(longest <= 10 + 4, "{longest} threads on one CPU");
}

#[test]
fn the_view_of_the_machine_shows_who_runs_who_waits_and_who_idles() {
    let mut machine = machine(2, stay());
    assert_eq!(machine.core.machine().idle(), CpuSet::from_iter([A, B]));
    spawn(&mut machine, 3);
    let view = machine.core.machine();
    assert_eq!((view.load(A), view.waiting(A), view.load(B)), (3, 2, 0));
    assert_eq!(view.idle(), CpuSet::of(B));
    machine.drain().unwrap();
    assert_eq!(machine.core.machine().load(A), 0);
}

#[test]
fn a_preempted_thread_is_taken_by_an_idle_cpu_at_once() {
    let mut machine = machine(2, Config { balancer: &IDLE_STEAL, ..Config::default() });
    let id = spawn(&mut machine, 1)[0];
    machine.spawn(A, CpuSet::of(A)).unwrap();
    machine.settle().unwrap();
    assert_eq!(machine.tick(A, RAN), Ok(Tick::Continue));
    assert_eq!(machine.tick(A, RAN), Ok(Tick::Reschedule));
    for cpu in [A, A, B] {
        machine.go_on(cpu).unwrap();
    }
    assert_eq!(machine.model(id).doing, Doing::Running(B));
}

#[test]
fn a_pinned_thread_whose_helper_went_astray_is_found_within_a_tick_for_each_cpu() {
    let (c, d) = (CpuId(2), CpuId(3));
    let mut machine = machine(4, Config { order: &FIFO, balancer: &IDLE_STEAL, ..Config::default() });
    machine.spawn(A, CpuSet::of(A)).unwrap();
    machine.settle().unwrap();
    // B is called for the first and given the second; the CPU that it then calls may not take the first.
    let waiting = machine.spawn(A, CpuSet::from_iter([A, B, d])).unwrap();
    machine.spawn(A, CpuSet::of(B)).unwrap();
    for cpu in [B, c, B, c, d] {
        machine.go_on(cpu).unwrap();
    }
    assert_eq!(machine.model(waiting).doing, Doing::Ready);
    machine.settle().unwrap();
    assert_eq!(machine.model(waiting).doing, Doing::Running(d));
}

pub fn now(machine: &Machine) -> Instant {
    machine.core.platform().now()
}
