//! Children that are moved by their parent right after fork, and round all processors during their first tick, all finish.

use anyhow::{Context, ensure};
use nix::sys::wait::WaitStatus;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use userland::children::Child;
use userland::shared::Shared;
use userland::work::Chain;
use userland::{cpus, program};

const USAGE: &str = "first_tick_migration [--children N] [--moves N] [--work OPERATIONS]
  --children N       children that are moved (40)
  --moves N          how often each is moved, at least (8)
  --work OPERATIONS  what each child computes (10000000)";
const BATCH: u64 = 100_000;
const DONE: i32 = 17;

fn main() -> ExitCode {
    program::run(USAGE, |mut options| {
        let count: usize = options.value("--children", 40)?;
        let moves: usize = options.value("--moves", 8)?;
        let work: u64 = options.value("--work", 10_000_000)?;
        options.finish()?;
        let cpus = cpus::allowed()?;
        let progress = &Shared::<AtomicU64>::zeroed(count)?;
        let mut children = Vec::with_capacity(count);
        for index in 0..count {
            let child = Child::start(|| compute(index, work, &progress[index]))?;
            for step in 0..moves {
                cpus::restrict(child.pid(), &[cpus[(index + step) % cpus.len()]])?;
            }
            children.push(child);
        }
        let mut step = 0;
        for index in 0..count {
            while !children[index].has_ended()? {
                for (later, child) in children.iter().enumerate().skip(index) {
                    // Until it is waited for, a child that has ended can still be named.
                    cpus::restrict(child.pid(), &[cpus[(later + step) % cpus.len()]])?;
                }
                step += 1;
                std::thread::yield_now();
            }
        }
        for (index, child) in children.into_iter().enumerate() {
            let expected = WaitStatus::Exited(child.pid(), DONE);
            let how = child.wait().with_context(|| format!("child {index}"))?;
            ensure!(how == expected, "child {index}: {how:?}");
            let done = progress[index].load(Relaxed);
            ensure!(done == work, "child {index} did {done} of {work} operations");
        }
        println!("SUCCESS: all {count} children finished, wherever they were sent");
        Ok(())
    })
}

fn compute(index: usize, work: u64, progress: &AtomicU64) -> i32 {
    let mut chain = Chain::new(index as u64);
    while progress.load(Relaxed) < work {
        let batch = BATCH.min(work - progress.load(Relaxed));
        chain.advance(batch);
        progress.fetch_add(batch, Relaxed);
    }
    if chain == Chain::new(index as u64).after(work) { DONE } else { 1 }
}
