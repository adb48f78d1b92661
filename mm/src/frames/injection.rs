//! Allocations that fail on demand, for tests.

use super::Purpose;
use crate::OutOfMemory;
use std::cell::Cell;

std::thread_local! {
    static ALLOWED: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Lets this thread's next `allowed` allocations for programs pass, and fails the later ones, while `run` runs.
pub fn failing_after<R>(allowed: usize, run: impl FnOnce() -> R) -> R {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            ALLOWED.set(usize::MAX);
        }
    }
    let _reset = Reset;
    ALLOWED.set(allowed);
    run()
}

pub fn injected_failure(purpose: Purpose) -> Result<(), OutOfMemory> {
    let allowed = ALLOWED.get();
    if purpose == Purpose::User && allowed != usize::MAX {
        ALLOWED.set(allowed.checked_sub(1).ok_or(OutOfMemory)?);
    }
    Ok(())
}
