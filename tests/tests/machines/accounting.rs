//! What a workload takes, it gives back: frames, threads, processes and file descriptions, to the last one.

use std::time::Duration;
use tests::{Require, pass, sequence};
use tine::machine;

/// [`pass`] requires that the accounts before and after agree; here they must also have been kept at all.
#[test]
fn ten_thousand_forks_and_exits_leave_nothing_behind() {
    let machine = machine().program("fork_exit_storm").args(["--count", "10000"]);
    let outcome = pass(&machine.timeout(Duration::from_secs(300)));
    let Some(accounting) = outcome.record.accounting() else {
        return outcome.require(false, "there is no accounting");
    };
    outcome.require(accounting.before.frames > 0, "no frame was in use before");
    let threads = outcome.record.scheduler().map_or(0, |scheduler| {
        scheduler.cpus.iter().map(|cpu| cpu.first_run_latency_ns.count()).sum::<u64>()
    });
    outcome.require(threads > 10_000, format!("only {threads} threads ran"));
}

#[test]
fn threads_programs_and_pipes_leave_nothing_behind() {
    let commands = ["threads_and_futexes", "spawn_programs", "shared_file_descriptions", "message_storm"];
    pass(&sequence(machine(), commands));
}

#[test]
fn children_that_are_killed_while_they_run_leave_nothing_behind() {
    pass(&machine().program("kill_running").args(["--rounds", "20"]));
}

/// The limit for kernel and tables on the default machine.
#[test]
fn the_kernel_and_its_tables_take_at_most_8_mib() {
    let outcome = pass(&machine().program("hello"));
    let bytes = outcome.record.boot().map_or(u64::MAX, |boot| boot.kernel_bytes);
    outcome.require(bytes <= 8 << 20, format!("they take {bytes} bytes"));
}
