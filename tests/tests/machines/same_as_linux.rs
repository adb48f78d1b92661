//! Every program ends on Tine as it ends on Linux, and prints the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tests::{Require, Step, run, sequence, steps};
use tine::{Machine, machine};

/// What is compared. Programs print nothing that differs from run to run, unless they are told to be verbose.
const COMMANDS: [&str; 47] = [
    "hello",
    "hello Tine",
    "true_program",
    "fork_progress_test",
    "fork_spin_stress --millis 5 --rounds 2",
    "memory_isolation",
    "shared_file_descriptions",
    "file_calls",
    "file_paths",
    "wait_semantics",
    "job_control",
    "terminals",
    "tlb_shootdown",
    "fpu_migration",
    "affinity_test",
    "policies_test",
    "fork_exit_storm --count 500",
    "memory_hog --limit 32",
    "fork_bomb --limit 100",
    "spawn_programs",
    "threads_and_futexes",
    "signals_test",
    "fault_signals",
    "clock_test",
    "timers_test",
    "pi_futexes",
    "rseq_test",
    "sysv_ipc",
    "memory_calls",
    "poll_pipes",
    "file_system",
    "file_permissions",
    "proc_files",
    "unix_sockets",
    "file_transfer",
    "event_polls",
    "event_files",
    "message_storm",
    "message_storm --threads",
    "one_instruction",
    "kill_running",
    "hot_swap --threads 40",
    "cpu_hotplug",
    "exec_test",
    "start_test",
    "long_system_calls",
    "scheduler_figures",
];

/// What `exec_test` executes.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../userland/scripts");

/// Programs whose output is figures, which run other programs, or which Linux had better not run.
const NOT_COMPARED: [&str; 6] =
    ["damaged_programs", "first_tick_migration", "micro_bench", "oom_choice", "sequence", "set_time"];

fn programs() -> BTreeMap<String, PathBuf> {
    machine().prepare().unwrap_or_else(|error| panic!("{error:#}")).guest.programs
}

/// The program's status on the host, and what it prints.
fn on_linux(programs: &BTreeMap<String, PathBuf>, command: &str) -> (Option<i32>, String) {
    let mut words = command.split_whitespace();
    let path = words
        .next()
        .and_then(|name| programs.get(name))
        .unwrap_or_else(|| panic!("no program for {command}"));
    let output = Command::new(path).args(words).output().unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(
        output.status.success(),
        "on Linux, {command} fails: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn same_on(machine: Machine) {
    let programs = programs();
    let machine = machine.with(SCRIPTS).timeout(Duration::from_secs(300));
    let outcome = run(&sequence(machine, COMMANDS));
    let steps = steps(&outcome);
    let differences: Vec<String> =
        COMMANDS.iter().filter_map(|command| difference(&programs, command, &steps)).collect();
    outcome.require(differences.is_empty(), differences.join("\n"));
    outcome.check().unwrap_or_else(|failure| panic!("{failure}"));
}

/// How Tine's result for `command` differs from Linux's.
fn difference(programs: &BTreeMap<String, PathBuf>, command: &str, steps: &[Step]) -> Option<String> {
    let Some(step) = steps.iter().find(|step| step.command == command) else {
        return Some(format!("{command}: did not end"));
    };
    let (status, stdout) = on_linux(programs, command);
    let expected: BTreeSet<&str> = stdout.lines().collect();
    let unexpected: Vec<&str> = step.stdout.lines().filter(|line| !expected.contains(line)).collect();
    if step.status != status {
        let Step { status: ended, signal, .. } = step;
        return Some(format!(
            "{command}: status {ended:?}, signal {signal:?}, not {status:?}; said {unexpected:?}"
        ));
    }
    (step.stdout != stdout).then(|| format!("{command}: other output, in particular {unexpected:?}"))
}

#[test]
fn on_four_cpus() {
    same_on(machine());
}

#[test]
fn on_one_cpu() {
    // Round robin does not preempt for a thread that wakes, so on one CPU each message past a spinning thread costs a tick.
    same_on(machine().smp(1).hz(1000));
}

#[test]
fn in_one_shot_mode() {
    same_on(machine().oneshot());
}

#[test]
fn with_the_kernels_assertions() {
    same_on(machine().checked());
}

#[test]
fn no_program_is_forgotten() {
    let compared = COMMANDS.iter().filter_map(|command| command.split_whitespace().next());
    let listed: BTreeSet<&str> = compared.chain(NOT_COMPARED).collect();
    let programs = programs();
    let existing: BTreeSet<&str> = programs.keys().map(String::as_str).collect();
    assert_eq!(listed, existing);
}
