//! 64 CPUs boot, and all of them run threads.

use tests::{Require, pass};
use tine::Machine;

#[test]
fn sixty_four_cpus_start_and_run_threads() {
    let machine =
        Machine::named("sixty-four").program("fork_spin_stress").args(["--children", "128", "--millis", "5"]);
    let outcome = pass(&machine);
    let boot = outcome.record.boot();
    outcome
        .require(boot.is_some_and(|boot| boot.cpus == 64), format!("CPUs: {:?}", boot.map(|boot| boot.cpus)));
    let dead = boot.map(|boot| boot.dead_cpus.clone()).unwrap_or_default();
    outcome.require(dead.is_empty(), format!("CPUs that did not start: {dead:?}"));
    let switching = outcome
        .record
        .scheduler()
        .map_or(0, |scheduler| scheduler.cpus.iter().filter(|cpu| cpu.switches > 0).count());
    outcome.require(switching == 64, format!("only {switching} CPUs ever switched threads"));
}
