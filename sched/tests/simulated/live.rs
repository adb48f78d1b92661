//! What a running machine may be asked to change: its policies, its CPUs. And what the audit finds.

use crate::machine::{Check, Doing, Machine, RAN};
use crate::planted;
use crate::promises::{A, B, machine, spawn, stay};
use sched::balance::{IDLE_STEAL, TWO_CHOICES};
use sched::order::{self, ROUND_ROBIN};
use sched::{Config, CpuId, CpuSet, Policy, PolicyFault};

/// `seconds` pass, with a tick each 100 ms on all CPUs that run something, and an audit each second.
fn run_for(machine: &mut Machine, seconds: u64) -> Option<PolicyFault> {
    for _ in 0..seconds {
        for _ in 0..10 {
            machine.core.platform().advance(100_000_000);
            for cpu in machine.cpu_ids() {
                if machine.running(cpu).is_some() {
                    machine.tick(cpu, RAN).unwrap();
                }
            }
            machine.come_to_rest().unwrap();
        }
        if let Some(fault) = machine.core.audit() {
            return Some(fault);
        }
    }
    None
}

#[test]
fn idle_cpus_are_no_fault_where_those_that_wait_may_not_run_there() {
    let mut machine = machine(4, Config { balancer: &TWO_CHOICES, ..Config::default() });
    for _ in 0..3 {
        machine.spawn(A, CpuSet::of(B)).unwrap();
    }
    assert_eq!(run_for(&mut machine, 10), None);
}

#[test]
fn a_balancer_that_breaks_its_promise_of_conserving_work_is_found_and_replaced() {
    for entry in planted::BALANCERS.into_iter().filter(|entry| entry.conserves_work) {
        let mut machine = machine(4, Config { balancer: entry, ..Config::default() });
        for _ in 0..8 {
            machine.spawn(A, CpuSet::ALL).unwrap();
        }
        let fault = run_for(&mut machine, 10).expect("three CPUs idle");
        assert!(matches!(fault, PolicyFault::Idle { balancer, .. } if balancer == entry.name), "{fault}");
        machine.system_call(A, |core| core.replace(&fault, A)).unwrap();
        machine.settle().unwrap();
        assert!(machine.cpu_ids().all(|cpu| machine.running(cpu).is_some()), "a CPU idles still");
        assert_eq!(run_for(&mut machine, 10), None);
    }
}

#[test]
fn a_thread_that_an_order_starves_is_found_and_gets_its_turn_under_another() {
    for entry in planted::ORDERS {
        let mut machine = machine(1, Config { order: entry, ..stay() });
        let ids = spawn(&mut machine, 3);
        // The first one ran at once, as nobody else was there: let it leave the CPU.
        let fault = run_for(&mut machine, 60).expect("a thread is starved");
        assert!(matches!(fault, PolicyFault::Starved { order, .. } if order == entry.name), "{fault}");
        machine.system_call(A, |core| core.replace(&fault, A)).unwrap();
        let before = machine.model(ids[0]).ticks;
        assert_eq!(run_for(&mut machine, 10), None);
        assert!(machine.model(ids[0]).ticks > before, "it still has had no turn");
    }
}

#[test]
fn light_threads_that_wait_long_are_not_starved() {
    let mut machine = machine(1, Config { order: &order::EEVDF, ..stay() });
    let ids = spawn(&mut machine, 3);
    let thread = machine.model(ids[0]).thread.clone();
    machine.system_call(A, |core| core.set_policy(&thread, Policy::Idle, A)).unwrap().unwrap();
    for id in &ids[1..] {
        let thread = machine.model(*id).thread.clone();
        machine.system_call(A, |core| core.set_policy(&thread, Policy::normal(-20), A)).unwrap().unwrap();
    }
    assert_eq!(run_for(&mut machine, 60), None);
}

#[test]
fn all_that_wait_go_over_to_each_order_and_come_back() -> Check {
    let mut machine = machine(2, Config { balancer: &IDLE_STEAL, ..Config::default() });
    spawn(&mut machine, 40);
    for round in 0..3 {
        for entry in order::orders() {
            machine.system_call(A, |core| core.set_order(entry, A))?.unwrap();
            assert_eq!(machine.core.order().name, entry.name);
            machine.tick(CpuId(round % 2), RAN)?;
            machine.settle()?;
        }
        machine.system_call(B, |core| core.set_order(&ROUND_ROBIN, B))?.unwrap();
    }
    assert_eq!(machine.ready(), 38);
    machine.drain()?;
    machine.all_memory_comes_back()
}

#[test]
fn a_cpu_that_goes_offline_strands_nobody_of_any_class() -> Check {
    let mut machine = machine(2, stay());
    let ids = spawn(&mut machine, 6);
    for (id, priority) in ids[2..4].iter().zip([10, 20]) {
        let thread = machine.model(*id).thread.clone();
        machine.system_call(A, |core| core.set_policy(&thread, Policy::Fifo { priority }, A))?.unwrap();
    }
    machine.offline(A, B)?;
    machine.settle()?;
    assert_eq!(machine.core.machine().waiting(A), 0);
    assert_eq!(machine.running(A), None);
    machine.drain()
}

#[test]
fn threads_that_were_displaced_return_with_their_cpu() -> Check {
    let mut machine = machine(3, Config { balancer: &IDLE_STEAL, ..Config::default() });
    let ids = [(); 3].map(|()| machine.spawn(A, CpuSet::of(B)).unwrap());
    machine.settle()?;
    machine.offline(B, A)?;
    machine.settle()?;
    assert!(
        ids.iter().all(|id| machine.model(*id).thread.cpu() != B),
        "a thread is on a CPU that is offline"
    );
    machine.online(B, A)?;
    machine.settle()?;
    for id in ids {
        let model = machine.model(id);
        assert_eq!(model.thread.cpu(), B, "{id} is {:?}", model.doing);
    }
    assert_eq!(ids.iter().filter(|id| machine.model(**id).doing == Doing::Running(B)).count(), 1);
    machine.drain()
}
