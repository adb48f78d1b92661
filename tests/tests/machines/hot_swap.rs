//! Policies are changed under load, and no thread is lost.

use serde::Deserialize;
use std::time::Duration;
use tests::{Require, pass};
use tine::{Machine, machine};

/// What `hot_swap` reports.
#[derive(Deserialize)]
struct Report {
    program: String,
    threads: u64,
    swaps: u64,
}

/// All threads complete, and the policies were changed as often as they should.
fn all_complete(machine: Machine) {
    let outcome = pass(&machine.timeout(Duration::from_secs(300)).program("hot_swap"));
    let report = outcome
        .record
        .results()
        .filter_map(|line| serde_json::from_value::<Report>(line).ok())
        .find(|report| report.program == "hot_swap");
    let Some(report) = report else { return outcome.require(false, "the program reported nothing") };
    let swaps = outcome.record.scheduler().map(|scheduler| scheduler.swaps.clone()).unwrap_or_default();
    let (orders, balancers) = (swaps.orders, swaps.balancers);
    outcome.require(report.threads == 200, "not all threads were there");
    outcome.require(report.swaps >= 120, format!("only {} changes", report.swaps));
    // Those that were in force before are put back.
    outcome.require(
        orders + balancers == report.swaps + 2,
        format!("the kernel counts {orders} changes of the order and {balancers} of the balancer"),
    );
    outcome.require(swaps.pause_ns.count() >= orders, "a change of the order was not measured");
}

#[test]
fn on_four_cpus() {
    all_complete(machine());
}

#[test]
fn on_one_cpu() {
    all_complete(machine().smp(1));
}

#[test]
fn in_one_shot_mode() {
    all_complete(machine().oneshot());
}

#[test]
fn in_a_storm() {
    all_complete(machine().append("tick.storm=on"));
}

#[test]
fn with_the_kernels_assertions() {
    all_complete(machine().checked());
}
