//! What every order and every balancer must keep to. `mutants.rs` shows that the suite catches those that do not.

use crate::machine::{Check, Doing, Machine, RAN, ensure};
use crate::random;
use sched::{Config, CpuId, CpuSet, Duration, Platform, Timer, Topology, balance, order};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A scenario on a machine of the given shape.
type Scenario = (&'static str, fn(Topology, Config) -> Check);

const SCENARIOS: [Scenario; 12] = [
    ("forks fill the machine", forks_fill_the_machine),
    ("sleepers wake where there is room", sleepers_wake_where_there_is_room),
    ("each CPU that falls idle finds work", each_cpu_that_falls_idle_finds_work),
    ("a lone sleeper stays where it is", a_lone_sleeper_stays_where_it_is),
    ("an offline CPU is not proposed", an_offline_cpu_is_not_proposed),
    ("a CPU that has not started is not proposed", a_cpu_that_has_not_started_is_not_proposed),
    ("threads that pile up reach idle CPUs in time", threads_that_pile_up_reach_idle_cpus_in_time),
    ("a balanced machine is left alone", a_balanced_machine_is_left_alone),
    ("idle CPUs look behind pinned threads", idle_cpus_look_behind_pinned_threads),
    ("pinned threads stay pinned", pinned_threads_stay_pinned),
    ("each waiting thread gets its turn", each_waiting_thread_gets_its_turn),
    ("whatever happens", random::whatever_happens),
];

fn machines() -> [Topology; 4] {
    [Topology::flat(1), Topology::flat(4), Topology::with_caches(1, 2, 2, 1), Topology::regular(2, 2, 2)]
}

/// Runs the whole suite; the first broken promise is the error. A policy's panic is one.
pub fn conforms(config: Config) -> Check {
    for (name, scenario) in SCENARIOS {
        for topology in machines() {
            let cpus = topology.cpus();
            catch_unwind(AssertUnwindSafe(|| scenario(topology, config)))
                .unwrap_or_else(|_| Err("it panicked".into()))
                .map_err(|broken| format!("{name}, with {cpus} CPUs: {broken}"))?;
        }
    }
    Ok(())
}

/// Ends all threads and checks what must hold after any scenario.
fn wind_up(mut machine: Machine) -> Check {
    machine.drain()?;
    ensure!(machine.repairs() == 0, "{} proposals had to be repaired", machine.repairs());
    machine.all_memory_comes_back()
}

fn tick_all(machine: &mut Machine, times: usize) -> Check {
    for _ in 0..times {
        for cpu in machine.cpu_ids() {
            machine.tick(cpu, RAN)?;
        }
        machine.settle()?;
    }
    Ok(())
}

/// A parent, busy on CPU 0, forks three children for each CPU.
fn forks_fill_the_machine(topology: Topology, config: Config) -> Check {
    let (children, all) = (3 * topology.cpus(), topology.all());
    let mut machine = Machine::new(topology, config);
    machine.settle()?;
    machine.spawn(CpuId::BOOT, all)?;
    machine.settle()?;
    for _ in 0..children {
        machine.spawn(CpuId::BOOT, all)?;
        machine.settle()?;
    }
    tick_all(&mut machine, 10)?;
    wind_up(machine)
}

/// As many threads as CPUs sleep; then all are woken from CPU 0, which is busy with one more.
fn sleepers_wake_where_there_is_room(topology: Topology, config: Config) -> Check {
    let all = topology.all();
    let mut machine = Machine::new(topology, config);
    machine.settle()?;
    let mut sleepers = Vec::new();
    for cpu in machine.cpu_ids() {
        let id = machine.spawn(cpu, all)?;
        machine.settle()?;
        if let Doing::Running(at) = machine.model(id).doing {
            machine.sleep(at)?;
        }
        machine.settle()?;
        sleepers.push(id);
    }
    machine.spawn(CpuId::BOOT, CpuSet::of(CpuId::BOOT))?;
    machine.settle()?;
    for id in sleepers {
        machine.wake(id, CpuId::BOOT)?;
        machine.settle()?;
    }
    wind_up(machine)
}

/// All threads are made on one CPU; then each CPU in turn loses the thread that it runs.
fn each_cpu_that_falls_idle_finds_work(topology: Topology, config: Config) -> Check {
    let (threads, all) = (4 * topology.cpus(), topology.all());
    let mut machine = Machine::new(topology, config);
    machine.settle()?;
    for _ in 0..threads {
        machine.spawn(CpuId::BOOT, all)?;
    }
    machine.settle()?;
    for _ in 0..threads {
        for cpu in machine.cpu_ids() {
            machine.exit(cpu)?;
            machine.settle()?;
        }
    }
    wind_up(machine)
}

/// The only thread of the machine sleeps and is woken again and again, by its own CPU's timer.
fn a_lone_sleeper_stays_where_it_is(topology: Topology, config: Config) -> Check {
    const WAKES: u32 = 100;
    let all = topology.all();
    let mut machine = Machine::new(topology, config);
    machine.settle()?;
    let id = machine.spawn(CpuId::BOOT, all)?;
    for _ in 0..WAKES {
        machine.settle()?;
        let Doing::Running(cpu) = machine.model(id).doing else {
            return Err(format!("{id} does not run on an empty machine"));
        };
        machine.sleep(cpu)?;
        machine.settle()?;
        machine.wake(id, cpu)?;
    }
    let migrations = machine.model(id).thread.migrations();
    ensure!(
        is_restless(&config) || migrations <= WAKES / 10,
        "it migrated {migrations} times in {WAKES} wake-ups"
    );
    wind_up(machine)
}

/// Whether the balancer moves threads for the sake of moving them.
fn is_restless(config: &Config) -> bool {
    [&balance::CHAOS, &balance::GLOBAL_FIFO].iter().any(|entry| std::ptr::eq(*entry, config.balancer))
}

/// The last CPU is one that the machine may have and that never came: its timer does not run.
fn a_cpu_that_has_not_started_is_not_proposed(topology: Topology, config: Config) -> Check {
    let (online, all) = (topology.cpus() - 1, topology.all());
    if online == 0 {
        return Ok(());
    }
    let mut machine = Machine::with_online(topology, config, online);
    machine.settle()?;
    for _ in 0..3 * online {
        machine.spawn(CpuId::BOOT, all)?;
        machine.settle()?;
    }
    let here = machine.running(CpuId::BOOT);
    machine.sleep(CpuId::BOOT)?;
    machine.settle()?;
    if let Some(id) = here {
        machine.wake(id, CpuId::BOOT)?;
    }
    wind_up(machine)
}

/// All threads wait on one CPU and may then run everywhere: an idle CPU gets one within the time that the balancer promises.
fn threads_that_pile_up_reach_idle_cpus_in_time(topology: Topology, config: Config) -> Check {
    let bound = (config.balancer.new)(&config).idle_bound();
    let Some(bound) = bound.or(config.balancer.conserves_work.then_some(Duration::from_millis(0))) else {
        return Ok(());
    };
    let (threads, all) = (2 * topology.cpus(), topology.all());
    let mut machine = Machine::new(topology, config);
    machine.settle()?;
    for _ in 0..2 {
        pile_up(&mut machine, threads, all)?;
        let begun = machine.core.platform().now();
        // Each CPU ticks once in this time, and the last one to be asked may be the one that is due.
        let bound = bound + config.tick * 2 * machine.cpu_ids().len() as u32;
        while machine.core.platform().now() < begun + bound {
            tick_all(&mut machine, 1)?;
        }
        if let Some((cpu, id)) = machine.idle_while_waiting() {
            return Err(format!("{cpu} idles while {id} waits, for more than {} ms", bound.as_millis()));
        }
        // Again after everybody has idled for a while.
        machine.drain()?;
        tick_all(&mut machine, 20)?;
    }
    wind_up(machine)
}

fn pile_up(machine: &mut Machine, threads: usize, all: CpuSet) -> Check {
    let spawn = |_| machine.spawn(CpuId::BOOT, CpuSet::of(CpuId::BOOT));
    let ids: Vec<_> = (0..threads).map(spawn).collect::<Result<_, _>>()?;
    ids.into_iter().try_for_each(|id| machine.set_affinity(id, all, CpuId::BOOT))
}

/// The longest queue is of threads that may run nowhere else; one that may waits in a shorter one. Without preemption, so that
/// waiting does not end by itself.
fn idle_cpus_look_behind_pinned_threads(topology: Topology, config: Config) -> Check {
    let all = topology.all();
    if topology.cpus() < 3 {
        return Ok(());
    }
    let mut machine = Machine::new(topology, Config { order: &order::FIFO, ..config });
    machine.settle()?;
    let (first, second) = (CpuId(0), CpuId(1));
    for (cpu, pinned) in [(first, 6), (second, 2)] {
        for _ in 0..pinned {
            machine.spawn(cpu, CpuSet::of(cpu))?;
        }
        machine.settle()?;
    }
    let free = machine.spawn(second, CpuSet::of(second))?;
    machine.set_affinity(free, all, first)?;
    machine.settle()?;
    wind_up(machine)
}

/// Each CPU has two threads, and the first has one more, for a second: there is no reason to move any.
fn a_balanced_machine_is_left_alone(topology: Topology, config: Config) -> Check {
    let all = topology.all();
    let mut machine = Machine::new(topology, config);
    machine.settle()?;
    for cpu in machine.cpu_ids() {
        for _ in 0..2 {
            machine.spawn(cpu, CpuSet::of(cpu))?;
        }
    }
    machine.spawn(CpuId::BOOT, CpuSet::of(CpuId::BOOT))?;
    machine.settle()?;
    for id in machine.threads.keys().copied().collect::<Vec<_>>() {
        machine.set_affinity(id, all, CpuId::BOOT)?;
    }
    let rounds = 100 / machine.cpu_ids().len();
    tick_all(&mut machine, rounds)?;
    let migrations: u32 = machine.threads.values().map(|model| model.thread.migrations()).sum();
    ensure!(is_restless(&config) || migrations == 0, "{migrations} migrations on a machine in balance");
    wind_up(machine)
}

fn an_offline_cpu_is_not_proposed(topology: Topology, config: Config) -> Check {
    let (cpus, all) = (topology.cpus(), topology.all());
    if cpus == 1 {
        return Ok(());
    }
    let mut machine = Machine::new(topology, config);
    machine.settle()?;
    for cpu in machine.cpu_ids() {
        machine.spawn(cpu, all)?;
        machine.spawn(cpu, all)?;
    }
    machine.settle()?;
    machine.offline(CpuId(cpus as u32 - 1), CpuId::BOOT)?;
    machine.settle()?;
    for _ in 0..2 * cpus {
        machine.spawn(CpuId::BOOT, all)?;
        machine.settle()?;
    }
    tick_all(&mut machine, 5)?;
    wind_up(machine)
}

/// Each CPU has threads that may run only there, and one that may run only on its neighbour. Where they run is checked
/// at each step; here, that CPUs without work do not get what they may not have.
fn pinned_threads_stay_pinned(topology: Topology, config: Config) -> Check {
    let cpus = topology.cpus() as u32;
    let mut machine = Machine::new(topology, config);
    machine.settle()?;
    for cpu in machine.cpu_ids().filter(|cpu| cpu.0 % 2 == 0) {
        machine.spawn(cpu, CpuSet::of(cpu))?;
        machine.spawn(cpu, CpuSet::of(cpu))?;
        machine.spawn(cpu, CpuSet::of(CpuId((cpu.0 + 1) % cpus)))?;
        machine.settle()?;
    }
    tick_all(&mut machine, 10)?;
    for (id, model) in &machine.threads {
        let at = model.thread.cpu();
        ensure!(model.thread.may_run_on(at), "{id} is on {at}");
    }
    wind_up(machine)
}

/// Five threads on one CPU run until they are preempted: with a preemptive order, each gets its share of the ticks;
/// roughly, as it may be a matter of chance.
fn each_waiting_thread_gets_its_turn(topology: Topology, config: Config) -> Check {
    const ROUNDS: usize = 60;
    if !config.order.preemptive || topology.cpus() > 4 {
        return Ok(());
    }
    let mut machine = Machine::new(topology, config);
    machine.settle()?;
    let ids: Vec<_> =
        (0..5).map(|_| machine.spawn(CpuId::BOOT, CpuSet::of(CpuId::BOOT))).collect::<Result<_, _>>()?;
    tick_all(&mut machine, ROUNDS * ids.len())?;
    for id in ids {
        let ticks = machine.model(id).ticks;
        ensure!(ticks >= ROUNDS / 2, "{id} ran for {ticks} ticks instead of {ROUNDS}");
    }
    wind_up(machine)
}

/// All orders with this balancer, and all balancers with this order: for what does not depend on the pair.
const USUAL: (&order::Entry, &balance::Entry) = (&order::ROUND_ROBIN, &balance::TWO_CHOICES);

/// All balancers, or the one that the environment variable BALANCER names.
fn balancers() -> Vec<&'static balance::Entry> {
    match std::env::var("BALANCER") {
        Ok(name) => vec![balance::by_name(&name).unwrap_or_else(|| panic!("there is no balancer `{name}`"))],
        Err(_) => balance::balancers().to_vec(),
    }
}

