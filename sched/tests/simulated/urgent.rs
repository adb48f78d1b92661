//! The most urgent real-time threads run, wherever they are, under every balancer.

use crate::machine::{Check, Doing, Machine, RAN, ensure};
use crate::promises::{A, B, machine, spawn, stay};
use proptest::prelude::*;
use proptest::sample::select;
use sched::{Config, CpuId, CpuSet, Policy, ThreadId, balance};

const C: CpuId = CpuId(2);
const CPUS: usize = 3;

fn fifo(priority: u8) -> Policy {
    Policy::Fifo { priority }
}

#[derive(Clone, Debug)]
enum Op {
    Spawn(CpuId),
    /// Of the thread that runs there.
    Sleep(CpuId),
    Exit(CpuId),
    Yield(CpuId),
    Wake(ThreadId, CpuId),
    Policy(ThreadId, Policy, CpuId),
    Affinity(ThreadId, Box<CpuSet>, CpuId),
    Offline(CpuId),
    Online(CpuId),
}

fn cpu() -> impl Strategy<Value = CpuId> {
    (0..CPUS as u32).prop_map(CpuId)
}

fn thread() -> impl Strategy<Value = ThreadId> {
    (0..8u32).prop_map(ThreadId)
}

/// `pins`: also such that bind threads to some CPUs, and take CPUs away.
fn op(pins: bool) -> impl Strategy<Value = Op> {
    let policy = prop_oneof![
        1 => Just(Policy::normal(0)),
        4 => (1..9u8).prop_map(fifo),
        1 => (1..9u8).prop_map(|priority| Policy::RoundRobin { priority }),
    ];
    let set = (1..1u64 << CPUS).prop_map(|bits| CpuSet::from_words([bits]));
    let often = u32::from(pins);
    prop_oneof![
        3 => cpu().prop_map(Op::Spawn),
        4 => cpu().prop_map(Op::Sleep),
        1 => cpu().prop_map(Op::Exit),
        1 => cpu().prop_map(Op::Yield),
        6 => (thread(), cpu()).prop_map(|(id, cpu)| Op::Wake(id, cpu)),
        6 => (thread(), policy, cpu()).prop_map(|(id, policy, cpu)| Op::Policy(id, policy, cpu)),
        3 * often => (thread(), set, cpu()).prop_map(|(id, set, cpu)| Op::Affinity(id, Box::new(set), cpu)),
        often => select(&[B, C]).prop_map(Op::Offline),
        often => select(&[B, C]).prop_map(Op::Online),
    ]
}

fn carry_out(machine: &mut Machine, op: &Op) -> Check {
    match *op {
        Op::Spawn(cpu) => machine.spawn(cpu, CpuSet::ALL).map(drop),
        Op::Sleep(cpu) => machine.sleep(cpu),
        Op::Exit(cpu) => machine.exit(cpu),
        Op::Yield(cpu) => machine.give_way(cpu),
        Op::Wake(id, cpu) => machine.wake(id, cpu),
        Op::Policy(id, policy, cpu) => machine.set_policy(id, policy, cpu),
        Op::Affinity(id, ref set, cpu) => machine.set_affinity(id, **set, cpu),
        Op::Offline(cpu) if machine.core.machine().is_online(cpu) => machine.offline(cpu, A),
        Op::Online(cpu) if !machine.core.machine().is_online(cpu) => machine.online(cpu, A),
        Op::Offline(_) | Op::Online(_) => Ok(()),
    }
}

fn priority(machine: &Machine, id: ThreadId) -> u8 {
    machine.model(id).thread.policy().priority()
}

/// No thread waits that is more urgent than what runs on a CPU where it may run.
fn the_most_urgent_run(machine: &Machine) -> Check {
    let online = machine.core.machine().online();
    for (id, model) in &machine.threads {
        if model.doing != Doing::Ready {
            continue;
        }
        for cpu in online.iter().filter(|cpu| model.thread.may_run_on(*cpu)) {
            let runs = machine.running(cpu).map_or(0, |runs| priority(machine, runs));
            ensure!(
                priority(machine, *id) <= runs,
                "{id} of priority {} waits on {}, and on {cpu} runs {:?} of priority {runs}",
                priority(machine, *id),
                model.thread.cpu(),
                machine.running(cpu)
            );
        }
    }
    Ok(())
}

fn holds(balancer: &'static balance::Entry, ops: &[Op]) -> Check {
    let mut machine = machine(CPUS, Config { balancer, ..Config::default() });
    for op in ops {
        carry_out(&mut machine, op).map_err(|broken| format!("{op:?}: {broken}"))?;
        machine.come_to_rest()?;
        the_most_urgent_run(&machine).map_err(|broken| format!("after {op:?}: {broken}"))?;
    }
    machine.drain()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_each_event_the_most_urgent_threads_run(
        ops in proptest::collection::vec(op(false), 0..60),
        balancer in select(balance::balancers()),
    ) {
        prop_assert_eq!(holds(balancer, &ops), Ok(()));
    }

    #[test]
    fn and_so_they_do_where_threads_are_pinned_and_cpus_come_and_go(
        ops in proptest::collection::vec(op(true), 0..60),
        balancer in select(balance::balancers()),
    ) {
        prop_assert_eq!(holds(balancer, &ops), Ok(()));
    }
}

fn set(machine: &mut Machine, id: ThreadId, policy: Policy) {
    machine.set_policy(id, policy, A).unwrap();
    machine.come_to_rest().unwrap();
}

#[test]
fn a_real_time_thread_that_is_preempted_goes_on_where_something_less_urgent_runs() -> Check {
    let mut machine = machine(2, stay());
    let ids = spawn(&mut machine, 3);
    set(&mut machine, ids[0], fifo(10));
    assert_eq!(machine.running(A), Some(ids[0]));
    machine.set_affinity(ids[1], CpuSet::of(A), A)?;
    set(&mut machine, ids[1], fifo(20));
    assert_eq!((machine.running(A), machine.running(B)), (Some(ids[1]), Some(ids[0])));
    assert_eq!(machine.core.migrations(B).push, 1);
    machine.drain()
}

#[test]
fn a_cpu_that_turns_to_something_less_urgent_takes_a_real_time_thread_from_another() -> Check {
    let mut machine = machine(2, stay());
    let ids = spawn(&mut machine, 4);
    for (id, priority) in ids.iter().zip([30, 20, 10]) {
        set(&mut machine, *id, fifo(priority));
    }
    machine.set_affinity(ids[2], CpuSet::ALL, A)?;
    let running = [A, B].map(|cpu| machine.running(cpu).unwrap());
    assert_eq!(running, [ids[0], ids[1]]);
    let waits_on = machine.model(ids[2]).thread.cpu();
    let other = if waits_on == A { B } else { A };
    machine.sleep(other)?;
    machine.come_to_rest()?;
    assert_eq!(machine.running(other), Some(ids[2]));
    machine.drain()
}

#[test]
fn a_real_time_thread_that_yields_to_nobody_of_its_priority_goes_on() -> Check {
    let mut machine = machine(1, stay());
    let ids = spawn(&mut machine, 3);
    set(&mut machine, ids[1], fifo(10));
    machine.tick(A, RAN)?;
    machine.give_way(A)?;
    assert_eq!(machine.running(A), Some(ids[1]));
    machine.drain()
}
