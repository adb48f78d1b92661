//! The policies that are registered run the machine: each balancer, each order, and chaos with several seeds.

use sched::{balance, order};
use tests::{Require, pass};
use tine::{Machine, Outcome, machine};

fn completes(machine: Machine) -> Outcome {
    pass(&machine.program("fork_spin_stress").args(["--millis", "5", "--solo-millis", "20"]))
}

#[test]
fn every_balancer_completes_and_those_that_conserve_work_use_all_cpus() {
    for balancer in balance::balancers() {
        let outcome = completes(machine().order("round_robin").balancer(balancer.name));
        let cpus = &outcome.record.scheduler().expect("a run that passed has it").cpus;
        outcome.require(
            !balancer.conserves_work || cpus.iter().all(|cpu| cpu.busy_ns > 0),
            format!("{} leaves a CPU without work", balancer.name),
        );
        let repairs: u64 = cpus.iter().map(|cpu| cpu.repairs).sum();
        outcome.require(repairs == 0, format!("{} proposed {repairs} impossible things", balancer.name));
    }
}

#[test]
fn every_order_completes() {
    for order in order::orders() {
        completes(machine().order(order.name).balancer("two_choices"));
    }
}

/// Where threads land depends on the seed; the programs pass wherever that is.
#[test]
fn chaos_completes_with_any_seed() {
    for seed in 1..=4 {
        let machine = machine().balancer("chaos").seed(seed);
        pass(&tests::sequence(
            machine,
            [
                "fork_spin_stress --children 20 --millis 2",
                "fork_exit_storm --count 200",
                "message_storm --groups 2",
            ],
        ));
    }
}

/// Domains, siblings and nodes exist only where there are several.
#[test]
fn balancers_that_look_at_the_topology_complete_on_two_sockets() {
    for balancer in ["periodic_pull", "idle_sibling", "domain"] {
        completes(Machine::named("sockets").balancer(balancer));
    }
}
