//! Waiting for something that other processes or threads bring about, with a limit.

use anyhow::bail;
use std::time::{Duration, Instant};

/// Far longer than anything here takes, and shorter than a test machine's time limit.
const LIMIT: Duration = Duration::from_secs(20);

/// Gives way to others until `condition` holds; `what` says in words what it is that did not happen.
pub fn until(what: &str, condition: impl FnMut() -> bool) -> anyhow::Result<()> {
    repeat(what, std::thread::yield_now, condition)
}

/// As [`until`], without ever giving way.
pub fn spinning_until(what: &str, condition: impl FnMut() -> bool) -> anyhow::Result<()> {
    repeat(what, std::hint::spin_loop, condition)
}

fn repeat(what: &str, between: fn(), mut condition: impl FnMut() -> bool) -> anyhow::Result<()> {
    let started = Instant::now();
    while !condition() {
        if started.elapsed() > LIMIT {
            bail!("waited {LIMIT:?} for this in vain: {what}");
        }
        between();
    }
    Ok(())
}
