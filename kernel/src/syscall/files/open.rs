//! Opening files (man 2 open).

use super::names::{find_or_make, new_node};
use super::{last_link, start};
use crate::errno::Errno;
use crate::fs::{Access, Credentials, Dentry, Description, DeviceId, Kind, Metadata};
use crate::task::Current;
use crate::user;
use alloc::{format, string::String, sync::Arc};
use linux_raw_sys::general::*;

pub fn open(current: &Current, path: u64, flags: u32, mode: u32) -> Result<u64, Errno> {
    openat(current, AT_FDCWD, path, flags, mode)
}

pub fn creat(current: &Current, path: u64, mode: u32) -> Result<u64, Errno> {
    openat(current, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode)
}

pub fn openat(current: &Current, directory: i32, path: u64, flags: u32, mode: u32) -> Result<u64, Errno> {
    let has = |flag| flags & flag == flag;
    // `O_TMPFILE` includes `O_DIRECTORY`, which makes no sense with `O_CREAT`.
    if has(O_CREAT | O_DIRECTORY) || flags & O_ACCMODE == O_ACCMODE && !has(O_PATH) {
        return Err(Errno::EINVAL);
    }
    let path = user::read_path(path)?;
    let walk = start(current, directory, &path)?;
    let who = walk.who.clone();
    let (dentry, is_new) = if has(O_TMPFILE) && !has(O_PATH) {
        if flags & O_ACCMODE == O_RDONLY {
            return Err(Errno::EINVAL);
        }
        (unnamed(current, &walk.resolve(&path, last_link(false))?, mode)?, true)
    } else if has(O_CREAT) && !has(O_PATH) {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        find_or_make(current, walk, path, flags, mode)?
    } else {
        (walk.resolve(&path, last_link(has(O_NOFOLLOW)))?, false)
    };
    // Who makes a file has it open whatever its permissions say.
    let flags = if is_new { flags & !(O_TRUNC | O_DIRECTORY) } else { flags };
    if !is_new && !has(O_PATH) {
        check(&who, &dentry.inode().metadata(), flags)?;
    }
    let description = Description::open(dentry, flags, current)?;
    description.file().opened(current, flags)?;
    Ok(current.task.process.files().insert(description, 0, has(O_CLOEXEC))? as u64)
}

/// A file for `O_TMPFILE`, on the file system of `directory`.
fn unnamed(current: &Current, directory: &Arc<Dentry>, mode: u32) -> Result<Arc<Dentry>, Errno> {
    let parent = directory.inode().metadata();
    if parent.kind != Kind::Directory {
        return Err(Errno::ENOTDIR);
    }
    super::credentials(current).check(&parent, Access::WRITE.and(Access::EXECUTE))?;
    let new = new_node(current, &parent, Kind::Regular, mode, DeviceId::NONE, String::new());
    let inode = directory.inode().create_unnamed(new)?;
    let name = format!("#{} (deleted)", inode.metadata().number);
    Ok(directory.place(&name, inode))
}

/// Whether `who` may open such a file so.
fn check(who: &Credentials, metadata: &Metadata, flags: u32) -> Result<(), Errno> {
    if metadata.kind == Kind::Symlink {
        // Opening it fails for another reason.
        return Ok(());
    }
    let mode = flags & O_ACCMODE;
    let mut access = Access::NONE;
    if mode != O_WRONLY {
        access = access.and(Access::READ);
    }
    if mode != O_RDONLY || flags & O_TRUNC != 0 {
        if metadata.kind == Kind::Directory {
            return Err(Errno::EISDIR);
        }
        access = access.and(Access::WRITE);
    }
    if flags & O_NOATIME != 0 && !who.owns(metadata) {
        return Err(Errno::EPERM);
    }
    who.check(metadata, access)
}
