//! Making pipes and event counters (man 2 pipe, eventfd).

use crate::errno::Errno;
use crate::fs::{self, Description, EventCounter};
use crate::task::Current;
use crate::user;
use alloc::sync::Arc;
use linux_raw_sys::general::{
    EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE, O_CLOEXEC, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY,
};

pub fn pipe(current: &Current, ends: u64) -> Result<u64, Errno> {
    pipe2(current, ends, 0)
}

pub fn pipe2(current: &Current, ends: u64, flags: u32) -> Result<u64, Errno> {
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let status = flags & O_NONBLOCK;
    let [reader, writer] = fs::pipe()?;
    let pair = [Description::new(reader, O_RDONLY | status)?, Description::new(writer, O_WRONLY | status)?];
    hand_out(current, pair, flags & O_CLOEXEC != 0, ends)
}

/// Gives two descriptions numbers and writes those to `to`.
pub(super) fn hand_out(
    current: &Current,
    pair: [Arc<Description>; 2],
    close_on_exec: bool,
    to: u64,
) -> Result<u64, Errno> {
    let files = current.task.process.files();
    let numbers = files.insert_pair(pair, close_on_exec)?;
    user::write(to, &numbers).inspect_err(|_| {
        for number in numbers {
            // Another thread may have closed it already.
            let _ = files.close(number);
        }
    })?;
    Ok(0)
}

pub fn eventfd(current: &Current, count: u32) -> Result<u64, Errno> {
    eventfd2(current, count, 0)
}

pub fn eventfd2(current: &Current, count: u32, flags: u32) -> Result<u64, Errno> {
    if flags & !(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE) != 0 {
        return Err(Errno::EINVAL);
    }
    let counter = Arc::new(EventCounter::new(count, flags & EFD_SEMAPHORE != 0));
    // The two flags are those of `open`.
    let description = Description::new(counter, O_RDWR | flags & EFD_NONBLOCK)?;
    Ok(current.task.process.files().insert(description, 0, flags & EFD_CLOEXEC != 0)? as u64)
}
