//! Descriptors: closing, duplicating, and their and the descriptions' flags.

use super::{description, locks, memory_file};
use crate::errno::Errno;
use crate::fs::MAX_DESCRIPTORS;
use crate::task::Current;
use crate::user;
use linux_raw_sys::general::*;
use linux_raw_sys::ioctl::{FIOCLEX, FIONBIO, FIONCLEX};

/// Flags of `close_range` (`linux/close_range.h`).
const CLOSE_RANGE_UNSHARE: u32 = 1 << 1;
const CLOSE_RANGE_CLOEXEC: u32 = 1 << 2;

pub fn close(current: &Current, descriptor: i32) -> Result<u64, Errno> {
    current.task.process.files().close(descriptor)?;
    Ok(0)
}

pub fn close_range(current: &Current, first: u32, last: u32, flags: u32) -> Result<u64, Errno> {
    if first > last || flags & !(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let range = first as usize..=last as usize;
    let process = &current.task.process;
    if flags & CLOSE_RANGE_UNSHARE != 0 {
        let own = process.files().fork_copy();
        let shared = core::mem::replace(&mut *process.files.lock(), own);
        drop(shared);
    }
    if flags & CLOSE_RANGE_CLOEXEC != 0 {
        process.files().mark_range(range);
    } else {
        process.files().close_range(range);
    }
    Ok(0)
}

pub fn dup(current: &Current, descriptor: i32) -> Result<u64, Errno> {
    duplicate(current, descriptor, 0, false)
}

pub fn dup2(current: &Current, from: i32, to: i32) -> Result<u64, Errno> {
    if from == to {
        description(current, from)?;
        return Ok(to as u64);
    }
    current.task.process.files().duplicate_to(from, to, false)?;
    Ok(to as u64)
}

pub fn dup3(current: &Current, from: i32, to: i32, flags: u32) -> Result<u64, Errno> {
    if from == to || flags & !O_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    current.task.process.files().duplicate_to(from, to, flags & O_CLOEXEC != 0)?;
    Ok(to as u64)
}

/// A new descriptor, at least `least`, for what `descriptor` refers to.
fn duplicate(current: &Current, descriptor: i32, least: usize, close_on_exec: bool) -> Result<u64, Errno> {
    let files = current.task.process.files();
    let description = files.get(descriptor)?;
    Ok(files.insert(description, least, close_on_exec)? as u64)
}

/// Commands that work on a descriptor opened with `O_PATH` (man 2 open).
const PATH_COMMANDS: [u32; 5] = [F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL];

pub fn fcntl(current: &Current, descriptor: i32, command: u32, argument: u64) -> Result<u64, Errno> {
    let files = current.task.process.files();
    let description = files.get(descriptor)?;
    if description.is_path_only() && !PATH_COMMANDS.contains(&command) {
        return Err(Errno::EBADF);
    }
    if locks::is_record_command(command) {
        return locks::record(current, &files, &description, command, argument);
    }
    let pipe = || description.file().as_pipe().ok_or(Errno::EBADF);
    match command {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            let least = usize::try_from(argument).ok().filter(|least| *least < MAX_DESCRIPTORS);
            duplicate(current, descriptor, least.ok_or(Errno::EINVAL)?, command == F_DUPFD_CLOEXEC)
        }
        F_GETFD => Ok(if files.is_close_on_exec(descriptor)? { FD_CLOEXEC.into() } else { 0 }),
        F_SETFD => {
            files.set_close_on_exec(descriptor, argument as u32 & FD_CLOEXEC != 0)?;
            Ok(0)
        }
        F_GETFL => Ok(description.flags().into()),
        F_SETFL => {
            description.set_flags(argument as u32);
            Ok(0)
        }
        F_GET_SEALS => memory_file::get_seals(&description),
        F_ADD_SEALS => memory_file::add_seals(&description, argument as u32),
        F_GETPIPE_SZ => Ok(pipe()?.capacity() as u64),
        F_SETPIPE_SZ => Ok(pipe()?.set_capacity(argument as u32 as usize)? as u64),
        _ => Err(Errno::EINVAL),
    }
}

pub fn ioctl(current: &Current, descriptor: i32, command: u32, argument: u64) -> Result<u64, Errno> {
    let files = current.task.process.files();
    let description = files.get(descriptor)?;
    if description.is_path_only() {
        return Err(Errno::EBADF);
    }
    match command {
        FIOCLEX => files.set_close_on_exec(descriptor, true)?,
        FIONCLEX => files.set_close_on_exec(descriptor, false)?,
        FIONBIO => description.set_nonblocking(user::read::<i32>(argument)? != 0),
        _ => return description.file().ioctl(current, command, argument),
    }
    Ok(0)
}
