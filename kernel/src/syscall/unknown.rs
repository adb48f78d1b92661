//! Calls that Tine does not have.

use crate::errno::Errno;
use crate::lock::{Lock, rank};
use alloc::{collections::BTreeMap, vec::Vec};

static COUNTS: Lock<BTreeMap<u64, u64>, { rank::FILE }> = Lock::new(BTreeMap::new());

/// More different numbers than this are not told apart: a program must not fill the kernel's memory.
const MOST_NUMBERS: usize = 1024;

/// `ENOSYS`, counted.
pub fn call(number: u64) -> Result<u64, Errno> {
    let mut counts = COUNTS.lock();
    let key = if counts.len() < MOST_NUMBERS { number } else { u64::MAX };
    *counts.entry(key).or_insert(0) += 1;
    Err(Errno::ENOSYS)
}

/// Which numbers were asked for, and how often. [`u64::MAX`] stands for all beyond the first 1024.
pub fn counts() -> Vec<(u64, u64)> {
    COUNTS.lock().iter().map(|(number, count)| (*number, *count)).collect()
}
