//! System calls that ask and say who a process is: numbers, groups and sessions.

use crate::errno::Errno;
use crate::task::{self, Current, Process};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;

pub fn getpid(current: &Current) -> Result<u64, Errno> {
    Ok(current.task.process.id.into())
}

pub fn gettid(current: &Current) -> Result<u64, Errno> {
    Ok(current.task.id.0.into())
}

pub fn getppid(current: &Current) -> Result<u64, Errno> {
    Ok(current.task.process.parent_id().into())
}

/// The process with this number; 0 stands for the caller.
fn process(current: &Current, id: i32) -> Result<Arc<Process>, Errno> {
    match u32::try_from(id).map_err(|_| Errno::ESRCH)? {
        0 => Ok(current.task.process.clone()),
        id => task::find_process(id).ok_or(Errno::ESRCH),
    }
}

pub fn getpgrp(current: &Current) -> Result<u64, Errno> {
    getpgid(current, 0)
}

pub fn getpgid(current: &Current, id: i32) -> Result<u64, Errno> {
    Ok(process(current, id)?.group.load(Relaxed).into())
}

pub fn getsid(current: &Current, id: i32) -> Result<u64, Errno> {
    Ok(process(current, id)?.session.load(Relaxed).into())
}

/// Tine does not tell a child that has executed a program from one that has not: where Linux says `EACCES`, this succeeds.
pub fn setpgid(current: &Current, id: i32, group: i32) -> Result<u64, Errno> {
    let group = u32::try_from(group).map_err(|_| Errno::EINVAL)?;
    let this = &current.task.process;
    let process = process(current, id)?;
    let is_child = || this.children.lock().iter().any(|child| Arc::ptr_eq(child, &process));
    if !Arc::ptr_eq(&process, this) && !is_child() {
        return Err(Errno::ESRCH);
    }
    let session = this.session.load(Relaxed);
    let group = if group == 0 { process.id } else { group };
    let in_group =
        |other: &Arc<Process>| other.group.load(Relaxed) == group && other.session.load(Relaxed) == session;
    let is_leader = process.session.load(Relaxed) == process.id;
    if is_leader || process.session.load(Relaxed) != session {
        return Err(Errno::EPERM);
    }
    if group != process.id && !task::all_processes().iter().any(in_group) {
        return Err(Errno::EPERM);
    }
    process.group.store(group, Relaxed);
    Ok(0)
}

pub fn setsid(current: &Current) -> Result<u64, Errno> {
    let process = &current.task.process;
    if task::all_processes().iter().any(|other| other.group.load(Relaxed) == process.id) {
        return Err(Errno::EPERM);
    }
    process.session.store(process.id, Relaxed);
    process.group.store(process.id, Relaxed);
    Ok(process.id.into())
}
