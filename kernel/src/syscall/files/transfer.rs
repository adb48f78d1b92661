//! Reading, writing, and where.

use super::{credentials, description, resolve};
use crate::errno::Errno;
use crate::fs::tmpfs::{Allocation, Node, allocate};
use crate::fs::{self, Access, Inode, Kind, LastLink, UserBuffer};
use crate::signal::{self, SigInfo, Signal};
use crate::task::Current;
use crate::user;
use alloc::sync::Arc;
use linux_raw_sys::general::*;

pub fn read(current: &Current, descriptor: i32, at: u64, len: usize) -> Result<u64, Errno> {
    read_into(current, descriptor, UserBuffer::new(at, len))
}

pub fn readv(current: &Current, descriptor: i32, vectors: u64, count: usize) -> Result<u64, Errno> {
    read_into(current, descriptor, UserBuffer::from_vectors(vectors, count)?)
}

fn read_into(current: &Current, descriptor: i32, mut to: UserBuffer) -> Result<u64, Errno> {
    Ok(description(current, descriptor)?.read(current, &mut to)? as u64)
}

pub fn write(current: &Current, descriptor: i32, at: u64, len: usize) -> Result<u64, Errno> {
    write_from(current, descriptor, UserBuffer::new(at, len))
}

pub fn writev(current: &Current, descriptor: i32, vectors: u64, count: usize) -> Result<u64, Errno> {
    write_from(current, descriptor, UserBuffer::from_vectors(vectors, count)?)
}

fn write_from(current: &Current, descriptor: i32, mut from: UserBuffer) -> Result<u64, Errno> {
    Ok(description(current, descriptor)?.write(current, &mut from)? as u64)
}

/// An offset as programs give it, which must not be negative.
fn position(offset: i64) -> Result<u64, Errno> {
    u64::try_from(offset).map_err(|_| Errno::EINVAL)
}

pub fn pread64(current: &Current, descriptor: i32, at: u64, len: usize, offset: i64) -> Result<u64, Errno> {
    read_into_at(current, descriptor, UserBuffer::new(at, len), offset)
}

pub fn preadv(
    current: &Current,
    descriptor: i32,
    vectors: u64,
    count: usize,
    offset: i64,
) -> Result<u64, Errno> {
    read_into_at(current, descriptor, UserBuffer::from_vectors(vectors, count)?, offset)
}

fn read_into_at(current: &Current, descriptor: i32, mut to: UserBuffer, offset: i64) -> Result<u64, Errno> {
    Ok(description(current, descriptor)?.read_at(current, position(offset)?, &mut to)? as u64)
}

pub fn pwrite64(current: &Current, descriptor: i32, at: u64, len: usize, offset: i64) -> Result<u64, Errno> {
    write_from_at(current, descriptor, UserBuffer::new(at, len), offset)
}

pub fn pwritev(
    current: &Current,
    descriptor: i32,
    vectors: u64,
    count: usize,
    offset: i64,
) -> Result<u64, Errno> {
    write_from_at(current, descriptor, UserBuffer::from_vectors(vectors, count)?, offset)
}

fn write_from_at(
    current: &Current,
    descriptor: i32,
    mut from: UserBuffer,
    offset: i64,
) -> Result<u64, Errno> {
    Ok(description(current, descriptor)?.write_at(current, position(offset)?, &mut from)? as u64)
}

/// `preadv2` and `pwritev2`: at `offset`, or with -1 at the description's own.
pub fn preadv2(
    current: &Current,
    descriptor: i32,
    (vectors, count): (u64, usize),
    offset: i64,
    flags: u32,
) -> Result<u64, Errno> {
    check_flags(flags & !RWF_APPEND)?;
    match offset {
        -1 => readv(current, descriptor, vectors, count),
        _ => preadv(current, descriptor, vectors, count, offset),
    }
}

