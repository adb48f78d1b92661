//! In one-shot mode the timer is armed for what comes, never for what has passed, whatever kernel code does meanwhile.

use std::time::Duration;
use tests::{Require, pass};
use tine::machine;

/// The nominal tick of one-shot mode, and the least pause between two ticks on the same thread, in nanoseconds.
const PERIOD: u64 = 10_000_000;
const PAUSE: u64 = PERIOD / 16;

/// Its processes end while a deadline passes, and read for longer than their slices while another waits.
#[test]
fn a_slice_that_ends_in_the_kernel_does_not_make_the_timer_fire_without_end() {
    let machine = machine().smp(1).oneshot().virtual_time().seed(1).timeout(Duration::from_secs(300));
    let outcome = pass(&machine.append("debug.limit=30").program("long_system_calls"));
    let scheduler = outcome.record.scheduler().expect("a run that passed has it");
    let cpu = &scheduler.cpus[0];
    // Each thread that begins to run may have one at once.
    let most = scheduler.elapsed_ns / PAUSE + cpu.switches;
    outcome.require(cpu.ticks <= most, format!("{} ticks, where {most} have a reason", cpu.ticks));
}
