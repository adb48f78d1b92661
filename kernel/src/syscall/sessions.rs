//! System calls on process groups and sessions (man 2 setpgid, setsid), and on learning of a parent's death.

use crate::errno::Errno;
use crate::signal::Signal;
use crate::task::{self, Current, Process};
use crate::user;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;

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

pub fn setpgid(current: &Current, id: i32, group: i32) -> Result<u64, Errno> {
    let group = u32::try_from(group).map_err(|_| Errno::EINVAL)?;
    let this = &current.task.process;
    let process = process(current, id)?;
    let session = this.session.load(Relaxed);
    if !Arc::ptr_eq(&process, this) {
        if !this.children.lock().iter().any(|child| Arc::ptr_eq(child, &process)) {
            return Err(Errno::ESRCH);
        }
        if process.session.load(Relaxed) != session {
            return Err(Errno::EPERM);
        }
        if process.jobs.has_executed() {
            return Err(Errno::EACCES);
        }
    }
    if process.leads_session() {
        return Err(Errno::EPERM);
    }
    let group = if group == 0 { process.id } else { group };
    let is_of_session = |other: &Arc<Process>| other.session.load(Relaxed) == session;
    if group != process.id && !task::group_members(group).iter().any(is_of_session) {
        return Err(Errno::EPERM);
    }
    process.group.store(group, Relaxed);
    Ok(0)
}

pub fn setsid(current: &Current) -> Result<u64, Errno> {
    let process = &current.task.process;
    if !task::group_members(process.id).is_empty() {
        return Err(Errno::EPERM);
    }
    process.session.store(process.id, Relaxed);
    process.group.store(process.id, Relaxed);
    process.set_terminal(None);
    Ok(process.id.into())
}

/// `prctl(PR_SET_PDEATHSIG)`. Forgotten by fork, kept by exec.
pub(super) fn set_death_signal(current: &Current, number: u64) -> Result<u64, Errno> {
    let signal = match number {
        0 => 0,
        number => Signal::new(u32::try_from(number).map_err(|_| Errno::EINVAL)?)?.number(),
    };
    current.task.process.jobs.set_death_signal(signal);
    Ok(0)
}

/// `prctl(PR_GET_PDEATHSIG)`.
pub(super) fn get_death_signal(current: &Current, to: u64) -> Result<u64, Errno> {
    user::write(to, &i32::from(current.task.process.jobs.death_signal()))?;
    Ok(0)
}
