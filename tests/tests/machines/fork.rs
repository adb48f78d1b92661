//! Forked children run to their end, on any number of CPUs and with any tick.

use std::time::Duration;
use tests::{Require, pass};
use tine::{Machine, machine};

const CHILDREN: u64 = 50;

fn counts_to_ten(machine: Machine) {
    pass(&machine.program("fork_progress_test"));
}

/// All children end with their right status, each CPU does its part, and each child was granted its first tick.
fn children_complete(machine: Machine) {
    let outcome = pass(&machine.program("fork_spin_stress"));
    let cpus = &outcome.record.figures.cpus;
    let boot = outcome.record.boot().map_or(0, |boot| boot.cpus as usize);
    outcome.require(cpus.len() == boot, format!("{} of {boot} CPUs have figures", cpus.len()));
    let idle = cpus.iter().find(|cpu| cpu.share.is_none_or(|share| share == 0.0));
    outcome.require(idle.is_none(), format!("a CPU did nothing of the work: {idle:?}"));
    let started: u64 = outcome
        .record
        .scheduler()
        .map_or(0, |scheduler| scheduler.cpus.iter().map(|cpu| cpu.first_run_latency_ns.count()).sum());
    outcome.require(started > CHILDREN, format!("only {started} threads first ran"));
}

macro_rules! on_machines {
    ($($name:ident: $machine:expr;)*) => {
        mod counts_to_ten {
            use super::*;
            $(#[test] fn $name() { super::counts_to_ten($machine); })*
        }
        mod children_complete {
            use super::*;
            $(#[test] fn $name() { super::children_complete($machine); })*
        }
    };
}

on_machines! {
    on_one_cpu: machine().smp(1);
    on_two_cpus: machine().smp(2);
    on_four_cpus: machine().smp(4);
    on_eight_cpus: machine().smp(8);
    at_1_hz: machine().hz(1).timeout(Duration::from_secs(300));
    at_10_hz: machine().hz(10);
    at_1000_hz: machine().hz(1000);
    in_one_shot_mode: machine().oneshot();
    on_two_sockets: Machine::named("sockets");
    in_virtual_time: machine().virtual_time();
    with_the_kernels_assertions: machine().checked();
}
