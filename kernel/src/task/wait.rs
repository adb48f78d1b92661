//! Waiting for children (man 2 wait4, waitid).

use super::{Current, ExitStatus, Process, ProcessId, Usage, table};
use crate::errno::Errno;
use crate::wait::Woken;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;

/// Which children a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    Any,
    Process(ProcessId),
    Group(u32),
}

bitflags::bitflags! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct WaitOptions: u32 {
        /// Return at once when no child has ended.
        const NO_HANG = 1;
        /// Leave the child to be waited for again.
        const NO_WAIT = 1 << 1;
    }
}

/// A child that has ended, as the wait calls report it.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub id: ProcessId,
    pub status: ExitStatus,
    pub usage: Usage,
}

/// Waits for a child to end and reaps it. `None` only with [`WaitOptions::NO_HANG`].
///
/// # Errors
/// `ECHILD` when no child fits; `RESTART` when a signal came first.
pub fn wait_for_child(
    current: &Current,
    which: WaitFor,
    options: WaitOptions,
) -> Result<Option<Ended>, Errno> {
    let process = &current.task.process;
    if options.contains(WaitOptions::NO_HANG) {
        return look(process, which, options).unwrap_or(Ok(None));
    }
    match process.child_ended.wait(current, None, || look(process, which, options)) {
        Ok(found) => found,
        Err(Woken::BySignal | Woken::ByDeadline) => Err(Errno::RESTART),
    }
}

/// One look at the children. `None`: there are some that fit, but none has ended.
fn look(process: &Process, which: WaitFor, options: WaitOptions) -> Option<Result<Option<Ended>, Errno>> {
    let mut children = process.children.lock();
    let mut candidates = children
        .iter()
        .enumerate()
        .filter(|(_, child)| match which {
            WaitFor::Any => true,
            WaitFor::Process(id) => child.id == id,
            WaitFor::Group(group) => child.group.load(Relaxed) == group,
        })
        .peekable();
    if candidates.peek().is_none() {
        return Some(Err(Errno::ECHILD));
    }
    let (at, status) = candidates.find_map(|(at, child)| Some((at, *child.status.get()?)))?;
    let child =
        if options.contains(WaitOptions::NO_WAIT) { children[at].clone() } else { children.swap_remove(at) };
    drop(children);
    let ended = Ended { id: child.id, status, usage: child.usage() };
    if !options.contains(WaitOptions::NO_WAIT) {
        bury(process, &child);
    }
    Some(Ok(Some(ended)))
}

/// Takes a child that has ended away from a parent that will not wait for it.
pub(super) fn reap(parent: &Process, child: &Arc<Process>) {
    let found = {
        let mut children = parent.children.lock();
        let at = children.iter().position(|other| Arc::ptr_eq(other, child));
        at.map(|at| children.swap_remove(at))
    };
    if let Some(child) = found {
        bury(parent, &child);
    }
}

/// Forgets a child that is no longer in its parent's list.
fn bury(parent: &Process, child: &Process) {
    table::remove(child.id);
    let spent = child.cpu_time().as_ticks() + child.children_ns.load(Relaxed);
    parent.children_ns.fetch_add(spent, Relaxed);
    parent.children_past.add(&child.usage());
    parent.children_past.add(&child.children_usage());
}