pub fn pwritev2(
    current: &Current,
    descriptor: i32,
    (vectors, count): (u64, usize),
    offset: i64,
    flags: u32,
) -> Result<u64, Errno> {
    check_flags(flags)?;
    if flags & RWF_APPEND != 0 {
        let mut from = UserBuffer::from_vectors(vectors, count)?;
        return Ok(description(current, descriptor)?.append(current, &mut from)? as u64);
    }
    match offset {
        -1 => writev(current, descriptor, vectors, count),
        _ => pwritev(current, descriptor, vectors, count, offset),
    }
}

/// All is in memory and written at once, so that most flags ask for what is so anyway.
fn check_flags(flags: u32) -> Result<(), Errno> {
    const KNOWN: u32 = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_APPEND;
    if flags & !KNOWN == 0 { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
}

pub fn lseek(current: &Current, descriptor: i32, distance: i64, whence: u32) -> Result<u64, Errno> {
    description(current, descriptor)?.seek(distance, whence)
}

/// Also `fdatasync`: there is nothing that is written later.
pub fn fsync(current: &Current, descriptor: i32) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    if description.is_path_only() {
        return Err(Errno::EBADF);
    }
    match description.file().metadata().kind {
        Kind::Regular | Kind::Directory => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

pub fn sync(_: &Current) -> Result<u64, Errno> {
    Ok(0)
}

pub fn truncate(current: &Current, path: u64, len: i64) -> Result<u64, Errno> {
    let len = position(len)?;
    let path = user::read_path(path)?;
    let dentry = resolve(current, AT_FDCWD, &path, LastLink::Follow)?;
    let metadata = dentry.inode().metadata();
    match metadata.kind {
        Kind::Directory => return Err(Errno::EISDIR),
        Kind::Regular => {}
        _ => return Err(Errno::EINVAL),
    }
    credentials(current).check(&metadata, Access::WRITE)?;
    dentry.inode().check_writable()?;
    set_len(current, dentry.inode(), len)
}

pub fn ftruncate(current: &Current, descriptor: i32, len: i64) -> Result<u64, Errno> {
    let len = position(len)?;
    let description = description(current, descriptor)?;
    if description.is_path_only() {
        return Err(Errno::EBADF);
    }
    let inode = description.dentry().map(|dentry| dentry.inode());
    match inode.filter(|inode| inode.kind() == Kind::Regular && description.is_writable()) {
        Some(inode) => set_len(current, inode, len),
        None => Err(Errno::EINVAL),
    }
}

/// Sets a length, unless it is a larger one than the process may have files of.
fn set_len(current: &Current, inode: &Arc<dyn Inode>, len: u64) -> Result<u64, Errno> {
    let most = current.task.process.limits.lock().get(RLIMIT_FSIZE)?.soft;
    if len > most && len > inode.metadata().len {
        let _ = signal::send_to_thread(&current.task, SigInfo::from_kernel(Signal::XFSZ));
        return Err(Errno::EFBIG);
    }
    match inode.truncate(len) {
        // What has no length that could be set.
        Err(Errno::EROFS) => Err(Errno::EINVAL),
        outcome => outcome.map(|()| 0),
    }
}

pub fn fallocate(current: &Current, descriptor: i32, mode: u32, offset: i64, len: i64) -> Result<u64, Errno> {
    let (offset, len) = (position(offset)?, position(len)?);
    if len == 0 {
        return Err(Errno::EINVAL);
    }
    let keeps = mode & FALLOC_FL_KEEP_SIZE != 0;
    let how = match mode & !FALLOC_FL_KEEP_SIZE {
        0 => Allocation::Reserve { extends: !keeps },
        FALLOC_FL_PUNCH_HOLE if keeps => Allocation::Punch,
        FALLOC_FL_ZERO_RANGE => Allocation::Zero { extends: !keeps },
        _ => return Err(Errno::EOPNOTSUPP),
    };
    let description = description(current, descriptor)?;
    if !description.is_writable() {
        return Err(Errno::EBADF);
    }
    let node = fs::downcast::<Node>(&description);
    let node = node.ok_or_else(|| match description.file().metadata().kind {
        Kind::Pipe | Kind::Socket => Errno::ESPIPE,
        _ => Errno::ENODEV,
    })?;
    allocate(node, offset, len, how)?;
    Ok(0)
}
