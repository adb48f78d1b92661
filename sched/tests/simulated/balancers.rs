//! What sets each balancer apart, one situation at a time.

use crate::machine::{Doing, Machine, RAN};
use crate::promises::{A, B};
use crate::random;
use sched::balance::{self, *};
use sched::{Config, CpuId, CpuSet, Migrations, ThreadId, Timer, Topology, order};

/// A machine at rest: two sockets, each with one last-level cache, of two cores of two threads.
fn sockets(balancer: &'static balance::Entry) -> Machine {
    let mut machine = Machine::new(Topology::regular(2, 2, 2), Config { balancer, ..Config::default() });
    machine.settle().unwrap();
    machine
}

/// Threads that may run only on `cpu`.
fn occupy(machine: &mut Machine, cpu: CpuId, count: usize) -> Vec<ThreadId> {
    let ids = (0..count).map(|_| machine.spawn(cpu, CpuSet::of(cpu)).unwrap()).collect();
    machine.settle().unwrap();
    ids
}

fn free(machine: &mut Machine, ids: &[ThreadId]) {
    ids.iter().for_each(|id| machine.set_affinity(*id, CpuSet::ALL, A).unwrap());
}

/// A thread that last ran on `cpu` and sleeps.
fn sleeper(machine: &mut Machine, cpu: CpuId) -> ThreadId {
    let id = occupy(machine, cpu, 1)[0];
    machine.sleep(cpu).unwrap();
    machine.settle().unwrap();
    free(machine, &[id]);
    id
}

/// Where `id` goes when it is woken from `waker`.
fn woken(machine: &mut Machine, id: ThreadId, waker: CpuId) -> CpuId {
    machine.wake(id, waker).unwrap();
    machine.model(id).thread.cpu()
}

fn causes(machine: &Machine) -> Migrations {
    machine.cpu_ids().map(|cpu| machine.core.migrations(cpu)).fold(Migrations::default(), |sum, it| {
        Migrations { pull: sum.pull + it.pull, push: sum.push + it.push, exec: sum.exec + it.exec, ..sum }
    })
}

/// All CPUs tick for so long.
fn pass_time(machine: &mut Machine, ms: u64) {
    let rounds = ms.div_ceil(10 * machine.cpu_ids().len() as u64);
    for _ in 0..rounds {
        for cpu in machine.cpu_ids() {
            machine.tick(cpu, RAN).unwrap();
        }
        machine.settle().unwrap();
    }
}

#[test]
fn a_shared_queue_serves_in_order_of_arrival_whichever_cpu_is_free() {
    for timer in [Timer::Periodic, Timer::OneShot] {
        let config = Config { balancer: &GLOBAL_FIFO, timer, ..Config::default() };
        let mut machine = Machine::new(Topology::flat(3), config);
        machine.settle().unwrap();
        let ids: Vec<_> = (0..7).map(|_| machine.spawn(A, CpuSet::ALL).unwrap()).collect();
        machine.settle().unwrap();
        for turn in 3..20 {
            // The CPU that is free is each in turn; all three run the three that came first.
            let cpu = CpuId(turn as u32 % 3);
            let before: Vec<_> = machine.cpu_ids().map(|cpu| machine.running(cpu).unwrap()).collect();
            machine.give_way(cpu).unwrap();
            machine.settle().unwrap();
            assert_eq!(machine.running(cpu), Some(ids[turn % 7]), "turn {turn}, {before:?}");
        }
    }
}

#[test]
fn with_a_shared_queue_a_slice_ends_for_those_that_wait_elsewhere() {
    for timer in [Timer::Periodic, Timer::OneShot] {
        let config = Config { balancer: &GLOBAL_FIFO, timer, ..Config::default() };
        let mut machine = Machine::new(Topology::flat(2), config);
        machine.settle().unwrap();
        (0..3).for_each(|_| assert!(machine.spawn(A, CpuSet::ALL).is_ok()));
        machine.settle().unwrap();
        assert_eq!((machine.core.machine().waiting(A), machine.core.machine().waiting(B)), (1, 0));
        assert!(timer == Timer::Periodic || machine.core.slice_end(B).is_some());
        let before = machine.running(B);
        machine.tick(B, RAN).unwrap();
        machine.tick(B, RAN).unwrap();
        machine.settle().unwrap();
        assert_ne!(machine.running(B), before);
    }
}

