//! Exact accounting: what is in use now.
//!
//! After a workload has ended, the figures must be those from before it. Caches are emptied before counting, so that a
//! frame that waits in one for its next user is not mistaken for a leak.

use crate::{fs, task};
use formats::record::Resources;

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
