//! The first-run guarantee: a storm of timer interrupts live-locks new threads without it, and does not with it.

use formats::record::FailureKind;
use tests::{Require, noticed, pass, run};
use tine::record::Ending;
use tine::{Machine, machine};

/// The timer fires right after each entry of a new thread into user mode.
fn storm() -> Machine {
    machine().append("tick.storm=on")
}

#[test]
fn without_the_guarantee_a_storm_live_locks_and_the_kernel_notices() {
    let outcome = run(&storm().append("sched.first_run=off").program("fork_progress_test"));
    outcome.require(outcome.record.ending == Ending::KernelFailure, "the machine did not end with a failure");
    let Some(noticed) = noticed(&outcome, FailureKind::Livelock) else {
        return outcome.require(false, "the kernel noticed no live-lock");
    };
    for words in ["thread", "dispatched", "times at RIP", "without retiring an instruction"] {
        outcome.require(noticed.message.contains(words), format!("the message lacks {words:?}: {noticed:?}"));
    }
}

#[test]
fn without_the_guarantee_and_without_a_storm_children_finish() {
    pass(&machine().append("sched.first_run=off").program("fork_progress_test"));
}

/// Passes, and really was a storm: ticks found threads that had not retired an instruction.
fn survives(machine: Machine) {
    let outcome = pass(&machine);
    let scheduler = outcome.record.scheduler();
    let in_vain = scheduler.map_or(0, |it| it.cpus.iter().map(|cpu| cpu.no_progress_ticks).sum::<u64>());
    outcome.require(in_vain > 0, "there was no storm: each tick found progress");
}

#[test]
fn with_the_guarantee_a_child_counts_through_a_storm() {
    survives(storm().program("fork_progress_test"));
}

#[test]
fn with_the_guarantee_children_complete_in_a_storm() {
    survives(storm().program("fork_spin_stress"));
}

#[test]
fn with_the_guarantee_children_complete_in_a_storm_on_one_cpu() {
    survives(storm().smp(1).program("fork_spin_stress"));
}

#[test]
fn with_the_guarantee_children_complete_in_a_storm_in_one_shot_mode() {
    survives(storm().oneshot().program("fork_spin_stress"));
}

#[test]
fn children_that_are_moved_during_their_first_tick_finish() {
    pass(&machine().program("first_tick_migration"));
}

#[test]
fn children_that_are_moved_during_their_first_tick_finish_in_a_storm() {
    survives(storm().program("first_tick_migration"));
}
