//! Waiting for children (man 2 wait4, waitid).

use super::{Current, ExitStatus, Process, ProcessId, Usage, table};
use crate::errno::Errno;
use crate::signal::{self, Change};
use crate::wait::Woken;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::{CLD_CONTINUED, CLD_STOPPED, SIGCHLD, SIGCONT};

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
        /// Return at once when there is nothing to report.
        const NO_HANG = 1;
        /// Leave the child to be waited for again.
        const NO_WAIT = 1 << 1;
        /// Children that have ended.
        const ENDED = 1 << 2;
        /// Children that a signal has stopped.
        const STOPPED = 1 << 3;
        /// Children that SIGCONT has let go on.
        const CONTINUED = 1 << 4;
        /// Only children that end with another signal than SIGCHLD, or none (__WCLONE); else only the others.
        const CLONES = 1 << 5;
        /// Both kinds (__WALL).
        const ALL_KINDS = 1 << 6;
    }
}

/// What happened to a child.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    Ended(ExitStatus),
    Changed(Change),
}

impl Outcome {
    /// As `wait4` stores it (man 2 wait4, `bits/waitstatus.h`).
    pub fn to_wait_status(self) -> i32 {
        match self {
            Self::Ended(status) => status.to_wait_status(),
            Self::Changed(Change::Stopped(signal)) => i32::from(signal.number()) << 8 | 0x7f,
            Self::Changed(Change::Continued) => 0xffff,
        }
    }

    /// `si_code` and `si_status`, as `waitid` stores them.
    pub fn to_signal_info(self) -> (i32, i32) {
        match self {
            Self::Ended(status) => status.to_signal_info(),
            Self::Changed(Change::Stopped(signal)) => (CLD_STOPPED as i32, signal.number().into()),
            Self::Changed(Change::Continued) => (CLD_CONTINUED as i32, SIGCONT as i32),
        }
    }
}

/// A child with something to report, as the wait calls tell it.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub id: ProcessId,
    pub outcome: Outcome,
    pub usage: Usage,
}

/// Waits for something to happen to a child, and reaps it if it has ended. `None` only with [`WaitOptions::NO_HANG`].
///
/// # Errors
/// `ECHILD` when no child fits; `RESTART` when a signal came first.
pub fn wait_for_child(
    current: &Current,
    which: WaitFor,
    options: WaitOptions,
) -> Result<Option<Report>, Errno> {
    let process = &current.task.process;
    if options.contains(WaitOptions::NO_HANG) {
        return look(process, which, options).unwrap_or(Ok(None));
    }
    match process.child_ended.wait(current, None, || look(process, which, options)) {
        Ok(found) => found,
        Err(Woken::BySignal | Woken::ByDeadline) => Err(Errno::RESTART),
    }
}

impl WaitFor {
    fn fits(self, child: &Process, options: WaitOptions) -> bool {
        let is_kind = options.contains(WaitOptions::ALL_KINDS)
            || (child.exit_signal.load(Relaxed) != SIGCHLD) == options.contains(WaitOptions::CLONES);
        is_kind
            && match self {
                Self::Any => true,
                Self::Process(id) => child.id == id,
                Self::Group(group) => child.group.load(Relaxed) == group,
            }
    }
}

/// What there is to report of `child`.
fn outcome(child: &Process, options: WaitOptions) -> Option<Outcome> {
    if let Some(status) = child.status.get() {
        return options.contains(WaitOptions::ENDED).then_some(Outcome::Ended(*status));
    }
    let (stops, continues) =
        (options.contains(WaitOptions::STOPPED), options.contains(WaitOptions::CONTINUED));
    if !stops && !continues {
        return None;
    }
    let take = !options.contains(WaitOptions::NO_WAIT);
    signal::report(child, stops, continues, take).map(Outcome::Changed)
}

/// One look at the children. `None`: there are some that fit, but there is nothing to report.
fn look(process: &Process, which: WaitFor, options: WaitOptions) -> Option<Result<Option<Report>, Errno>> {
    let mut children = process.children.lock();
    let mut candidates =
        children.iter().enumerate().filter(|(_, child)| which.fits(child, options)).peekable();
    if candidates.peek().is_none() {
        return Some(Err(Errno::ECHILD));
    }
    let (at, outcome) = candidates.find_map(|(at, child)| Some((at, outcome(child, options)?)))?;
    let reaps = matches!(outcome, Outcome::Ended(_)) && !options.contains(WaitOptions::NO_WAIT);
    let child = if reaps { children.swap_remove(at) } else { children[at].clone() };
    drop(children);
    let report = Report { id: child.id, outcome, usage: child.usage() };
    if reaps {
        bury(process, &child);
    }
    Some(Ok(Some(report)))
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
