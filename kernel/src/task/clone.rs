//! New threads and processes (man 2 clone, fork, vfork).

use super::process::{Identity, NewProcess};
use super::table::{self, Admission};
use super::{Current, Jobs, Process, Scheduling, Task, image};
use crate::errno::Errno;
use crate::fs::{self, FileTable, FsContext};
use crate::limits::{Limit, Limits};
use crate::signal::{ProcessSignals, ThreadSignals};
use crate::{cpus, futex, tty, user};
use alloc::{boxed::Box, string::String, sync::Arc, sync::Weak};
use arch::user::{USER_END, UserContext};
use core::sync::atomic::Ordering::*;
use formats::{CpuSet, ThreadId};
use linux_raw_sys::general::*;
use sched::{Policy, Share};
use x86_64::VirtAddr;

/// What `clone` and `clone3` ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneRequest {
    /// `CLONE_*`, without the exit signal.
    pub flags: u64,
    pub exit_signal: u32,
    /// The child's stack pointer; 0 keeps the parent's.
    pub stack: u64,
    pub parent_tid: u64,
    pub child_tid: u64,
    pub tls: u64,
}

impl CloneRequest {
    fn has(&self, flag: u32) -> bool {
        self.flags & u64::from(flag) != 0
    }

    /// The combinations that Linux refuses, and what Tine does not have (namespaces).
    fn check(&self) -> Result<(), Errno> {
        const KNOWN: u32 = CLONE_VM
            | CLONE_FS
            | CLONE_FILES
            | CLONE_SIGHAND
            | CLONE_VFORK
            | CLONE_PARENT
            | CLONE_THREAD
            | CLONE_SYSVSEM
            | CLONE_SETTLS
            | CLONE_PARENT_SETTID
            | CLONE_CHILD_CLEARTID
            | CLONE_DETACHED
            | CLONE_UNTRACED
            | CLONE_CHILD_SETTID
            | CLONE_IO;
        let needs = |flag, other| !self.has(flag) || self.has(other);
        let known = self.flags & !u64::from(KNOWN) & !CLONE_CLEAR_SIGHAND == 0;
        let clears_shared = self.flags & CLONE_CLEAR_SIGHAND != 0 && self.has(CLONE_SIGHAND);
        if known
            && !clears_shared
            && needs(CLONE_SIGHAND, CLONE_VM)
            && needs(CLONE_THREAD, CLONE_SIGHAND)
            && self.exit_signal <= 64
        {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }
}

/// Makes the child that `request` describes and starts it. Returns its thread id.
///
/// # Errors
/// `EINVAL` for combinations that make no sense, `EAGAIN` when there are too many threads or the caller has a reservation,
/// `ENOMEM`, and `EFAULT` for a bad `parent_tid`.
pub fn clone(current: &Current, request: &CloneRequest) -> Result<u32, Errno> {
    request.check()?;
    let scheduling = child_scheduling(current)?;
    if mm::frames::is_low() {
        return Err(Errno::ENOMEM);
    }
    let admission = Admission::request().ok_or(Errno::EAGAIN)?;
    let id = table::next_id();
    let user = child_registers(current, request)?;

    let process = if request.has(CLONE_THREAD) {
        current.task.process.clone()
    } else {
        child_process(current, request, id)?
    };
    let signals = if request.has(CLONE_VM) && !request.has(CLONE_VFORK) {
        current.task.signals.thread_copy()
    } else {
        current.task.signals.fork_copy()
    };
    let parent = current.task.id;
    let spawned = Task::spawn(ThreadId(id), &process, admission, signals, user, scheduling, parent);
    let thread = match spawned {
        Ok(thread) => thread,
        Err(error) => {
            abandon(current, request, &process);
            return Err(error.into());
        }
    };

    if request.has(CLONE_CHILD_CLEARTID)
        && let Some(task) = Task::of(&thread)
    {
        task.clear_child_tid.store(request.child_tid, Relaxed);
    }
    if !request.has(CLONE_VM)
        && let Some(task) = Task::of(&thread)
    {
        task.rseq.inherit(&current.task.rseq);
        let registered = current.task.process.membarriers.load(Relaxed);
        process.membarriers.store(registered, Relaxed);
    }
    // As on Linux, a bad address does not undo the child.
    if request.has(CLONE_PARENT_SETTID) {
        let _ = user::write(request.parent_tid, &id);
    }
    if request.has(CLONE_CHILD_SETTID) && request.has(CLONE_VM) {
        let _ = user::write(request.child_tid, &id);
    }
    cpus::start(&thread);
    drop(thread);
    if request.has(CLONE_VFORK) {
        wait_for_release(current, &process);
    }
    Ok(id)
}

/// The child is scheduled as its parent, unless that has said otherwise (SCHED_RESET_ON_FORK of man 7 sched). It does not
/// inherit a reservation: `EAGAIN`.
fn child_scheduling(current: &Current) -> Result<Scheduling, Errno> {
    let (policy, nice) = (futex::own_policy(&current.task, &current.thread), current.task.nice.load(Relaxed));
    let resets = current.task.resets_policy_on_fork.load(Relaxed);
    let (policy, nice) = match policy {
        Policy::Deadline(_) if !resets => return Err(Errno::EAGAIN),
        Policy::Deadline(_) | Policy::Fifo { .. } | Policy::RoundRobin { .. } if resets => {
            (Policy::normal(0), 0)
        }
        Policy::Normal(_) if resets => (Policy::normal(nice.max(0)), nice.max(0)),
        Policy::Batch(_) if resets => (Policy::Batch(Share::of_nice(nice.max(0))), nice.max(0)),
        policy => (policy, nice),
    };
    Ok(Scheduling { affinity: current.thread.affinity(), policy, nice })
}

/// The child's registers: the parent's, but for the result and what the request sets.
fn child_registers(current: &Current, request: &CloneRequest) -> Result<Box<UserContext>, Errno> {
    let child = {
        let _off = arch::interrupts::off();
        current.user.borrow_mut().duplicate()
    };
    let mut child = Box::new(child.ok_or(Errno::ENOMEM)?);
    child.regs.rax = 0;
    if request.stack != 0 {
        child.regs.rsp = request.stack;
    }
    if request.has(CLONE_SETTLS) {
        let base = VirtAddr::try_new(request.tls).ok().filter(|base| *base < USER_END).ok_or(Errno::EPERM)?;
        child.set_fs_base(base);
    }
    Ok(child)
}

/// A process for the child, in the tables and in its parent's list, without a thread.
fn child_process(current: &Current, request: &CloneRequest, id: u32) -> Result<Arc<Process>, Errno> {
    let this = &current.task.process;
    let space = if request.has(CLONE_VM) { current.space() } else { Arc::new(current.space().fork()?) };
    if request.has(CLONE_CHILD_SETTID) && !request.has(CLONE_VM) {
        // Written by the parent, which knows that the page is there or copied: the child sees it from its start.
        let _ = space.write(VirtAddr::new_truncate(request.child_tid), &id.to_ne_bytes());
    }
    let files = this.files();
    let files = if request.has(CLONE_FILES) { files } else { files.fork_copy() };
    let signals = if request.has(CLONE_SIGHAND) {
        this.signals.share()
    } else if request.flags & CLONE_CLEAR_SIGHAND != 0 {
        ProcessSignals::new()
    } else {
        this.signals.fork_copy()
    };
    let fs = this.fs.lock().clone();
    let limits = this.limits.lock().clone();
    let identity = this.identity.lock().clone();
    let parent = if request.has(CLONE_PARENT) {
        this.parent().upgrade().unwrap_or_else(|| this.clone())
    } else {
        this.clone()
    };
    let child = Process::new(NewProcess {
        id,
        space,
        files,
        fs,
        identity,
        signals,
        limits,
        group: this.group.load(Relaxed),
        session: this.session.load(Relaxed),
        jobs: Jobs::for_child(&current.task),
        exit_signal: request.exit_signal,
        parent: Arc::downgrade(&parent),
    });
    parent.children.lock().push(child.clone());
    if child.limits.lock().get(RLIMIT_CPU)?.soft != Limit::UNLIMITED {
        child.signals.timers.watch_cpu_limit(&child);
    }
    Ok(child)
}

/// Takes back a process whose first thread could not be made.
fn abandon(current: &Current, request: &CloneRequest, process: &Arc<Process>) {
    if !request.has(CLONE_THREAD) {
        let parent = process.parent().upgrade().unwrap_or_else(|| current.task.process.clone());
        super::wait::reap(&parent, process);
    }
}

/// Sleeps until the child no longer borrows this thread's memory. Only being killed ends that early (man 2 vfork).
fn wait_for_release(current: &Current, child: &Process) {
    let _registration = child.released.register(current);
    // Killed or released: either way this thread goes on, and it looks at the kill itself.
    let _ = current.sleep_unless_killed(|| child.has_released.load(SeqCst).then_some(()));
}

/// Makes the thread with number `id` in which the caller's process goes on after an exec: with the caller's signals and its
/// place in the scheduler, but not started.
pub(super) fn heir(
    current: &Current,
    id: ThreadId,
    user: Box<UserContext>,
) -> Result<Arc<sched::Thread>, Errno> {
    let task = &current.task;
    let admission = Admission::request().ok_or(Errno::EAGAIN)?;
    let scheduling = Scheduling {
        affinity: current.thread.affinity(),
        policy: current.thread.policy(),
        nice: task.nice.load(Relaxed),
    };
    let signals = task.signals.fork_copy();
    let heir = Task::spawn(id, &task.process, admission, signals, user, scheduling, task.id)?;
    if let Some(heir) = Task::of(&heir) {
        heir.resets_policy_on_fork.store(task.resets_policy_on_fork.load(Relaxed), Relaxed);
    }
    Ok(heir)
}

/// Makes the first process, running `program`.
pub fn first_process(
    program: &str,
    arguments: image::Strings,
    environment: image::Strings,
) -> Result<Arc<Process>, Errno> {
    let admission = Admission::request().ok_or(Errno::EAGAIN)?;
    let id = table::next_id();
    let context = FsContext::new();
    let limits = Limits::new();
    let request = image::Request {
        program: fs::lookup(program, &context)?,
        path: String::from(program),
        path_vanishes: false,
        arguments,
        environment,
        stack_limit: limits.get(RLIMIT_STACK)?.soft,
    };
    let image = image::load(request, &context)?;
    let process = Process::new(NewProcess {
        id,
        space: image.space,
        files: FileTable::standard(),
        fs: context,
        identity: Identity {
            name: image.name,
            executable: image.executable,
            command_line: image.command_line,
        },
        signals: ProcessSignals::new(),
        limits,
        group: id,
        session: id,
        jobs: Jobs::new(),
        exit_signal: 0,
        parent: Weak::new(),
    });
    tty::serial::give_to(&process);
    let user = Box::new(UserContext::new(image.entry, image.stack).ok_or(Errno::ENOMEM)?);
    let scheduling = Scheduling { affinity: CpuSet::ALL, policy: Policy::default(), nice: 0 };
    let thread =
        Task::spawn(ThreadId(id), &process, admission, ThreadSignals::new(), user, scheduling, ThreadId(0))?;
    cpus::start(&thread);
    Ok(process)
}
