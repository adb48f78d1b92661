//! Waiting for something that other processes or threads bring about, with a limit.

use anyhow::bail;
use std::time::{Duration, Instant};

/// Far longer than anything here takes, and shorter than a test machine's time limit.
const LIMIT: Duration = Duration::from_secs(20);

/// Gives way to others until `condition` holds; `what` says in words what it is that did not happen.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) -> anyhow::Result<()> {
    let started = Instant::now();
    while !condition() {
        if started.elapsed() > LIMIT {
            bail!("waited {LIMIT:?} for this in vain: {what}");
        }
        std::thread::yield_now();
    }
    Ok(())
}
