//! Opening files (man 2 open).

use super::{last_link, start};
use crate::errno::Errno;
use crate::fs::{Dentry, Description};
use crate::task::Current;
use crate::user;
use alloc::sync::Arc;
use linux_raw_sys::general::*;

pub fn open(current: &Current, path: u64, flags: u32, mode: u32) -> Result<u64, Errno> {
    openat(current, AT_FDCWD, path, flags, mode)
}

pub fn creat(current: &Current, path: u64, mode: u32) -> Result<u64, Errno> {
    openat(current, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode)
}

/// `mode` is for files that are made, and there are none.
pub fn openat(current: &Current, directory: i32, path: u64, flags: u32, _mode: u32) -> Result<u64, Errno> {
    let has = |flag| flags & flag == flag;
    // `O_TMPFILE` includes `O_DIRECTORY`, which makes no sense with `O_CREAT`.
    if has(O_CREAT | O_DIRECTORY) || flags & O_ACCMODE == O_ACCMODE && !has(O_PATH) {
        return Err(Errno::EINVAL);
    }
    let path = user::read_path(path)?;
    let from = start(current, directory, &path)?;
    let dentry = if has(O_CREAT) && !has(O_PATH) {
        find_for_creation(&from, &path, flags)?
    } else {
        from.resolve(&path, last_link(has(O_NOFOLLOW)))?
    };
    if has(O_TMPFILE) {
        return Err(Errno::EROFS);
    }
    let description = Description::open(dentry, flags)?;
    description.file().opened(current, flags)?;
    Ok(current.task.process.files().insert(description, 0, has(O_CLOEXEC))? as u64)
}

/// With `O_CREAT`, what is there is opened, and what is not there cannot be made.
fn find_for_creation(from: &Arc<Dentry>, path: &str, flags: u32) -> Result<Arc<Dentry>, Errno> {
    let exclusive = flags & O_EXCL != 0;
    let last_link = last_link(exclusive || flags & O_NOFOLLOW != 0);
    match from.resolve(path, last_link) {
        Ok(_) if exclusive => Err(Errno::EEXIST),
        Ok(_) if path.ends_with('/') => Err(Errno::EISDIR),
        Ok(dentry) => Ok(dentry),
        Err(Errno::ENOENT) => match from.resolve_target(path)? {
            Some(target) if target.is_directory => Err(Errno::EISDIR),
            // Also at the end of a symbolic link that leads nowhere.
            Some(_) => Err(Errno::EROFS),
            None => Err(Errno::EISDIR),
        },
        Err(error) => Err(error),
    }
}
