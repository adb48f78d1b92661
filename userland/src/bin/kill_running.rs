//! SIGKILL ends a child that computes, on whichever processor it does so, and whether it runs or waits for its turn.

use anyhow::Context;
use nix::sys::signal::Signal;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use userland::children::Child;
use userland::shared::Shared;
use userland::{cpus, program, wait};

const USAGE: &str = "kill_running [--rounds N]
  --rounds N  how often all is done (3)";
const CHILDREN_PER_CPU: usize = 2;

fn main() -> ExitCode {
    program::run(USAGE, |mut options| {
        let rounds: usize = options.value("--rounds", 3)?;
        options.finish()?;
        let cpus = cpus::allowed()?;
        (0..rounds).try_for_each(|_| kill_on_all(&cpus))?;
        println!("SUCCESS: every running child was killed");
        Ok(())
    })
}

fn kill_on_all(cpus: &[usize]) -> anyhow::Result<()> {
    let alive = Shared::<AtomicU64>::zeroed(cpus.len() * CHILDREN_PER_CPU)?;
    let mut children = Vec::new();
    for (index, sign) in alive.iter().enumerate() {
        let cpu = cpus[index % cpus.len()];
        children.push(Child::start(|| {
            if cpus::pin_to(cpu).is_err() {
                return 1;
            }
            loop {
                sign.fetch_add(1, Relaxed);
            }
        })?);
    }
    for (index, sign) in alive.iter().enumerate() {
        wait::until("each child runs", || sign.load(Relaxed) > 0)
            .with_context(|| format!("child {index}"))?;
    }
    for child in &children {
        child.signal(Signal::SIGKILL)?;
    }
    children.into_iter().try_for_each(|child| child.expect_killed(Signal::SIGKILL))
}
