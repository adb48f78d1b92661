//! The end of threads and processes.

use super::{Current, Process, attention, jobs, table};
use crate::{cpus, futex, ipc, oom, signal, user};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::*;
use linux_raw_sys::general::{CLD_DUMPED, CLD_EXITED, CLD_KILLED, SIGKILL};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// With this status, 0 to 255.
    Exited(u8),
    Killed {
        signal: u8,
        core: bool,
    },
}

impl ExitStatus {
    /// `si_code` and `si_status` of a SIGCHLD (man 2 sigaction).
    pub fn to_signal_info(self) -> (i32, i32) {
        match self {
            Self::Exited(status) => (CLD_EXITED as i32, i32::from(status)),
            Self::Killed { signal, core: false } => (CLD_KILLED as i32, i32::from(signal)),
            Self::Killed { signal, core: true } => (CLD_DUMPED as i32, i32::from(signal)),
        }
    }

    /// As `wait` reports it (man 2 wait, `bits/waitstatus.h`). Tine writes no core files, so the bit that tells of one
    /// is never set, as it is not on Linux for a process that may not write one.
    pub fn to_wait_status(self) -> i32 {
        match self {
            Self::Exited(status) => i32::from(status) << 8,
            Self::Killed { signal, core } => i32::from(signal) | if core { 0x80 } else { 0 },
        }
    }
}

/// Ends the calling thread alone; the process ends with its last thread, and with that one's status.
pub fn exit_thread(current: &Current, status: u8) {
    current.task.exit_status.store(status, Relaxed);
    current.task.demand_attention(attention::EXIT);
}

/// Ends all threads of a process. The first call decides the status.
pub fn exit_group(process: &Process, status: ExitStatus) {
    process.ending.call_once(|| status);
    process.threads.lock().iter().for_each(|task| task.demand_attention(attention::EXIT));
}

/// What the last code of a thread does before it gives up its CPU for ever.
pub(super) fn finish(current: &Current) {
    let task = &current.task;
    let process = &task.process;

    cpus::release_bandwidth(&current.thread);
    futex::exit_robust_list(current);
    let clear = task.clear_child_tid.swap(0, Relaxed);
    if clear != 0 && user::write(clear, &0u32).is_ok() {
        futex::wake(current, clear, 1);
    }

    let is_last = {
        let mut threads = process.threads.lock();
        let usage = task.usage();
        process.dead_threads_ns.fetch_add(usage.cpu_time, Relaxed);
        process.dead_threads.add(&usage);
        threads.retain(|other| !Arc::ptr_eq(other, task));
        threads.is_empty()
    };
    signal::thread_ends(task);
    signal::thread_has_ended(process, is_last);
    jobs::tell_of_death(task);
    if is_last {
        end_process(current, process);
    }
    process.thread_ended.wake_all();
    drop(current.change_space(None));
    super::exec::start_heir(current);
}

/// Gives back what the process holds, then tells its parent.
fn end_process(current: &Current, process: &Arc<Process>) {
    let status = *process.ending.call_once(|| ExitStatus::Exited(current.task.exit_status.load(Relaxed)));

    process.signals.timers.end();
    if process.undoes_semaphores.load(SeqCst) {
        ipc::semaphores::process_ends(process.id);
    }
    process.release_files();
    process.release_space(current);
    process.release_parent();
    jobs::leave_session(process);
    jobs::leave_group(process);
    reparent_children(process);
    reap_if_ignored(process);
    process.status.call_once(|| status);
    notify_parent(process, status);
    if process.id == 1 {
        // The run is over, but for what this process leaves behind.
        cpus::wake_boot_cpu();
    }
}

impl Process {
    /// Closes all files, outside of the lock.
    fn release_files(&self) {
        let files = core::mem::replace(&mut *self.files.lock(), crate::fs::FileTable::empty());
        drop(files);
    }

    /// Unmaps everything, unless somebody who shares the memory still uses it.
    fn release_space(&self, current: &Current) {
        oom::while_giving_back(|| {
            let space = self.space.lock().take();
            drop((space, current.change_space(None)));
        });
    }
}

/// Hands the children to the first process, and tells it of those that have ended already.
fn reparent_children(process: &Arc<Process>) {
    let orphans = core::mem::take(&mut *process.children.lock());
    if orphans.is_empty() {
        return;
    }
    let Some(init) = table::find(1).filter(|init| !Arc::ptr_eq(init, process)) else {
        // The first process itself ends: `start` sees to what is left.
        *process.children.lock() = orphans;
        return;
    };
    for orphan in orphans {
        init.children.lock().push(orphan.clone());
        orphan.set_parent(&init);
        orphan.jobs.note_adoption();
        jobs::leave_orphan(process, &orphan);
        if let Some(status) = orphan.status.get() {
            notify_parent(&orphan, *status);
        }
    }
}

/// Takes a process away from a parent that does not want to wait for it, before it can be seen as one that has ended.
fn reap_if_ignored(process: &Arc<Process>) {
    let exit_signal = process.exit_signal.load(Relaxed);
    if let Some(parent) = process.parent().upgrade()
        && signal::parent_ignores_child(&parent, exit_signal)
    {
        super::wait::reap(&parent, process);
    }
}

/// Tells the parent that `process` has ended: SIGCHLD and a wake-up, or reaping at once if it does not care.
///
/// The parent may be ending too and hand its children on; then the new parent is told as well.
fn notify_parent(process: &Arc<Process>, status: ExitStatus) {
    loop {
        let parent = process.parent();
        let Some(parent_now) = parent.upgrade() else { return };
        let exit_signal = process.exit_signal.load(Relaxed);
        if exit_signal != 0 {
            signal::send_child_ended(&parent_now, exit_signal, process, status);
        }
        if signal::parent_ignores_child(&parent_now, exit_signal) {
            super::wait::reap(&parent_now, process);
        }
        parent_now.child_ended.wake_all();
        if process.parent().ptr_eq(&parent) {
            return;
        }
    }
}

/// Ends every process.
pub fn kill_all() {
    for process in table::all() {
        exit_group(&process, ExitStatus::Killed { signal: SIGKILL as u8, core: false });
    }
}

/// Forgets the processes that have ended and that nobody waited for, when no thread is left to wait.
pub fn forget_all() {
    for process in table::all() {
        drop(core::mem::take(&mut *process.children.lock()));
        table::remove(process.id);
    }
    ipc::forget_all();
}
