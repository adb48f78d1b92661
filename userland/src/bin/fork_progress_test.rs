//! A child makes progress after fork: it counts to ten in shared memory while the parent waits.

use anyhow::ensure;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use userland::children::Child;
use userland::program;
use userland::shared::Shared;

const STEPS: u32 = 10;

fn main() -> ExitCode {
    program::run("fork_progress_test", |options| {
        options.finish()?;
        let counter = &Shared::<AtomicU32>::zeroed(1)?;
        Child::start(|| {
            for _ in 0..STEPS {
                counter[0].fetch_add(1, Ordering::Relaxed);
            }
            0
        })?
        .expect_exit(0)?;
        let counted = counter[0].load(Ordering::Relaxed);
        ensure!(counted == STEPS, "Counter is {counted} and not {STEPS}");
        println!("SUCCESS: Counter is {counted}");
        Ok(())
    })
}
