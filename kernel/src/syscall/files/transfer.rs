//! Reading, writing, and where.

use super::{description, resolve};
use crate::errno::Errno;
use crate::fs::{Kind, LastLink, UserBuffer};
use crate::task::Current;
use crate::user;
use linux_raw_sys::general::AT_FDCWD;

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
        Kind::Symlink | Kind::CharDevice | Kind::Pipe | Kind::Socket | Kind::Anonymous => Err(Errno::EINVAL),
    }
}

pub fn sync(_: &Current) -> Result<u64, Errno> {
    Ok(0)
}

pub fn truncate(current: &Current, path: u64, len: i64) -> Result<u64, Errno> {
    position(len)?;
    let path = user::read_path(path)?;
    let dentry = resolve(current, AT_FDCWD, &path, LastLink::Follow)?;
    match dentry.inode().kind() {
        Kind::Directory => Err(Errno::EISDIR),
        Kind::Regular => Err(dentry.inode().check_writable().err().unwrap_or(Errno::EROFS)),
        _ => Err(Errno::EINVAL),
    }
}

/// No regular file can be open for writing, and nothing else has a length to set.
pub fn ftruncate(current: &Current, descriptor: i32, len: i64) -> Result<u64, Errno> {
    position(len)?;
    if description(current, descriptor)?.is_path_only() {
        return Err(Errno::EBADF);
    }
    Err(Errno::EINVAL)
}
