//! What a process shares with others, and ceases to share (man 2 unshare, setns). There are no namespaces.

use crate::errno::Errno;
use crate::task::Current;
use alloc::sync::Arc;
use linux_raw_sys::general::*;

/// # Errors
/// `EINVAL` for namespaces, as from a Linux that was built without them, and for what the threads of a process share, unless the
/// caller is the only one.
pub fn unshare(current: &Current, flags: u32) -> Result<u64, Errno> {
    const OF_PROCESSES: u32 = CLONE_FS | CLONE_FILES | CLONE_SYSVSEM;
    const OF_THREADS: u32 = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM;
    if flags & !(OF_PROCESSES | OF_THREADS) != 0 {
        return Err(Errno::EINVAL);
    }
    let process = &current.task.process;
    let is_alone = process.threads.lock().len() == 1;
    if flags & (OF_THREADS | CLONE_FILES | CLONE_FS) != 0 && !is_alone {
        return Err(Errno::EINVAL);
    }
    if flags & CLONE_FILES != 0 {
        let shared = process.files();
        if Arc::strong_count(&shared) > 2 {
            let own = shared.fork_copy();
            let before = core::mem::replace(&mut *process.files.lock(), own);
            drop(before);
        }
    }
    Ok(0)
}

/// # Errors
/// `EBADF` for what is no descriptor, `EINVAL` for any other: none leads to a namespace.
pub fn setns(current: &Current, descriptor: i32) -> Result<u64, Errno> {
    current.task.process.files().get(descriptor)?;
    Err(Errno::EINVAL)
}
