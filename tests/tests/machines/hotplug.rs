//! CPUs go offline and come back under load, and nothing is stranded.

use std::time::Duration;
use tests::{Require, pass};
use tine::{Machine, machine};

/// All checks of `cpu_hotplug` hold, and threads really were made to leave.
fn strands_nothing(machine: Machine) {
    let outcome = pass(&machine.timeout(Duration::from_secs(180)).program("cpu_hotplug"));
    let cpus = outcome.record.scheduler().map(|it| it.cpus.clone()).unwrap_or_default();
    let left: u64 = cpus.iter().map(|cpu| cpu.migrations.offline).sum();
    outcome.require(left > 0, "no thread left a CPU because that went offline");
    let boot = outcome.record.boot().map_or(0, |boot| boot.cpus as usize);
    outcome.require(cpus.len() == boot, format!("{} of {boot} CPUs have figures", cpus.len()));
}

#[test]
fn on_four_cpus() {
    strands_nothing(machine());
}

#[test]
fn on_two_cpus() {
    strands_nothing(machine().smp(2));
}

#[test]
fn in_one_shot_mode() {
    strands_nothing(machine().oneshot());
}

#[test]
fn first_runs_are_kept_in_a_storm() {
    strands_nothing(machine().append("tick.storm=on"));
}

#[test]
fn with_stealing_instead_of_placing() {
    strands_nothing(machine().balancer("idle_steal"));
}

#[test]
fn with_the_kernels_assertions() {
    strands_nothing(machine().checked());
}
