//! A policy that fails is noticed and replaced; the run goes on to its end, and counts as failed.

use formats::record::FailureKind;
use std::time::Duration;
use tests::{Require, noticed, run};
use tine::record::Ending;
use tine::{Machine, machine};

/// The kernel notices what is wrong with the machine's policy, in these words, and the program does all its work.
#[track_caller]
fn is_replaced(machine: Machine, words: &str) {
    let outcome = run(&machine.planted().timeout(Duration::from_secs(120)));
    outcome.require(outcome.record.ending == Ending::KernelFailure, "the run did not end as failed");
    let Some(noticed) = noticed(&outcome, FailureKind::Policy) else {
        return outcome.require(false, "no fault of a policy was noticed");
    };
    outcome.require(noticed.message.contains(words), format!("the message lacks {words:?}: {noticed:?}"));
    let failures = outcome.record.failures().count();
    outcome.require(failures == 1, format!("{failures} failures were noticed"));
    let exited = outcome.record.exit();
    outcome.require(
        exited == Some(formats::record::Exit::Exited { status: 0 }),
        format!("the program ended with {exited:?}"),
    );
    outcome.require(outcome.console.contains("waiting"), "what the policy saw is not on the console");
}

fn busy(balancer: &str) -> Machine {
    machine().balancer(balancer).program("hot_swap").args(["--swaps", "0", "--rounds", "100"])
}

#[test]
fn a_balancer_that_proposes_cpus_that_do_not_exist_is_replaced() {
    is_replaced(busy("planted_impossible"), "has proposed CPUs where threads may not run");
}

#[test]
fn a_balancer_that_panics_is_replaced() {
    is_replaced(busy("planted_panicking"), "`planted_panicking` panicked");
}

#[test]
fn a_balancer_that_leaves_cpus_idle_against_its_promise_is_replaced() {
    let spin = ["--millis", "100", "--solo-millis", "20"];
    let machine = machine().balancer("planted_wasteful").program("fork_spin_stress").args(spin);
    is_replaced(machine, "leaves CPUs idle while threads wait");
}

#[test]
fn an_order_that_starves_threads_is_replaced() {
    let spin = ["--millis", "300", "--solo-millis", "20"];
    let machine = machine().order("planted_starving").program("fork_spin_stress").args(spin);
    is_replaced(machine, "starves thread");
}
