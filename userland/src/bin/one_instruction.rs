//! Threads that execute one instruction for ever (`jmp` to itself) get their share, and no more: everybody else goes on.

use anyhow::ensure;
use nix::sys::signal::Signal;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use userland::children::Child;
use userland::shared::Shared;
use userland::work::Chain;
use userland::{cpus, program, wait};

const USAGE: &str = "one_instruction [--per-cpu N]
  --per-cpu N  processes per CPU that jump to themselves (2)";
const BATCH: u64 = 100_000;
const BATCHES: u64 = 100;

fn main() -> ExitCode {
    program::run(USAGE, |mut options| {
        let per_cpu: usize = options.value("--per-cpu", 2)?;
        options.finish()?;
        let cpus = &cpus::allowed()?;
        let jumping = (0..per_cpu * cpus.len()).map(|_| jumper()).collect::<anyhow::Result<Vec<_>>>()?;
        let progress = &Shared::<AtomicU64>::zeroed(cpus.len())?;
        let working = (0..cpus.len())
            .map(|index| Child::start(move || work(cpus[index], index as u64, &progress[index])))
            .collect::<anyhow::Result<Vec<_>>>();
        let working = working?;
        wait::until("all work is done beside the jumping processes", || {
            progress.iter().all(|done| done.load(Relaxed) == BATCHES)
        })?;
        working.into_iter().try_for_each(|child| child.expect_exit(0))?;
        for child in &jumping {
            ensure!(!child.has_ended()?, "a process that jumps to itself has ended");
            child.signal(Signal::SIGKILL)?;
        }
        jumping.into_iter().try_for_each(|child| child.expect_killed(Signal::SIGKILL))?;
        println!("SUCCESS: one instruction starves nobody");
        Ok(())
    })
}

fn jumper() -> anyhow::Result<Child> {
    Child::start(|| {
        // SAFETY: it jumps to itself, and changes nothing.
        unsafe { std::arch::asm!("2: jmp 2b", options(noreturn)) }
    })
}

fn work(cpu: usize, seed: u64, done: &AtomicU64) -> i32 {
    if cpus::pin_to(cpu).is_err() {
        return 1;
    }
    let mut chain = Chain::new(seed);
    for _ in 0..BATCHES {
        chain.advance(BATCH);
        done.fetch_add(1, Relaxed);
    }
    if chain == Chain::new(seed).after(BATCH * BATCHES) { 0 } else { 2 }
}
