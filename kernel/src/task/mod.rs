//! Threads and processes.
//!
//! A [`Task`] is a thread as the rest of the kernel sees it: its stack, its process, its signals. The scheduler's view of
//! the same thread is [`sched::Thread`], which owns the task. A thread's kernel side runs in [`run`]: a plain loop that
//! enters user mode and handles why it was left. It passes itself down as [`Current`], so that almost nothing needs a
//! hidden notion of "the current thread".

mod clone;
mod context;
mod exec;
mod exit;
mod image;
mod jobs;
mod process;
mod run;
mod step;
mod table;
mod usage;
mod wait;

pub use clone::{CloneRequest, clone, first_process};
pub use context::{Current, IdleTask, schedule_idle};
pub use exec::exec;
pub use exit::{ExitStatus, exit_group, exit_thread, forget_all, kill_all};
pub use image::{ArgumentSpace, Request as ExecRequest, Strings};
pub use jobs::{Jobs, is_orphaned, members as group_members, signal_group};
pub use process::{Process, ProcessId};
pub use step::set_steps;
pub use table::{
    MAX_THREADS, all as all_processes, find as find_process, find_thread, iter as processes, last_id,
    live_threads,
};
pub use usage::Usage;
pub use wait::{WaitFor, WaitOptions, wait_for_child};

use crate::futex::ThreadFutex;
use crate::lock::{Lock, rank};
use crate::rseq::Rseq;
use crate::signal::ThreadSignals;
use crate::{cpus, trace};
use alloc::{boxed::Box, sync::Arc, sync::Weak};
use arch::user::UserContext;
use core::sync::atomic::{AtomicBool, AtomicI8, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::*};
use formats::ThreadId;
use mm::stacks::KernelStack;
use spin::Once;

/// A thread.
pub struct Task {
    pub id: ThreadId,
    pub process: Arc<Process>,
    pub signals: ThreadSignals,
    /// Where to write 0 and wake a futex when the thread ends; 0 for nowhere (man 2 set_tid_address).
    pub clear_child_tid: AtomicU64,
    /// What [`run`] must see to before the thread goes back to user mode: bits of [`attention`].
    attention: AtomicU32,
    exit_status: AtomicU8,
    /// Whether it waits because its process is stopped.
    pub is_halted: AtomicBool,
    pub futex: ThreadFutex,
    minor_faults: AtomicU64,
    pub rseq: Rseq,
    /// -20 to 19 (man 2 setpriority); kept while the thread has a policy that does not look at it.
    pub nice: AtomicI8,
    /// As `ioprio_set` has it (man 2 ioprio_set); kept and told, as there is no disk.
    pub io_priority: AtomicU16,
    /// SCHED_RESET_ON_FORK (man 7 sched).
    pub resets_policy_on_fork: AtomicBool,
    /// The registers with which it starts, until it does.
    start: Lock<Option<Box<UserContext>>, { rank::PROCESS }>,
    context: context::SavedContext,
    /// Held for as long as the context may run on it.
    _stack: KernelStack,
    this: Weak<Task>,
    thread: Once<Weak<sched::Thread>>,
    /// Last, so that the thread counts as long as it has a stack.
    _admission: table::Admission,
}

/// How a new thread is scheduled.
struct Scheduling {
    affinity: formats::CpuSet,
    policy: sched::Policy,
    nice: i8,
}

/// Reasons to look before going back to user mode.
pub mod attention {
    /// A signal may be deliverable.
    pub const SIGNAL: u32 = 1;
    /// The thread must end.
    pub const EXIT: u32 = 2;
    /// Its restartable sequence must be looked at.
    pub const RSEQ: u32 = 4;
}

impl Task {
    /// Makes a thread of `process` and tells the scheduler of it; it does not run yet.
    fn spawn(
        id: ThreadId,
        process: &Arc<Process>,
        admission: table::Admission,
        signals: ThreadSignals,
        user: Box<UserContext>,
        scheduling: Scheduling,
        parent: ThreadId,
    ) -> Result<Arc<sched::Thread>, mm::OutOfMemory> {
        let stack = KernelStack::new()?;
        let task = Arc::new_cyclic(|this| Self {
            id,
            process: process.clone(),
            signals,
            clear_child_tid: AtomicU64::new(0),
            attention: AtomicU32::new(0),
            exit_status: AtomicU8::new(0),
            is_halted: AtomicBool::new(false),
            futex: ThreadFutex::new(),
            minor_faults: AtomicU64::new(0),
            rseq: Rseq::none(),
            nice: AtomicI8::new(scheduling.nice),
            io_priority: AtomicU16::new(0),
            resets_policy_on_fork: AtomicBool::new(false),
            start: Lock::new(Some(user)),
            context: context::SavedContext::new(stack.top(), run::thread_entry),
            _stack: stack,
            this: this.clone(),
            thread: Once::new(),
            _admission: admission,
        });
        let thread = cpus::spawn(task.clone(), scheduling.affinity, scheduling.policy);
        task.thread.call_once(|| Arc::downgrade(&thread));
        process.add_thread(&task);
        trace::born(&task, parent);
        Ok(thread)
    }

    /// The scheduler's side of this thread; `None` once it has ended.
    pub fn thread(&self) -> Option<Arc<sched::Thread>> {
        self.thread.get()?.upgrade()
    }

    /// A share of this; `None` when the last one is being dropped.
    pub fn handle(&self) -> Option<Arc<Self>> {
        self.this.upgrade()
    }

    /// The task that a scheduler's thread carries; `None` for idle threads.
    pub fn of(thread: &sched::Thread) -> Option<&Self> {
        thread.task()
    }

    /// Makes the thread look at `reason` before it goes back to user mode, and ends its sleep.
    pub fn demand_attention(&self, reason: u32) {
        self.attention.fetch_or(reason, SeqCst);
        if let Some(thread) = self.thread() {
            cpus::interrupt(&thread);
        }
    }

    /// As [`Self::demand_attention`], for a thread that is on its way to user mode anyway.
    pub fn mark(&self, reason: u32) {
        self.attention.fetch_or(reason, Relaxed);
    }

    /// Takes the reasons back that have been seen to.
    pub fn attention_done(&self, reason: u32) {
        self.attention.fetch_and(!reason, SeqCst);
    }

    pub fn attention(&self) -> u32 {
        self.attention.load(Relaxed)
    }

    /// Whether a sleep must end early: a signal is deliverable or the thread must end.
    pub fn is_interrupted(&self) -> bool {
        let attention = self.attention.load(SeqCst);
        attention & attention::EXIT != 0
            || attention & attention::SIGNAL != 0 && crate::signal::is_deliverable(self)
    }

    /// Whether the thread must end.
    pub fn is_exiting(&self) -> bool {
        self.attention.load(Relaxed) & attention::EXIT != 0
    }
}
