//! What happens when a program touches memory and there is none: a process is killed (man 5 proc, `oom_score`).
//!
//! It is the one that has the most memory, whoever asked for the last page: to kill that one gives back the most, and a small
//! program is not punished for a large one.

use crate::task::{self, Current, ExitStatus, Process};
use alloc::sync::Arc;
use core::convert::Infallible;
use formats::Duration;
use linux_raw_sys::general::SIGKILL;

/// How long to wait for a process that is being killed before the page is asked for again.
const PAUSE: Duration = Duration::from_millis(1);

/// Kills a process, if none is ending already, and waits a little. The caller's instruction is tried again, unless the caller
/// is the one.
pub fn out_of_memory(current: &Current) {
    let processes = task::all_processes();
    let gives_back = |process: &&Arc<Process>| process.ending.is_completed() && size(process) > 0;
    if !processes.iter().any(|process| gives_back(&process)) {
        let largest = processes.iter().max_by_key(|process| size(process));
        kill(largest.unwrap_or(&current.task.process));
    }
    drop(processes);
    let later = arch::time::now() + PAUSE;
    // Killed or not: whoever entered user mode again would be back at once, or end.
    let Err(_) = current.sleep_until(Some(later), || None::<Infallible>);
}

/// The frames that a process would give back, at most; 0 if it has given back all.
fn size(process: &Process) -> u64 {
    process.space().map_or(0, |space| space.resident() + space.table_frames() as u64)
}

fn kill(process: &Arc<Process>) {
    let name = process.identity.lock().name.clone();
    log::warn!("out of memory: process {} ({name}) is killed", process.id);
    task::exit_group(process, ExitStatus::Killed { signal: SIGKILL as u8, core: false });
}
