//! What the core promises, one situation at a time.

use crate::machine::{Doing, Machine, RAN, STUCK};
use crate::platform;
use sched::balance::{IDLE_STEAL, NONE, TWO_CHOICES};
use sched::order::FIFO;
use sched::{
    Config, CpuId, CpuSet, Duration, Instant, Leave, Migrations, Platform, Progress, ThreadId, Tick, Timer,
    Topology,
};

const A: CpuId = CpuId(0);
const B: CpuId = CpuId(1);

/// A machine at rest.
fn machine(cpus: usize, config: Config) -> Machine {
    let mut machine = Machine::new(Topology::flat(cpus), config);
    machine.settle().unwrap();
    machine
}

fn stay() -> Config {
    Config { balancer: &NONE, ..Config::default() }
}

/// `count` threads on CPU A, which may run everywhere, the first of them running.
fn spawn(machine: &mut Machine, count: usize) -> Vec<ThreadId> {
    let ids = (0..count).map(|_| machine.spawn(A, CpuSet::ALL).unwrap()).collect();
    machine.settle().unwrap();
    ids
}

#[test]
fn a_new_thread_is_preempted_at_its_second_tick_and_not_at_its_first() {
    let mut machine = machine(1, stay());
    let ids = spawn(&mut machine, 2);
    for id in ids.iter().chain(&ids) {
        assert_eq!(machine.running(A), Some(*id));
        if machine.model(*id).ticks == 0 {
            assert_eq!(machine.tick(A, RAN), Ok(Tick::Continue));
        }
        assert_eq!(machine.tick(A, RAN), Ok(Tick::Reschedule));
        machine.settle().unwrap();
    }
    assert_eq!(machine.core.cpu_stats(A).first_runs, 2);
    assert_eq!(machine.core.cpu_stats(A).preemptions, 4);
}

/// Moves a new thread from A to B in the given way; there it must get its full first tick while another waits.
fn keeps_its_first_tick(balancer: &'static sched::balance::Entry, moved: impl Fn(&mut Machine, ThreadId)) {
    let mut machine = machine(2, Config { balancer, ..Config::default() });
    let competitor = machine.spawn(B, CpuSet::of(B)).unwrap();
    machine.settle().unwrap();
    machine.tick(B, RAN).unwrap();
    let id = machine.spawn(A, CpuSet::ALL).unwrap();
    moved(&mut machine, id);
    while machine.running(B) != Some(id) {
        machine.tick(B, RAN).unwrap();
        machine.settle().unwrap();
    }
    machine.wake(competitor, B).unwrap();
    assert_eq!(machine.tick(B, RAN), Ok(Tick::Continue), "it was preempted at its first tick");
    assert_eq!(machine.running(B), Some(id));
    machine.drain().unwrap();
}

#[test]
fn a_stolen_child_gets_its_full_first_tick() {
    keeps_its_first_tick(&IDLE_STEAL, |machine, id| {
        machine.go_on(A).unwrap();
        machine.finish(A).unwrap();
        assert_eq!(machine.running(A), Some(id));
        let second = machine.spawn(A, CpuSet::ALL).unwrap();
        machine.sleep(B).unwrap();
        machine.settle().unwrap();
        assert_eq!(machine.running(B), Some(second));
        assert_eq!(machine.core.migrations(B).steal, 1);
        assert_eq!(machine.tick(B, RAN), Ok(Tick::Continue));
        assert!(machine.model(second).thread.has_had_first_run());
        machine.set_affinity(id, CpuSet::of(B), B).unwrap();
    });
}

#[test]
fn a_child_that_is_re_affined_while_it_waits_gets_its_full_first_tick() {
    keeps_its_first_tick(&NONE, |machine, id| machine.set_affinity(id, CpuSet::of(B), A).unwrap());
}

