//! Calls that Tine does not have.

use crate::errno::Errno;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Numbers from here on are counted together: Linux has none.
const NUMBERS: usize = 512;

static COUNTS: [AtomicU64; NUMBERS + 1] = [const { AtomicU64::new(0) }; NUMBERS + 1];

/// `ENOSYS`, counted.
pub fn call(number: u64) -> Result<u64, Errno> {
    COUNTS[usize::try_from(number).unwrap_or(NUMBERS).min(NUMBERS)].fetch_add(1, Relaxed);
    Err(Errno::ENOSYS)
}

/// Which numbers were asked for, and how often. The last stands for itself and all above.
pub fn counts() -> Vec<(u64, u64)> {
    let counts = (0..).zip(&COUNTS).map(|(number, count)| (number, count.load(Relaxed)));
    counts.filter(|(_, count)| *count != 0).collect()
}
