//! Directories: listing them, the working directory, the mask for new files.

use super::{credentials, description, resolve};
use crate::errno::Errno;
use crate::fs::{Access, Dentry, Entry, Kind, LastLink};
use crate::task::Current;
use crate::user;
use alloc::{sync::Arc, vec::Vec};
use linux_raw_sys::general::AT_FDCWD;

/// The bytes of `struct linux_dirent64` before the name (man 2 getdents64).
const ENTRY_HEAD: usize = 19;
/// Most bytes of entries that one call returns.
const MOST_BYTES: usize = 32 << 10;

pub fn getdents64(current: &Current, descriptor: i32, buffer: u64, len: u32) -> Result<u64, Errno> {
    let room = (len as usize).min(MOST_BYTES);
    let mut bytes = Vec::new();
    let mut is_too_small = false;
    description(current, descriptor)?.list(|entry, next| {
        let fits = put_entry(&mut bytes, room, entry, next);
        is_too_small = !fits && bytes.is_empty();
        fits
    })?;
    if is_too_small {
        return Err(Errno::EINVAL);
    }
    user::write_bytes(buffer, &bytes)?;
    Ok(bytes.len() as u64)
}

/// Adds an entry unless it would make more than `room` bytes.
fn put_entry(bytes: &mut Vec<u8>, room: usize, entry: &Entry, next: u64) -> bool {
    let len = (ENTRY_HEAD + entry.name.len() + 1).next_multiple_of(size_of::<u64>());
    let end = bytes.len() + len;
    if end > room {
        return false;
    }
    bytes.extend_from_slice(&entry.number.to_ne_bytes());
    bytes.extend_from_slice(&next.to_ne_bytes());
    bytes.extend_from_slice(&(len as u16).to_ne_bytes());
    bytes.push(entry.kind.directory_type());
    bytes.extend_from_slice(entry.name.as_bytes());
    bytes.resize(end, 0);
    true
}

/// Returns the length of the path with its terminator, as the kernel's call does and the library's does not.
pub fn getcwd(current: &Current, buffer: u64, size: usize) -> Result<u64, Errno> {
    let mut path = current.task.process.fs.lock().directory().path();
    if path.is_empty() {
        path.push('/');
    }
    path.push('\0');
    if path.len() > size {
        return Err(Errno::ERANGE);
    }
    user::write_bytes(buffer, path.as_bytes())?;
    Ok(path.len() as u64)
}

pub fn chdir(current: &Current, path: u64) -> Result<u64, Errno> {
    let path = user::read_path(path)?;
    enter(current, resolve(current, AT_FDCWD, &path, LastLink::Follow)?)
}

pub fn fchdir(current: &Current, descriptor: i32) -> Result<u64, Errno> {
    let directory = description(current, descriptor)?.dentry().cloned().ok_or(Errno::ENOTDIR)?;
    enter(current, directory)
}

fn enter(current: &Current, directory: Arc<Dentry>) -> Result<u64, Errno> {
    if directory.inode().kind() != Kind::Directory {
        return Err(Errno::ENOTDIR);
    }
    credentials(current).check(&directory.inode().metadata(), Access::EXECUTE)?;
    let before = current.task.process.fs.lock().set_directory(directory);
    drop(before);
    Ok(0)
}

pub fn umask(current: &Current, mask: u32) -> Result<u64, Errno> {
    Ok(current.task.process.fs.lock().set_umask(mask).into())
}
