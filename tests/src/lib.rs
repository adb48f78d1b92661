//! Booting machines in tests, and reading what they report.
//!
//! The tests themselves are in `tests/machines/`, one file per promise. They judge a machine by its structured results,
//! never by its console; a failure shows the end of the console and the command that boots the same machine again.
//! Machines are booted one at a time: each has the whole host, so that its speed does not depend on other tests.

use formats::record::{Failure, FailureKind};
use serde::Deserialize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tine::{Machine, Outcome};

/// While it is held, no other test of this process boots a machine.
pub fn alone() -> MutexGuard<'static, ()> {
    static HOST: Mutex<()> = Mutex::new(());
    // A test that failed with it leaves no machine behind.
    HOST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Boots `machine` and waits for it to end in good order, whatever its program's status.
#[track_caller]
pub fn run(machine: &Machine) -> Outcome {
    let _alone = alone();
    machine.run().unwrap_or_else(|failure| panic!("{failure}"))
}

/// Boots `machine` and requires that it passes: status 0, nothing noticed by the kernel, all resources returned.
#[track_caller]
pub fn pass(machine: &Machine) -> Outcome {
    let outcome = run(machine);
    outcome.check().unwrap_or_else(|failure| panic!("{failure}"));
    outcome
}

/// What a test requires of an outcome beyond that it passed. A failure names the run.
pub trait Require {
    /// Fails with `what` unless `condition` holds.
    fn require(&self, condition: bool, what: impl Into<String>);
}

impl Require for Outcome {
    #[track_caller]
    fn require(&self, condition: bool, what: impl Into<String>) {
        if !condition {
            panic!("{}", self.failure(vec![what.into()]));
        }
    }
}

/// A machine that runs these commands one after the other; see the program `sequence`.
pub fn sequence<'a>(machine: Machine, commands: impl IntoIterator<Item = &'a str>) -> Machine {
    machine.program("sequence").args(commands)
}

/// How a command of a [`sequence`] ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Step {
    program: String,
    pub command: String,
    pub status: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
}

/// The commands of a [`sequence`] that ended, in order.
pub fn steps(outcome: &Outcome) -> Vec<Step> {
    let results = outcome.record.results();
    let steps = results.filter_map(|line| serde_json::from_value::<Step>(line).ok());
    steps.filter(|step| step.program == "sequence").collect()
}

/// What the kernel of this run noticed of that kind.
pub fn noticed(outcome: &Outcome, kind: FailureKind) -> Option<&Failure> {
    outcome.record.failures().find(|failure| failure.kind == kind)
}
