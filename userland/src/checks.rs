//! Runs the checks of a test program, each in a process of its own.
//!
//! A check that crashes, or that leaves signal handlers and children behind, so does not disturb the next. It also makes
//! the checks independent of whether the program runs as process 1, which a kernel treats specially.

use crate::children::Child;
use crate::program;
use anyhow::ensure;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::WaitStatus;
use std::process::ExitCode;

/// What a check found: nothing to complain about, or the first thing that did not hold.
pub type Outcome = anyhow::Result<()>;

/// A promise in words and the function that tries to refute it.
pub type Check = (&'static str, fn() -> Outcome);

const HELD: i32 = 0;
const BROKEN: i32 = 1;

/// The `main` of a test program: runs the checks whose names contain the first argument (all without one) and prints a
/// line for each.
pub fn run(program: &str, checks: &[Check]) -> ExitCode {
    program::run(&format!("{program} [PART OF A CHECK'S NAME]"), |mut options| {
        let wanted = options.word()?.unwrap_or_default();
        options.finish()?;
        let selected: Vec<_> = checks.iter().filter(|(name, _)| name.contains(&wanted)).collect();
        ensure!(!selected.is_empty(), "no check has {wanted:?} in its name");
        let mut broken = 0;
        for (name, check) in &selected {
            match run_one(name, *check)? {
                WaitStatus::Exited(_, HELD) => println!("ok: {name}"),
                how => {
                    broken += 1;
                    println!("BROKEN: {name} ({how:?})");
                }
            }
        }
        ensure!(broken == 0, "{broken} of {} checks of {program} are broken", selected.len());
        println!("SUCCESS: all {} checks of {program} hold", selected.len());
        Ok(())
    })
}

fn run_one(name: &str, check: fn() -> Outcome) -> anyhow::Result<WaitStatus> {
    let check = || forget_ignored_signals().and_then(|()| check());
    let child = Child::start(|| match check() {
        Ok(()) => HELD,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            BROKEN
        }
    })?;
    child.wait()
}

/// Gives signals their default actions that whoever started the program had ignored, as a shell does for what runs in the
/// background and nohup(1) always.
fn forget_ignored_signals() -> Outcome {
    use Signal::*;
    for ignored in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGCHLD] {
        // SAFETY: the default action runs no code of this process.
        unsafe { signal(ignored, SigHandler::SigDfl) }?;
    }
    Ok(())
}
