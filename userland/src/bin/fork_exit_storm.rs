//! Forks and waits for many children that exit at once, and checks each one's status.

use anyhow::Context;
use std::process::ExitCode;
use userland::children::Child;
use userland::program;

const USAGE: &str = "fork_exit_storm [--count N] [--batch N]
  --count N  children altogether (10000)
  --batch N  children at the same time (20)";

fn main() -> ExitCode {
    program::run(USAGE, |mut options| {
        let count: usize = options.value("--count", 10_000)?;
        let batch: usize = options.value("--batch", 20)?.max(1);
        options.finish()?;
        for first in (0..count).step_by(batch) {
            let children = (first..count.min(first + batch))
                .map(|index| Child::start(|| status_of(index)).with_context(|| format!("child {index}")))
                .collect::<anyhow::Result<Vec<_>>>()?;
            for (child, index) in children.into_iter().zip(first..) {
                child.expect_exit(status_of(index)).with_context(|| format!("child {index}"))?;
            }
        }
        println!("SUCCESS: {count} children came and went");
        Ok(())
    })
}

fn status_of(index: usize) -> i32 {
    (index % 251) as i32
}
