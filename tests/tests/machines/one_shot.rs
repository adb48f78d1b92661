//! In one-shot mode the timer is armed for what comes, never for what has passed, whatever kernel code does meanwhile.

use std::time::Duration;
use tests::{Require, pass};
use tine::{Outcome, machine};

/// The nominal tick of one-shot mode, and the least pause between two ticks on the same thread, in nanoseconds.
const PERIOD: u64 = 10_000_000;
const PAUSE: u64 = PERIOD / 16;

/// Runs the check of `long_system_calls` that has `word` in its name. Kernel code goes on there although a slice is over or a
/// deadline has passed.
#[track_caller]
fn holds(word: &str) -> Outcome {
    let machine = machine().smp(1).oneshot().virtual_time().seed(1).timeout(Duration::from_secs(300));
    pass(&machine.append("debug.limit=30").program("long_system_calls").args([word]))
}

#[test]
fn a_slice_that_ends_in_the_kernel_does_not_make_the_timer_fire_without_end() {
    let outcome = holds("turns");
    let scheduler = outcome.record.scheduler().expect("a run that passed has it");
    let cpu = &scheduler.cpus[0];
    // Each thread that begins to run may have one at once.
    let most = scheduler.elapsed_ns / PAUSE + cpu.switches;
    outcome.require(cpu.ticks <= most, format!("{} ticks, where {most} have a reason", cpu.ticks));
}

#[test]
fn a_sleeper_wakes_whose_deadline_passes_while_a_thread_leaves_its_cpu() {
    holds("sleeper");
}
