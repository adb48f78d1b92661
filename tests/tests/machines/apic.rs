//! Interrupt controllers in xAPIC and in x2APIC mode bring up all CPUs.

use tests::{Require, pass, sequence};
use tine::{Machine, Outcome, machine};

const COMMANDS: [&str; 2] = ["fork_progress_test", "fork_spin_stress --millis 5"];

fn mode(outcome: &Outcome) -> &str {
    outcome.record.boot().map_or("unknown", |boot| boot.apic.as_str())
}

#[test]
fn xapic_serves_all_cpus() {
    let outcome = pass(&sequence(Machine::named("xapic"), COMMANDS));
    outcome.require(mode(&outcome) == "xapic", format!("the mode is {}", mode(&outcome)));
}

/// QEMU 7.2 emulates no x2APIC; there, the kernel falls back, and says so in its record.
#[test]
fn x2apic_serves_all_cpus_where_the_machine_has_it() {
    let outcome = pass(&sequence(machine(), COMMANDS));
    let old = outcome.record.versions.qemu.contains("version 7.");
    let expected = if old { "xapic" } else { "x2apic" };
    outcome.require(mode(&outcome) == expected, format!("the mode is {}, not {expected}", mode(&outcome)));
}
