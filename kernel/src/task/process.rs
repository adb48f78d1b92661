//! A process: what its threads share.

use super::usage::PastUsage;
use super::{ExitStatus, Jobs, Task, attention, table};
use crate::cpus;
use crate::fs::{FileTable, FsContext};
use crate::limits::Limits;
use crate::lock::{Lock, rank};
use crate::signal::ProcessSignals;
use crate::wait::WaitQueue;
use alloc::{string::String, sync::Arc, sync::Weak, vec::Vec};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};
use formats::Duration;
use mm::AddressSpace;
use spin::Once;

/// A process id, which is also the id of the process's first thread.
pub type ProcessId = u32;

pub struct Process {
    pub id: ProcessId,
    /// `None` when the process has ended.
    pub space: Lock<Option<Arc<AddressSpace>>, { rank::MEMORY }>,
    pub files: Lock<Arc<FileTable>, { rank::PROCESS }>,
    pub fs: Lock<FsContext, { rank::PROCESS }>,
    pub identity: Lock<Identity, { rank::PROCESS }>,
    pub signals: Arc<ProcessSignals>,
    /// Resource limits (man 2 getrlimit).
    pub limits: Lock<Limits, { rank::PROCESS }>,
    /// Process group and session (man 2 setpgid, setsid).
    pub group: AtomicU32,
    pub session: AtomicU32,
    pub jobs: Jobs,
    /// The signal that the parent gets when this process ends; 0 for none.
    pub exit_signal: AtomicU32,
    parent: Lock<Weak<Process>, { rank::PROCESS }>,
    parent_id: AtomicU32,
    pub children: Lock<Vec<Arc<Process>>, { rank::FAMILY }>,
    /// Woken when a child ends, stops, or goes on.
    pub child_ended: WaitQueue,
    /// Woken when this process has replaced its image or ended: what a vfork waits for.
    pub released: WaitQueue,
    pub has_released: AtomicBool,
    pub threads: Lock<Vec<Arc<Task>>, { rank::THREADS }>,
    /// Woken when a thread of the process ends.
    pub thread_ended: WaitQueue,
    /// Set once, by whatever ends the process first.
    pub ending: Once<ExitStatus>,
    /// Set when the last thread is gone: the parent may reap.
    pub status: Once<ExitStatus>,
    /// CPU time of threads that ended, and of children that were reaped.
    pub dead_threads_ns: AtomicU64,
    pub children_ns: AtomicU64,
    /// The kinds of memory barriers that it has registered for: bits of `MEMBARRIER_CMD_*`.
    pub membarriers: AtomicU32,
    /// It has done something to semaphores that is to be undone when it ends (SEM_UNDO).
    pub undoes_semaphores: AtomicBool,
    /// What else they have used.
    pub dead_threads: PastUsage,
    pub children_past: PastUsage,
}

/// What a process is called.
#[derive(Clone, Default)]
pub struct Identity {
    /// At most 15 bytes (man 5 proc, `comm`).
    pub name: String,
    pub executable: String,
    /// `argv`, each word followed by a zero byte (man 5 proc, `cmdline`).
    pub command_line: Vec<u8>,
}

/// What a new process starts with.
pub struct NewProcess {
    pub id: ProcessId,
    pub space: Arc<AddressSpace>,
    pub files: Arc<FileTable>,
    pub fs: FsContext,
    pub identity: Identity,
    pub signals: Arc<ProcessSignals>,
    pub limits: Limits,
    pub group: u32,
    pub session: u32,
    pub jobs: Jobs,
    pub exit_signal: u32,
    pub parent: Weak<Process>,
}

impl Process {
    /// Makes a process without threads and enters it into the table.
    pub fn new(new: NewProcess) -> Arc<Self> {
        let process = Arc::new(Self {
            id: new.id,
            space: Lock::new(Some(new.space)),
            files: Lock::new(new.files),
            fs: Lock::new(new.fs),
            identity: Lock::new(new.identity),
            signals: new.signals,
            limits: Lock::new(new.limits),
            group: AtomicU32::new(new.group),
            session: AtomicU32::new(new.session),
            jobs: new.jobs,
            exit_signal: AtomicU32::new(new.exit_signal),
            parent_id: AtomicU32::new(new.parent.upgrade().map_or(0, |parent| parent.id)),
            parent: Lock::new(new.parent),
            children: Lock::new(Vec::new()),
            child_ended: WaitQueue::new(),
            released: WaitQueue::new(),
            has_released: AtomicBool::new(false),
            threads: Lock::new(Vec::new()),
            thread_ended: WaitQueue::new(),
            ending: Once::new(),
            status: Once::new(),
            dead_threads_ns: AtomicU64::new(0),
            children_ns: AtomicU64::new(0),
            membarriers: AtomicU32::new(0),
            undoes_semaphores: AtomicBool::new(false),
            dead_threads: PastUsage::default(),
            children_past: PastUsage::default(),
        });
        table::insert(&process);
        process
    }

    pub fn space(&self) -> Option<Arc<AddressSpace>> {
        self.space.lock().clone()
    }

    pub fn files(&self) -> Arc<FileTable> {
        self.files.lock().clone()
    }

    /// The parent's id, 0 for the first process.
    pub fn parent_id(&self) -> ProcessId {
        self.parent_id.load(Relaxed)
    }

    pub fn parent(&self) -> Weak<Self> {
        self.parent.lock().clone()
    }

    pub(super) fn set_parent(&self, parent: &Arc<Self>) {
        *self.parent.lock() = Arc::downgrade(parent);
        self.parent_id.store(parent.id, Relaxed);
    }

    /// Whether all its threads are gone; its parent may not have reaped it yet.
    pub fn has_ended(&self) -> bool {
        self.status.is_completed()
    }

    /// Enters a thread that is about to start; if the process is ending, the thread will end at once.
    pub(super) fn add_thread(&self, task: &Arc<Task>) {
        let mut threads = self.threads.lock();
        if self.ending.is_completed() {
            task.demand_attention(attention::EXIT);
        }
        threads.push(task.clone());
        // A stop that comes from now on finds the thread in the list.
        if self.signals.is_stopped() {
            task.demand_attention(attention::SIGNAL);
        }
    }

    /// A thread of the process, to deliver signals to. `None` once all have ended.
    pub fn any_thread(&self) -> Option<Arc<Task>> {
        self.threads.lock().first().cloned()
    }

    /// The CPU time of the process so far.
    pub fn cpu_time(&self) -> Duration {
        // With the lock held, a thread is either among the living or counted with the dead.
        let threads = self.threads.lock();
        let living: u64 = threads
            .iter()
            .filter_map(|task| task.thread())
            .map(|thread| cpus::cpu_time(&thread).as_ticks())
            .sum();
        Duration::from_ticks(living + self.dead_threads_ns.load(Relaxed))
    }

    /// Lets a vforking parent go on: this process no longer borrows its memory.
    pub fn release_parent(&self) {
        if !self.has_released.swap(true, SeqCst) {
            self.released.wake_all();
        }
    }
}
