//! Signals that timers send.

use super::{SigInfo, send};
use crate::task::{Process, Task};
use alloc::sync::Weak;

/// Sends `info` to `process` or, if that is wanted, to one of its threads, which may have ended: then to none. Returns whether
/// it is pending afterwards: it is not if it is ignored, could not be queued, or has been taken already.
pub fn send_timer(process: &Process, thread: Option<&Weak<Task>>, info: &SigInfo) -> bool {
    match thread.map(Weak::upgrade) {
        None => {
            send::send_to_process(process, info.clone()).is_ok()
                && process.signals.pending.has_same_timer(info)
        }
        Some(Some(task)) => {
            send::send_to_thread(&task, info.clone()).is_ok() && task.signals.pending.has_same_timer(info)
        }
        Some(None) => false,
    }
}
