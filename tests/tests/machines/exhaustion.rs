//! Running out of memory ends in an error or in a killed process, never in a dead machine: all is well afterwards.

use std::time::Duration;
use tests::{Require, pass, sequence, steps};
use tine::{Machine, machine};

fn small_machine() -> Machine {
    machine().memory_mib(144).timeout(Duration::from_secs(300))
}

/// Runs `command` on a machine that is too small for it, then a program that needs little.
fn survives(command: &str) {
    let outcome = pass(&sequence(small_machine(), [command, "fork_progress_test"]));
    let steps = steps(&outcome);
    let said = steps.first().map_or("", |step| step.stdout.as_str());
    outcome.require(steps.len() == 2, format!("{} of 2 commands ended", steps.len()));
    outcome.require(!said.contains("got all that it wanted"), "there was enough memory for everything");
}

#[test]
fn a_memory_hog_is_refused_or_killed() {
    survives("memory_hog --limit 1024");
}

#[test]
fn the_largest_process_is_killed_whoever_asks_for_the_last_page() {
    pass(&machine().memory_mib(192).timeout(Duration::from_secs(300)).program("oom_choice"));
}

#[test]
fn a_fork_bomb_is_refused_or_killed() {
    survives("fork_bomb --limit 100000 --pages 64");
}