#[test]
fn round_robin_place_deals_new_threads_out_in_turn() {
    let mut machine = sockets(&ROUND_ROBIN_PLACE);
    let at = (0..16).map(|_| machine.spawn(A, CpuSet::ALL).unwrap()).collect::<Vec<_>>();
    let at: Vec<_> = at.into_iter().map(|id| machine.model(id).thread.cpu().index()).collect();
    assert_eq!(at, (0..8).chain(0..8).collect::<Vec<_>>());
}

#[test]
fn steal_half_takes_half_and_random_steal_one() {
    for (balancer, taken) in [(&STEAL_HALF, 4), (&RANDOM_STEAL, 1)] {
        let mut machine = Machine::new(Topology::flat(2), Config { balancer, ..Config::default() });
        machine.settle().unwrap();
        let ids = occupy(&mut machine, A, 9);
        free(&mut machine, &ids);
        machine.settle().unwrap();
        assert_eq!(machine.core.machine().load(B), taken, "{}", balancer.name);
    }
}

#[test]
fn random_thieves_do_not_all_go_to_one_victim() {
    let mut machine = sockets(&RANDOM_STEAL);
    for cpu in [0, 2, 4].map(CpuId) {
        let ids = occupy(&mut machine, cpu, 40);
        free(&mut machine, &ids[1..]);
    }
    for cpu in [1, 3, 5, 6, 7].map(CpuId).into_iter().cycle().take(60) {
        machine.exit(cpu).unwrap();
        machine.settle().unwrap();
    }
    let waiting = [0, 2, 4].map(|cpu| machine.core.machine().waiting(CpuId(cpu)));
    assert!(waiting.iter().all(|left| (5..35).contains(left)), "{waiting:?} are left");
}

#[test]
fn periodic_pull_evens_out_queues_that_are_all_busy() {
    let mut machine =
        Machine::new(Topology::flat(2), Config { balancer: &PERIODIC_PULL, ..Config::default() });
    machine.settle().unwrap();
    let ids = occupy(&mut machine, A, 7);
    occupy(&mut machine, B, 1);
    free(&mut machine, &ids);
    pass_time(&mut machine, 200);
    let view = machine.core.machine();
    assert_eq!((view.load(A), view.load(B)), (4, 4));
    assert!(causes(&machine).pull >= 3 && causes(&machine).push == 0);
}

#[test]
fn ule_pushes_from_the_longest_to_the_shortest_queue_twice_a_second() {
    let mut machine = Machine::new(Topology::flat(3), Config { balancer: &ULE, ..Config::default() });
    machine.settle().unwrap();
    let ids = occupy(&mut machine, B, 7);
    for cpu in [A, CpuId(2)] {
        occupy(&mut machine, cpu, 1);
    }
    free(&mut machine, &ids);
    pass_time(&mut machine, 400);
    assert_eq!(machine.core.machine().load(B), 7);
    pass_time(&mut machine, 700);
    assert!(machine.core.machine().load(B) < 7 && causes(&machine).push + causes(&machine).pull >= 3);
}

#[test]
fn a_thread_that_executes_a_program_goes_where_there_is_room() {
    for balancer in [&ULE, &PERIODIC_PULL, &IDLE_SIBLING, &DOMAIN] {
        let mut machine = sockets(balancer);
        for cpu in machine.cpu_ids().filter(|cpu| *cpu != B) {
            occupy(&mut machine, cpu, 2);
        }
        occupy(&mut machine, B, 1);
        let id = occupy(&mut machine, A, 1)[0];
        while machine.running(A) != Some(id) {
            machine.give_way(A).unwrap();
            machine.settle().unwrap();
        }
        let had = machine.model(id).thread.has_had_first_run();
        free(&mut machine, &[id]);
        machine.exec(A).unwrap();
        machine.settle().unwrap();
        assert_eq!(machine.model(id).thread.cpu(), B, "{}", balancer.name);
        assert_eq!(machine.model(id).thread.has_had_first_run(), had);
        assert_eq!(causes(&machine).exec, 1);
    }
}

