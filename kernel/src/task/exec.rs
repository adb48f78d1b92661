//! Replacing the image of a process (man 2 execve).

use super::image::{self, Request};
use super::{Current, ExitStatus, attention, exit_group};
use crate::errno::Errno;
use crate::{cpus, futex, trace};
use alloc::boxed::Box;
use arch::user::UserContext;
use core::sync::atomic::Ordering::Relaxed;
use formats::ThreadId;
use linux_raw_sys::general::SIGKILL;
use sched::Policy;

/// Runs another program instead. Returns only on error, or when the caller's next user instruction is the program's first, or
/// when the caller ends and the process goes on in a thread that bears the process's number.
pub fn exec(current: &Current, request: Request) -> Result<(), Errno> {
    if mm::frames::is_low() {
        return Err(Errno::ENOMEM);
    }
    let process = &current.task.process;
    let context = process.fs.lock().clone();
    let image = image::load(request, &context)?;

    let registers = UserContext::new(image.entry, image.stack).ok_or(Errno::ENOMEM)?;

    end_other_threads(current)?;
    futex::exit_robust_list(current);
    current.task.clear_child_tid.store(0, Relaxed);

    let old = process.space.lock().replace(image.space.clone());
    process.dead_threads.note_peak(old.as_ref().map_or(0, |space| space.peak_resident()));
    {
        let mut identity = process.identity.lock();
        identity.name = image.name;
        identity.executable = image.executable;
        identity.command_line = image.command_line;
    }
    unshare_files(current);
    process.jobs.note_exec();
    process.signals.reset_for_exec();
    current.task.signals.reset_for_exec();
    current.task.rseq.forget();
    process.membarriers.store(0, Relaxed);
    if current.task.id.0 == process.id {
        drop((old, current.change_space(Some(image.space))));
        process.release_parent();
        trace::named(&current.task);
        go_on(current, registers);
    } else {
        drop((old, image.space));
        process.release_parent();
        hand_over(current, registers);
    }
    Ok(())
}

/// Lets the caller's next user instruction be the new program's first.
fn go_on(current: &Current, mut registers: UserContext) {
    {
        let _off = arch::interrupts::off();
        registers.load();
        current.user.replace(registers);
    }
    current.begin_steps();
    // Never is there less of it in the caches.
    current.schedule(sched::Leave::Exec);
}

/// Lets the process go on in a new thread, which bears the number that its first thread had (man 2 execve, "Effect on process
/// attributes"), and ends the caller.
fn hand_over(current: &Current, registers: UserContext) {
    let task = &current.task;
    let id = ThreadId(task.process.id);
    let spawned = super::clone::heir(current, id, Box::new(registers));
    match spawned {
        Ok(heir) => {
            current.heir.replace(Some(heir));
            task.demand_attention(attention::EXIT);
        }
        // There is nothing to go back to.
        Err(_) => exit_group(&task.process, ExitStatus::Killed { signal: SIGKILL as u8, core: false }),
    }
}

/// Starts the thread in which the process goes on, if the caller, which has ended but for this, has executed a program for it.
pub(super) fn start_heir(current: &Current) {
    let Some(heir) = current.heir.take() else { return };
    // The caller has given back what it had reserved; if somebody else was faster, the heir competes as others do.
    if matches!(heir.policy(), Policy::Deadline(_)) && cpus::set_policy(&heir, heir.policy()).is_err() {
        let _ = cpus::set_policy(&heir, Policy::default());
    }
    cpus::start(&heir);
}

/// Waits until the caller is the only thread of its process.
///
/// # Errors
/// `EINTR` when the caller has to end itself: another thread was first, or the process ends.
fn end_other_threads(current: &Current) -> Result<(), Errno> {
    let process = &current.task.process;
    loop {
        let count = {
            let threads = process.threads.lock();
            if threads.len() == 1 {
                return Ok(());
            }
            // Under the lock: of two threads that do this, one sees that the other was first.
            if current.task.is_exiting() {
                return Err(Errno::EINTR);
            }
            let others = threads.iter().filter(|task| task.id != current.task.id);
            others.for_each(|task| task.demand_attention(attention::EXIT));
            threads.len()
        };
        let fewer = || (process.threads.lock().len() < count).then_some(());
        // Another signal than SIGKILL waits until the program has been replaced.
        let _registration = process.thread_ended.register(current);
        current.sleep_unless_killed(fewer).map_err(|_| Errno::EINTR)?;
    }
}

/// Gives the process a descriptor table of its own and closes what is marked close-on-exec.
fn unshare_files(current: &Current) {
    let mut files = current.task.process.files.lock();
    if alloc::sync::Arc::strong_count(&files) > 1 {
        let own = files.fork_copy();
        *files = own;
    }
    let own = files.clone();
    drop(files);
    own.close_on_exec();
}
