//! System calls on resource limits (man 2 getrlimit).

use crate::errno::Errno;
use crate::limits::Limit;
use crate::task::{self, Current, Process};
use crate::user;
use alloc::sync::Arc;
use linux_raw_sys::general as linux;

pub fn getrlimit(current: &Current, resource: u32, to: u64) -> Result<u64, Errno> {
    let limit = current.task.process.limits.lock().get(resource)?;
    user::write(to, &limit)?;
    Ok(0)
}

pub fn setrlimit(current: &Current, resource: u32, from: u64) -> Result<u64, Errno> {
    let limit: Limit = user::read(from)?;
    set(&current.task.process, resource, limit)?;
    Ok(0)
}

fn set(process: &Arc<Process>, resource: u32, limit: Limit) -> Result<(), Errno> {
    process.limits.lock().set(resource, limit)?;
    match resource {
        linux::RLIMIT_CPU => process.signals.timers.watch_cpu_limit(process),
        linux::RLIMIT_STACK => {
            if let Some(space) = process.space() {
                space.limit_stack(limit.soft);
            }
        }
        _ => {}
    }
    Ok(())
}

pub fn prlimit64(current: &Current, id: u32, resource: u32, new: u64, old: u64) -> Result<u64, Errno> {
    let process = match id {
        0 => current.task.process.clone(),
        id => task::find_process(id).ok_or(Errno::ESRCH)?,
    };
    let new: Option<Limit> = if new == 0 { None } else { Some(user::read(new)?) };
    let before = process.limits.lock().get(resource)?;
    if let Some(new) = new {
        set(&process, resource, new)?;
    }
    user::write_if_wanted(old, &before)?;
    Ok(0)
}
