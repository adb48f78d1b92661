//! System calls that ask and say who a process is. Everybody is root.

use crate::errno::Errno;
use crate::task::Current;
use crate::user;

pub fn getpid(current: &Current) -> Result<u64, Errno> {
    Ok(current.task.process.id.into())
}

pub fn gettid(current: &Current) -> Result<u64, Errno> {
    Ok(current.task.id.0.into())
}

pub fn getppid(current: &Current) -> Result<u64, Errno> {
    Ok(current.task.process.parent_id().into())
}

/// `getuid`, `geteuid`, `getgid` and `getegid`.
pub fn root(_: &Current) -> Result<u64, Errno> {
    Ok(0)
}

/// `getresuid` and `getresgid`.
pub fn three_times_root(_: &Current, real: u64, effective: u64, saved: u64) -> Result<u64, Errno> {
    for to in [real, effective, saved] {
        user::write(to, &0_u32)?;
    }
    Ok(0)
}

/// `setuid` and the like: root may be anybody, but there is nobody else.
pub fn become_root(_: &Current, ids: [u32; 3]) -> Result<u64, Errno> {
    const UNCHANGED: u32 = u32::MAX;
    if ids.iter().all(|id| matches!(*id, 0 | UNCHANGED)) { Ok(0) } else { Err(Errno::EPERM) }
}

/// There are no supplementary groups.
pub fn getgroups(_: &Current, count: i32, _to: u64) -> Result<u64, Errno> {
    if count < 0 { Err(Errno::EINVAL) } else { Ok(0) }
}

pub fn setgroups(_: &Current, count: i32, _from: u64) -> Result<u64, Errno> {
    if count == 0 { Ok(0) } else { Err(Errno::EPERM) }
}
