//! What happens when a program touches memory and there is none: a process is killed (man 5 proc, `oom_score`).
//!
//! It is the one that has the most memory, whoever asked for the last page: to kill that one gives back the most, and a small
//! program is not punished for a large one.

//!
//! Nothing is allocated on the way to it.

use crate::task::{self, Current, ExitStatus, Process};
use alloc::sync::Arc;
use core::convert::Infallible;
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use formats::Duration;
use linux_raw_sys::general::SIGKILL;

/// How long to wait for a process that is being killed before the page is asked for again.
const PAUSE: Duration = Duration::from_millis(1);

/// How many processes are giving back their memory at this moment.
static GIVING_BACK: AtomicUsize = AtomicUsize::new(0);
/// How many have done so, and how many had when memory was short last.
static GIVEN_BACK: AtomicUsize = AtomicUsize::new(0);
static SEEN: AtomicUsize = AtomicUsize::new(0);

/// Runs what gives back the memory of a process that ends: nobody is killed for memory meanwhile.
pub fn while_giving_back(give_back: impl FnOnce()) {
    GIVING_BACK.fetch_add(1, SeqCst);
    give_back();
    GIVEN_BACK.fetch_add(1, SeqCst);
    GIVING_BACK.fetch_sub(1, SeqCst);
}

/// Kills a process, if none is ending already, and waits a little. The caller's instruction is tried again, unless the caller
/// is the one.
pub fn out_of_memory(current: &Current) {
    let will_give_back = |process: Arc<Process>| process.ending.is_completed() && size(&process) > 0;
    // In this order: a process begins to give back before it has nothing any more, and has given back before it ends that.
    let some_comes = task::processes().any(will_give_back) || GIVING_BACK.load(SeqCst) > 0;
    let given_back = GIVEN_BACK.load(SeqCst);
    let some_came = SEEN.swap(given_back, SeqCst) != given_back;
    if !some_comes && !some_came {
        let largest = task::processes().max_by_key(|process| size(process));
        kill(largest.as_ref().unwrap_or(&current.task.process));
    }
    let later = arch::time::now() + PAUSE;
    // Killed or not: whoever entered user mode again would be back at once, or end.
    let Err(_) = current.sleep_until(Some(later), || None::<Infallible>);
}

/// The frames that a process would give back, at most; 0 if it has given back all.
fn size(process: &Process) -> u64 {
    process.space().map_or(0, |space| space.resident() + space.table_frames() as u64)
}

fn kill(process: &Arc<Process>) {
    log::warn!("out of memory: process {} ({}) is killed", process.id, process.identity.lock().name);
    task::exit_group(process, ExitStatus::Killed { signal: SIGKILL as u8, core: false });
}
