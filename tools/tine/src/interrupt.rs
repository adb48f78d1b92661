//! ^C and SIGTERM: whoever waits for a machine looks here, ends it, and returns.

use anyhow::{Context, Result};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on, signals that ask us to end do so in good order.
pub fn handle() -> Result<()> {
    ctrlc::set_handler(|| REQUESTED.store(true, Relaxed)).context("cannot handle signals")
}

/// Whether the user asked us to end.
pub fn requested() -> bool {
    REQUESTED.load(Relaxed)
}
