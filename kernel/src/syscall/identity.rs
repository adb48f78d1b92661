//! System calls that ask who a process is.

use crate::errno::Errno;
use crate::task::Current;

pub fn getpid(current: &Current) -> Result<u64, Errno> {
    Ok(current.task.process.id.into())
}

pub fn gettid(current: &Current) -> Result<u64, Errno> {
    Ok(current.task.id.0.into())
}

pub fn getppid(current: &Current) -> Result<u64, Errno> {
    Ok(current.task.process.parent_id().into())
}
