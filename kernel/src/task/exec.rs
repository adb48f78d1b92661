//! Replacing the image of a process (man 2 execve).

use super::{Current, attention, image};
use crate::errno::Errno;
use crate::{futex, trace};
use alloc::vec::Vec;
use arch::user::UserContext;
use core::sync::atomic::Ordering::Relaxed;

/// Runs `program` instead. Returns only on error, or when the caller's next user instruction is the program's first.
pub fn exec(
    current: &Current,
    program: &str,
    arguments: Vec<Vec<u8>>,
    environment: Vec<Vec<u8>>,
) -> Result<(), Errno> {
    if mm::frames::is_low() {
        return Err(Errno::ENOMEM);
    }
    let process = &current.task.process;
    let context = process.fs.lock().clone();
    let image = image::load(program, &context, &arguments, &environment)?;

    let mut registers = UserContext::new(image.entry, image.stack).ok_or(Errno::ENOMEM)?;

    end_other_threads(current)?;
    futex::exit_robust_list(current);

    let old = process.space.lock().replace(image.space.clone());
    drop((old, current.change_space(Some(image.space))));
    process.release_parent();
    {
        let mut identity = process.identity.lock();
        identity.name = image.name;
        identity.executable = image.executable;
        identity.command_line = image.command_line;
    }
    trace::named(&current.task);
    unshare_files(current);
    process.jobs.note_exec();
    process.signals.reset_for_exec();
    current.task.signals.reset_for_exec();
    current.task.clear_child_tid.store(0, Relaxed);
    {
        let _off = arch::interrupts::off();
        registers.load();
        current.user.replace(registers);
    }
    current.begin_steps();
    // Never is there less of it in the caches.
    current.schedule(sched::Leave::Exec);
    Ok(())
}

/// Waits until the caller is the only thread of its process.
fn end_other_threads(current: &Current) -> Result<(), Errno> {
    let process = &current.task.process;
    loop {
        let others: Vec<_> =
            process.threads.lock().iter().filter(|task| task.id != current.task.id).cloned().collect();
        if others.is_empty() {
            return Ok(());
        }
        for task in &others {
            task.demand_attention(attention::EXIT);
        }
        let count = others.len();
        drop(others);
        let fewer = || (process.threads.lock().len() <= count).then_some(());
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