#[test]
fn a_thread_that_executes_a_program_stays_when_it_is_alone_there() {
    for balancer in balance::balancers() {
        let mut machine = sockets(balancer);
        let id = occupy(&mut machine, A, 1)[0];
        free(&mut machine, &[id]);
        machine.exec(A).unwrap();
        machine.settle().unwrap();
        assert_eq!(machine.model(id).doing, Doing::Running(A), "{}", balancer.name);
    }
}

#[test]
fn idle_sibling_wakes_on_an_idle_cpu_at_the_same_cache() {
    let mut machine = sockets(&IDLE_SIBLING);
    // It ran on CPU 5, which is busy now; its cache has CPUs 4 to 7, of which the core of 6 and 7 idles wholly.
    let id = sleeper(&mut machine, CpuId(5));
    occupy(&mut machine, CpuId(5), 1);
    assert_eq!(woken(&mut machine, id, CpuId(5)), CpuId(6));
}

#[test]
fn idle_sibling_prefers_the_wakers_cache_when_that_has_less_to_do() {
    let mut machine = sockets(&IDLE_SIBLING);
    let id = sleeper(&mut machine, CpuId(5));
    occupy(&mut machine, CpuId(5), 3);
    occupy(&mut machine, A, 1);
    let at = woken(&mut machine, id, A);
    assert!(at.0 < 4, "it woke on {at}");
}

#[test]
fn idle_sibling_goes_back_to_where_it_ran_if_that_idles() {
    let mut machine = sockets(&IDLE_SIBLING);
    let id = sleeper(&mut machine, CpuId(5));
    occupy(&mut machine, A, 1);
    assert_eq!(woken(&mut machine, id, A), CpuId(5));
}

#[test]
fn domain_keeps_woken_threads_at_their_cache_even_if_others_idle() {
    let mut machine = sockets(&DOMAIN);
    let id = sleeper(&mut machine, CpuId(5));
    for cpu in (4..8).map(CpuId) {
        occupy(&mut machine, cpu, 1);
    }
    let at = woken(&mut machine, id, A);
    assert!(at.0 >= 4, "it woke on {at}");
}

#[test]
fn domain_moves_threads_between_caches_when_their_loads_differ() {
    let mut machine = sockets(&DOMAIN);
    for cpu in machine.cpu_ids() {
        occupy(&mut machine, cpu, 1);
    }
    let ids = occupy(&mut machine, A, 12);
    free(&mut machine, &ids);
    pass_time(&mut machine, 1_000);
    let load =
        |cpus: std::ops::Range<u32>| cpus.map(|cpu| machine.core.machine().load(CpuId(cpu))).sum::<u32>();
    assert!(load(0..4).abs_diff(load(4..8)) <= 2, "{} and {}", load(0..4), load(4..8));
}

#[test]
fn chaos_makes_the_same_decisions_for_the_same_seed_and_others_for_another() {
    let places = |seed| {
        let config = Config { balancer: &CHAOS, seed, ..Config::default() };
        let mut machine = Machine::new(Topology::flat(4), config);
        machine.settle().unwrap();
        (0..12).for_each(|_| assert!(machine.spawn(A, CpuSet::ALL).is_ok()));
        pass_time(&mut machine, 400);
        machine.threads.values().map(|model| model.thread.cpu()).collect::<Vec<_>>()
    };
    assert_eq!(places(1), places(1));
    assert_ne!(places(1), places(2));
}

#[test]
fn chaos_over_two_hundred_seeds_breaks_no_promise() {
    let shapes = [Topology::flat(5), Topology::regular(2, 2, 2), Topology::with_caches(1, 2, 2, 1)];
    for seed in 0..200 {
        let order = order::orders()[seed % order::orders().len()];
        let timer = if seed % 3 == 0 { Timer::OneShot } else { Timer::Periodic };
        let config = Config { order, balancer: &CHAOS, timer, seed: seed as u64, ..Config::default() };
        let topology = shapes[seed % shapes.len()].clone();
        if let Err(broken) = random::one_run(topology, config, seed as u64) {
            panic!("seed {seed}, {}, {timer:?}: {broken}", order.name);
        }
    }
}
