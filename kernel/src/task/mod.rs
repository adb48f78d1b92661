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
mod process;
mod run;
mod table;
mod wait;

pub use clone::{CloneRequest, clone, first_process};
pub use context::{Current, schedule_idle};
pub use exec::exec;
pub use exit::{ExitStatus, exit_group, exit_thread};
pub use process::{Process, ProcessId};
pub use table::{all as all_processes, find as find_process, find_thread, live_threads};
pub use wait::{WaitFor, WaitOptions, wait_for_child};

use crate::signal::ThreadSignals;
use alloc::{boxed::Box, sync::Arc, sync::Weak};
use arch::user::UserContext;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::*};
use formats::ThreadId;
use mm::stacks::KernelStack;
use spin::{Mutex, Once};

/// Where a thread starts: its registers, and whether it is the new image's or a fork's.
pub struct Start {
    pub user: Box<UserContext>,
}

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
    start: Mutex<Option<Start>>,
    context: context::SavedContext,
    stack: KernelStack,
    thread: Once<Weak<sched::Thread>>,
}

/// Reasons to look before going back to user mode.
pub mod attention {
    /// A signal may be deliverable.
    pub const SIGNAL: u32 = 1;
    /// The thread must end.
    pub const EXIT: u32 = 2;
}

impl Task {
    /// Makes a thread of `process` and tells the scheduler of it; it does not run yet.
    fn spawn(
        id: ThreadId,
        process: Arc<Process>,
        signals: ThreadSignals,
        user: Box<UserContext>,
        affinity: formats::CpuSet,
    ) -> Result<Arc<sched::Thread>, mm::OutOfMemory> {
        let stack = mm::stacks::allocate()?;
        let context = context::SavedContext::new(stack.top(), run::thread_entry);
        let task = Arc::new(Self {
            id,
            process,
            signals,
            clear_child_tid: AtomicU64::new(0),
            attention: AtomicU32::new(0),
            exit_status: AtomicU8::new(0),
            start: Mutex::new(Some(Start { user })),
            context,
            stack,
            thread: Once::new(),
        });
        task.process.add_thread(&task);
        Ok(crate::cpus::spawn(task, sched::Kind::User, affinity))
    }

    /// The scheduler's side of this thread; `None` once it has ended.
    pub fn thread(&self) -> Option<Arc<sched::Thread>> {
        self.thread.get()?.upgrade()
    }

    /// The task that a scheduler's thread carries. Idle threads carry one too.
    pub fn of(thread: &sched::Thread) -> &Self {
        thread.task().downcast_ref().expect("every thread is spawned with a task")
    }

    /// Makes the thread look at `reason` before it goes back to user mode, and ends its sleep.
    pub fn demand_attention(&self, reason: u32) {
        self.attention.fetch_or(reason, SeqCst);
        if let Some(thread) = self.thread() {
            crate::cpus::interrupt(&thread);
        }
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

    /// Whether an address lies in the guard page below this thread's kernel stack.
    pub fn stack_top(&self) -> x86_64::VirtAddr {
        self.stack.top()
    }
}
