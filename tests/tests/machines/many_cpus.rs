//! 64 CPUs boot, and all of them run threads.

use tests::{Require, pass, sequence, steps};
use tine::Machine;

/// Many short children, and then a thread that goes to each CPU in turn: on a busy host an emulated CPU may sleep so long that
/// others have taken all children before it wakes.
const COMMANDS: [&str; 2] = ["fork_spin_stress --children 128 --millis 5", "affinity_test"];

#[test]
fn sixty_four_cpus_start_and_run_threads() {
    let outcome = pass(&sequence(Machine::named("sixty-four"), COMMANDS));
    let ended = steps(&outcome).iter().filter(|step| step.status == Some(0)).count();
    outcome.require(ended == COMMANDS.len(), format!("{ended} of {COMMANDS:?} ended well"));
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
