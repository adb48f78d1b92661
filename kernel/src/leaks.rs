//! Exact accounting: what is in use now.
//!
//! After a workload has ended, the figures must be those from before it. Caches are emptied before counting, so that a
//! frame that waits in one for its next user is not mistaken for a leak.

use crate::{fs, task};
use formats::Duration;
use formats::record::Resources;

/// How long what is being given back may take. An emulated CPU can be kept waiting by a busy host.
const PATIENCE: Duration = Duration::from_millis(300);

/// Counts what is in use, on a quiet machine.
pub fn count() -> Resources {
    fs::trim();
    mm::trim();
    Resources {
        frames: (mm::frames::total() - mm::frames::free()) as u64,
        threads: task::live_threads() as u64,
        processes: task::all_processes().len() as u64,
        file_descriptions: fs::live_descriptions() as u64,
    }
}

/// Counts what is in use until it is `expected`, for a moment at most: other CPUs may still be giving back the last of what
/// a thread held that has just ended.
pub fn settle(expected: &Resources) -> Resources {
    let until = arch::time::now() + PATIENCE;
    loop {
        let resources = count();
        if resources == *expected || arch::time::now() >= until {
            return resources;
        }
        core::hint::spin_loop();
    }
}
