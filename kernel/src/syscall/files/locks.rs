//! Locking files (man 2 flock, man 2 fcntl).

use super::description;
use crate::errno::Errno;
use crate::fs::locks::{self, FileLock, Owner, Space};
use crate::fs::{Description, FileTable};
use crate::task::Current;
use crate::user;
use alloc::sync::Arc;
use linux_raw_sys::general::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub fn flock(current: &Current, descriptor: i32, operation: u32) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    if description.is_path_only() {
        return Err(Errno::EBADF);
    }
    let lock = FileLock {
        space: Space::Whole,
        owner: of_description(&description),
        start: 0,
        end: u64::MAX,
        is_exclusive: operation & !LOCK_NB == LOCK_EX,
        process: current.task.process.id,
    };
    match operation & !LOCK_NB {
        LOCK_SH | LOCK_EX => locks::set(current, &description, &lock, operation & LOCK_NB == 0)?,
        LOCK_UN => locks::release(&description, &lock),
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

fn of_description(description: &Arc<Description>) -> Owner {
    Owner::Description(Arc::as_ptr(description).addr())
}

/// `struct flock`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Record {
    kind: i16,
    whence: i16,
    padding: u32,
    start: i64,
    len: i64,
    process: i32,
    more_padding: u32,
}

/// `F_RDLCK` and its relatives.
const READ_LOCK: i16 = F_RDLCK as i16;
const WRITE_LOCK: i16 = F_WRLCK as i16;
const UNLOCK: i16 = F_UNLCK as i16;

/// Whether `command` is one of those on record locks.
pub fn is_record_command(command: u32) -> bool {
    matches!(command, F_GETLK | F_SETLK | F_SETLKW | F_OFD_GETLK | F_OFD_SETLK | F_OFD_SETLKW)
}

/// The bytes that a record means.
fn range(record: &Record, description: &Description) -> Result<(u64, u64), Errno> {
    let base = match record.whence as u32 {
        SEEK_SET => 0,
        SEEK_CUR => description.position() as i64,
        SEEK_END => description.file().metadata().len as i64,
        _ => return Err(Errno::EINVAL),
    };
    let at = base.checked_add(record.start).ok_or(Errno::EOVERFLOW)?;
    let end = at.checked_add(record.len).ok_or(Errno::EOVERFLOW)?;
    // A negative length is what lies before.
    let (start, end) = if record.len < 0 { (end, at) } else { (at, end) };
    let start = u64::try_from(start).map_err(|_| Errno::EINVAL)?;
    Ok((start, if record.len == 0 { u64::MAX } else { end as u64 }))
}

pub fn record(
    current: &Current,
    files: &Arc<FileTable>,
    description: &Arc<Description>,
    command: u32,
    at: u64,
) -> Result<u64, Errno> {
    let mut record: Record = user::read(at)?;
    let of_descriptions = matches!(command, F_OFD_GETLK | F_OFD_SETLK | F_OFD_SETLKW);
    if of_descriptions && record.process != 0 {
        return Err(Errno::EINVAL);
    }
    let (start, end) = range(&record, description)?;
    let owner = match of_descriptions {
        true => of_description(description),
        false => Owner::Table(Arc::as_ptr(files).addr()),
    };
    let process = current.task.process.id;
    let lock = FileLock {
        space: Space::Records,
        owner,
        start,
        end,
        is_exclusive: record.kind == WRITE_LOCK,
        process,
    };
    match (command, record.kind) {
        (F_GETLK | F_OFD_GETLK, READ_LOCK | WRITE_LOCK) => {
            match locks::conflict(description, &lock) {
                None => record.kind = UNLOCK,
                Some(other) => {
                    record.kind = if other.is_exclusive { WRITE_LOCK } else { READ_LOCK };
                    record.whence = SEEK_SET as i16;
                    record.start = other.start as i64;
                    record.len = if other.end == u64::MAX { 0 } else { (other.end - other.start) as i64 };
                    let belongs_to_process = matches!(other.owner, Owner::Table(_));
                    record.process = if belongs_to_process { other.process as i32 } else { -1 };
                }
            }
            user::write(at, &record)?;
        }
        (F_SETLK | F_SETLKW | F_OFD_SETLK | F_OFD_SETLKW, READ_LOCK | WRITE_LOCK) => {
            let may = if lock.is_exclusive { description.is_writable() } else { description.is_readable() };
            if !may {
                return Err(Errno::EBADF);
            }
            locks::set(current, description, &lock, matches!(command, F_SETLKW | F_OFD_SETLKW))?;
        }
        (F_SETLK | F_SETLKW | F_OFD_SETLK | F_OFD_SETLKW, UNLOCK) => locks::release(description, &lock),
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}
