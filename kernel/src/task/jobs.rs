//! Job control: sessions, process groups, controlling terminals (man 7 credentials, man 2 setpgid, setsid).

use super::{Process, Task, table};
use crate::lock::{Lock, rank};
use crate::signal::{self, SigInfo, Signal};
use crate::tty::{Tty, serial};
use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use formats::ThreadId;

/// What a process needs for job control, and for learning of its parent's death.
pub struct Jobs {
    terminal: Lock<Terminal, { rank::PROCESS }>,
    /// It has executed a program since it was forked: its parent may no longer move it to another group.
    has_executed: AtomicBool,
    /// It was left behind by its parent and given to the first process, which is nobody's shell then.
    is_adopted: AtomicBool,
    /// The signal that it wants when the thread that forked it ends (man 2 PR_SET_PDEATHSIG); 0 for none.
    death_signal: AtomicU8,
    forked_by: AtomicU32,
}

/// The controlling terminal of a process's session. The console is not counted: all forks and exits would meet at its
/// counter.
#[derive(Clone)]
enum Terminal {
    None,
    Console,
    Pseudo(Arc<Tty>),
}

impl Terminal {
    fn of(tty: Option<Arc<Tty>>) -> Self {
        match tty {
            None => Self::None,
            Some(tty) if serial::is_console(&tty) => Self::Console,
            Some(tty) => Self::Pseudo(tty),
        }
    }

    fn tty(&self) -> Option<Arc<Tty>> {
        match self {
            Self::None => None,
            Self::Console => Some(serial::tty()),
            Self::Pseudo(tty) => Some(tty.clone()),
        }
    }
}

/// Whether any process ever wanted to know of its parent's death: only then is it worth looking for such children.
static IS_DEATH_OF_INTEREST: AtomicBool = AtomicBool::new(false);

impl Jobs {
    /// For the first process, which has no terminal yet.
    pub fn new() -> Self {
        Self::of(Terminal::None, ThreadId(0))
    }

    fn of(terminal: Terminal, forked_by: ThreadId) -> Self {
        Self {
            terminal: Lock::new(terminal),
            has_executed: AtomicBool::new(false),
            is_adopted: AtomicBool::new(false),
            death_signal: AtomicU8::new(0),
            forked_by: AtomicU32::new(forked_by.0),
        }
    }

    /// For a child of `parent`.
    pub fn for_child(parent: &Task) -> Self {
        Self::of(parent.process.jobs.terminal.lock().clone(), parent.id)
    }

    pub fn has_executed(&self) -> bool {
        self.has_executed.load(Relaxed)
    }

    pub fn note_exec(&self) {
        self.has_executed.store(true, Relaxed);
    }

    pub(super) fn note_adoption(&self) {
        self.is_adopted.store(true, Relaxed);
    }

    pub fn death_signal(&self) -> u8 {
        self.death_signal.load(SeqCst)
    }

    /// 0 for none.
    pub fn set_death_signal(&self, signal: u8) {
        IS_DEATH_OF_INTEREST.store(true, SeqCst);
        self.death_signal.store(signal, SeqCst);
    }
}

impl Process {
    /// The controlling terminal.
    pub fn terminal(&self) -> Option<Arc<Tty>> {
        self.jobs.terminal.lock().tty()
    }

    pub fn set_terminal(&self, terminal: Option<Arc<Tty>>) {
        let old = core::mem::replace(&mut *self.jobs.terminal.lock(), Terminal::of(terminal));
        drop(old);
    }

    /// Whether the process leads its session.
    pub fn leads_session(&self) -> bool {
        self.session.load(Relaxed) == self.id
    }
}

/// All processes of a group, those that have ended and were not waited for included.
pub fn members(group: u32) -> Vec<Arc<Process>> {
    let mut processes = table::all();
    processes.retain(|process| process.group.load(Relaxed) == group);
    processes
}

/// Sends a signal of the kernel's own to all processes of a group.
pub fn signal_group(group: u32, signal: Signal) {
    for process in members(group) {
        // A standard signal can always be made pending.
        let _ = signal::send_to_process(&process, SigInfo::from_kernel(signal));
    }
}

/// Whether the group of `process` is orphaned: no member has a parent in another group of the same session, who could
/// continue it. `leaving` does not count as a member.
pub fn is_orphaned(process: &Process, leaving: Option<&Process>) -> bool {
    let (group, session) = (process.group.load(Relaxed), process.session.load(Relaxed));
    !members(group).iter().any(|member| {
        if member.has_ended() || leaving.is_some_and(|leaving| core::ptr::eq(leaving, &raw const **member)) {
            return false;
        }
        let Some(parent) = member.parent().upgrade() else { return false };
        !member.jobs.is_adopted.load(Relaxed)
            && parent.group.load(Relaxed) != group
            && parent.session.load(Relaxed) == session
    })
}

/// A group in which something is stopped and which `leaving`'s end may leave orphaned: nobody else will continue it, so it
/// is told to hang up (POSIX.1-2017, 3, "exit", consequences of process termination).
fn wake_if_orphaned(process: &Process, leaving: &Process) {
    let group = process.group.load(Relaxed);
    let has_stopped = members(group).iter().any(|member| member.signals.is_stopped());
    if has_stopped && is_orphaned(process, Some(leaving)) {
        signal_group(group, Signal::HUP);
        signal_group(group, Signal::CONT);
    }
}

/// What the end of `process` does to groups: its own, if its parent was what kept that from being orphaned.
pub(super) fn leave_group(process: &Process) {
    if signal::is_any_stopped()
        && let Some(parent) = process.parent().upgrade()
        && parent.group.load(Relaxed) != process.group.load(Relaxed)
        && parent.session.load(Relaxed) == process.session.load(Relaxed)
    {
        wake_if_orphaned(process, process);
    }
}

/// What the end of `process` does to the group of its former child `orphan`.
pub(super) fn leave_orphan(process: &Process, orphan: &Process) {
    if signal::is_any_stopped()
        && orphan.group.load(Relaxed) != process.group.load(Relaxed)
        && orphan.session.load(Relaxed) == process.session.load(Relaxed)
    {
        wake_if_orphaned(orphan, process);
    }
}

/// The end of a session's leader: the terminal is free, and those in the foreground are told to hang up.
pub(super) fn leave_session(process: &Process) {
    let terminal = core::mem::replace(&mut *process.jobs.terminal.lock(), Terminal::None);
    if process.leads_session()
        && let Some(tty) = terminal.tty()
    {
        tty.leave_session(process);
    }
}

/// Tells those children of `task`'s process which `task` forked and which want to know that it ends.
pub(super) fn tell_of_death(task: &Task) {
    if !IS_DEATH_OF_INTEREST.load(SeqCst) {
        return;
    }
    let children = task.process.children.lock().clone();
    for child in children.iter().filter(|child| child.jobs.forked_by.load(Relaxed) == task.id.0) {
        if let Ok(signal) = Signal::new(child.jobs.death_signal().into()) {
            // As above.
            let _ = signal::send_to_process(child, SigInfo::from_process(signal, task.process.id));
        }
    }
}