fn assert_conforms(config: Config) {
    if let Err(broken) = conforms(config) {
        panic!("{} and {} ({:?}): {broken}", config.order.name, config.balancer.name, config.timer);
    }
}

/// Each order once and each balancer once, changed by `change`.
fn assert_each_conforms(change: fn(&mut Config)) {
    let usual = Config { order: USUAL.0, balancer: USUAL.1, ..Config::default() };
    let orders = order::orders().iter().map(|order| Config { order, ..usual });
    let balancers = balancers().into_iter().map(|balancer| Config { balancer, ..usual });
    for mut config in orders.chain(balancers) {
        change(&mut config);
        assert_conforms(config);
    }
}

#[test]
fn every_order_conforms_with_every_balancer() {
    for order in order::orders() {
        for balancer in balancers() {
            assert_conforms(Config { order, balancer, ..Config::default() });
        }
    }
}

#[test]
fn every_order_and_every_balancer_conforms_in_one_shot_mode() {
    assert_each_conforms(|config| config.timer = Timer::OneShot);
}

#[test]
fn every_order_and_every_balancer_conforms_without_the_first_run_guarantee() {
    assert_each_conforms(|config| config.first_run = false);
}

#[test]
fn every_policy_is_found_by_its_name() {
    assert!(order::orders().iter().all(|entry| std::ptr::eq(order::by_name(entry.name).unwrap(), *entry)));
    assert!(
        balance::balancers().iter().all(|entry| std::ptr::eq(balance::by_name(entry.name).unwrap(), *entry))
    );
    assert!(order::by_name("").is_none() && balance::by_name("").is_none());
}
