//! Huge pages for what is simulated.
//!
//! The records of thousands of CPUs and a hundred thousand threads are read in no order. With pages of 4 KiB nearly each
//! of these reads misses the TLB as well as the caches.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Where glibc reads how its allocator is to behave (glibc manual, "Tunables"); read once, when a process starts.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// The allocator asks for transparent huge pages.
const HUGE: &str = "glibc.malloc.hugetlb=1";

/// Starts this command again with an allocator that asks for huge pages, unless the user has said how it is to behave.
/// Where that does not work, goes on with small ones.
pub fn use_huge() {
    if env::var_os(TUNABLES).is_some() {
        return;
    }
    let mut words = env::args_os();
    let (Some(name), Ok(program)) = (words.next(), env::current_exe()) else { return };
    // It returns only if it fails.
    let _small = Command::new(program).arg0(name).args(words).env(TUNABLES, HUGE).exec();
}