#[test]
fn a_child_that_is_moved_during_its_first_tick_gets_a_full_one_where_it_then_runs() {
    keeps_its_first_tick(&NONE, |machine, id| {
        machine.settle().unwrap();
        assert_eq!(machine.running(A), Some(id));
        machine.tick(A, STUCK).unwrap();
        machine.set_affinity(id, CpuSet::of(B), B).unwrap();
        machine.settle().unwrap();
        assert_eq!(machine.core.migrations(B).affinity, 1);
    });
}

#[test]
fn a_child_whose_cpu_goes_offline_gets_its_full_first_tick() {
    keeps_its_first_tick(&NONE, |machine, _| {
        machine.settle().unwrap();
        machine.offline(A, B).unwrap();
        machine.settle().unwrap();
        assert_eq!(machine.core.migrations(B).offline, 1);
    });
}

/// Two threads on one CPU, each hit by a tick as soon as it is dispatched, until one gets somewhere or `limit` ticks.
fn storm(first_run: bool, limit: usize) -> (Option<Tick>, Machine) {
    let mut machine = machine(1, Config { first_run, ..stay() });
    spawn(&mut machine, 2);
    for _ in 0..limit {
        match machine.tick(A, STUCK).unwrap() {
            found @ (Tick::Livelock(_) | Tick::Rearm) => return (Some(found), machine),
            _ => machine.settle().unwrap(),
        }
    }
    (None, machine)
}

#[test]
fn a_storm_without_the_guarantee_is_a_live_lock_and_is_reported_in_these_words() {
    let Some(Tick::Livelock(livelock)) = storm(false, 250).0 else { panic!("it was not noticed") };
    assert_eq!(
        livelock.to_string(),
        format!(
            "LIVELOCK: {} dispatched 100 times at RIP 0x1000 without retiring an instruction",
            livelock.thread
        )
    );
}

#[test]
fn a_storm_with_the_guarantee_leaves_a_full_period_to_the_thread_that_it_hits() {
    let (answer, mut machine) = storm(true, 250);
    assert_eq!(answer, Some(Tick::Rearm));
    let hit = machine.running(A);
    assert_eq!(machine.core.cpu_stats(A).preemptions, 0);
    assert_eq!(machine.tick(A, RAN), Ok(Tick::Continue));
    assert_eq!(machine.running(A), hit);
    assert_eq!(machine.core.cpu_stats(A).no_progress_ticks, 2);
}

#[test]
fn a_one_instruction_loop_shares_its_cpu() {
    let mut machine = machine(1, stay());
    let ids = spawn(&mut machine, 2);
    for _ in 0..60 {
        let progress = if machine.running(A) == Some(ids[0]) { STUCK } else { RAN };
        machine.tick(A, progress).unwrap();
        machine.settle().unwrap();
    }
    let (spinner, other) = (machine.model(ids[0]).ticks, machine.model(ids[1]).ticks);
    assert!(spinner <= 3 * other + 3, "the loop ran for {spinner} ticks and the other thread for {other}");
}

#[test]
fn a_quantum_of_three_ticks_lasts_three_ticks() {
    let quantum = Duration::from_ticks(30_000_000);
    let mut machine = machine(1, Config { quantum, ..stay() });
    spawn(&mut machine, 2);
    machine.tick(A, RAN).unwrap();
    let answers = [(); 3].map(|()| machine.tick(A, RAN).unwrap());
    assert_eq!(answers, [Tick::Continue, Tick::Continue, Tick::Reschedule]);
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
fn a_first_slice_is_at_least_one_tick_long() {
    let quantum = Duration::from_ticks(1);
    let mut machine = machine(1, Config { timer: Timer::OneShot, quantum, ..stay() });
    let dispatched = now(&machine);
    spawn(&mut machine, 2);
    let end = machine.core.slice_end(A).expect("another waits");
    assert!(end >= dispatched + machine.core.config().tick);
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
    let new = sched::NewThread { id: ThreadId(1), kind, affinity: CpuSet::ALL, nice: 0, task: task.clone() };
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

fn now(machine: &Machine) -> Instant {
    machine.core.platform().now()
}
