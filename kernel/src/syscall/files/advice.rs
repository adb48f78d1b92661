//! What programs say about files that are in memory anyway (man 2 posix_fadvise, readahead, sync_file_range), and extended
//! attributes, which no file has (man 7 xattr).

use super::{description, last_link, resolve};
use crate::errno::Errno;
use crate::fs::{Inode, Kind};
use crate::task::Current;
use crate::user;
use alloc::sync::Arc;
use linux_raw_sys::general::*;

pub fn fadvise64(current: &Current, descriptor: i32, len: i64, advice: u32) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    if description.is_path_only() {
        return Err(Errno::EBADF);
    }
    if description.file().metadata().kind == Kind::Pipe {
        return Err(Errno::ESPIPE);
    }
    if len < 0 || advice > POSIX_FADV_NOREUSE {
        return Err(Errno::EINVAL);
    }
    Ok(0)
}

pub fn readahead(current: &Current, descriptor: i32) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    if !description.is_readable() {
        return Err(Errno::EBADF);
    }
    match description.file().metadata().kind {
        Kind::Regular => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

pub fn sync_file_range(
    current: &Current,
    descriptor: i32,
    offset: i64,
    len: i64,
    flags: u32,
) -> Result<u64, Errno> {
    const KNOWN: u32 = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    let description = description(current, descriptor)?;
    if description.is_path_only() {
        return Err(Errno::EBADF);
    }
    if flags & !KNOWN != 0 || offset < 0 || len < 0 || offset.checked_add(len).is_none() {
        return Err(Errno::EINVAL);
    }
    match description.file().metadata().kind {
        Kind::Regular | Kind::Directory | Kind::Symlink => Ok(0),
        _ => Err(Errno::ESPIPE),
    }
}

/// How a call names the file.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    Path(u64),
    /// A path whose last link is not followed.
    Link(u64),
    Descriptor(i32),
}

fn inode(current: &Current, target: Target) -> Result<Option<Arc<dyn Inode>>, Errno> {
    let (path, keeps) = match target {
        Target::Descriptor(descriptor) => {
            let description = description(current, descriptor)?;
            if description.is_path_only() {
                return Err(Errno::EBADF);
            }
            return Ok(description.dentry().map(|dentry| dentry.inode().clone()));
        }
        Target::Path(path) => (path, false),
        Target::Link(path) => (path, true),
    };
    let path = user::read_path(path)?;
    Ok(Some(resolve(current, AT_FDCWD, &path, last_link(keeps))?.inode().clone()))
}

/// The name of an attribute: what is before the dot says whose it is.
fn check_name(name: u64) -> Result<(), Errno> {
    const LONGEST: usize = 255;
    let name = user::read_string(name, LONGEST + 1, Errno::ERANGE)?;
    let known = [&b"user."[..], b"system.", b"security.", b"trusted."];
    match known.iter().any(|prefix| name.starts_with(prefix)) {
        _ if name.is_empty() => Err(Errno::ERANGE),
        true => Ok(()),
        false => Err(Errno::EOPNOTSUPP),
    }
}

/// `getxattr` and `removexattr`.
pub fn no_attribute(current: &Current, target: Target, name: u64) -> Result<u64, Errno> {
    check_name(name)?;
    inode(current, target)?;
    Err(Errno::ENODATA)
}

pub fn set_attribute(current: &Current, target: Target, name: u64) -> Result<u64, Errno> {
    check_name(name)?;
    inode(current, target)?;
    Err(Errno::EOPNOTSUPP)
}

/// `listxattr`: the list is empty.
pub fn list_attributes(current: &Current, target: Target) -> Result<u64, Errno> {
    inode(current, target)?;
    Ok(0)
}
