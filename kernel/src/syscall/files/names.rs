//! Making, moving and removing names.

use super::{Walk, last_link, start};
use crate::errno::Errno;
use crate::fs::{Access, Dentry, DeviceId, Inode, Kind, LastLink, Metadata, NAME_MAX, NewNode, Target};
use crate::task::Current;
use crate::user;
use alloc::{string::String, sync::Arc};
use linux_raw_sys::general::*;

/// What a process that has set its mask makes when it asks for `mode`.
pub(super) fn new_node(
    current: &Current,
    directory: &Metadata,
    kind: Kind,
    mode: u32,
    represents: DeviceId,
    target: String,
) -> NewNode {
    const SET_GROUP: u32 = 0o2000;
    let (umask, who) = {
        let context = current.task.process.fs.lock();
        (context.umask(), context.credentials().clone())
    };
    // A directory may hand its group on to what is made in it (man 7 inode).
    let inherits = directory.permissions & SET_GROUP != 0;
    let group = if inherits { directory.group } else { who.group.file };
    let sticky = if inherits && kind == Kind::Directory { SET_GROUP } else { 0 };
    NewNode {
        kind,
        permissions: mode & 0o7777 & !umask | sticky,
        represents,
        owner: who.user.file,
        group,
        target,
    }
}

/// Checks that `target` can be made: that it is not there, and that names may be added.
pub(super) fn check_new(walk: &Walk, target: &Target<'_>) -> Result<(), Errno> {
    if target.name.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    match target.directory.child(target.name) {
        Ok(_) => return Err(Errno::EEXIST),
        Err(Errno::ENOENT) => {}
        Err(error) => return Err(error),
    }
    walk.who.check(&target.directory.inode().metadata(), Access::WRITE.and(Access::EXECUTE))
}

/// Makes a name for something new.
fn make(
    current: &Current,
    directory: i32,
    path: u64,
    (kind, mode, represents): (Kind, u32, DeviceId),
    link: String,
) -> Result<u64, Errno> {
    let path = user::read_path(path)?;
    let walk = start(current, directory, &path)?;
    let target = walk.resolve_target(&path)?.ok_or(Errno::EEXIST)?;
    check_new(&walk, &target)?;
    if target.is_directory && kind != Kind::Directory {
        return Err(Errno::ENOENT);
    }
    let parent = target.directory.inode();
    let new = new_node(current, &parent.metadata(), kind, mode, represents, link);
    parent.create(target.name, new)?;
    Ok(0)
}

pub fn mkdir(current: &Current, path: u64, mode: u32) -> Result<u64, Errno> {
    mkdirat(current, AT_FDCWD, path, mode)
}

pub fn mkdirat(current: &Current, directory: i32, path: u64, mode: u32) -> Result<u64, Errno> {
    let new = (Kind::Directory, mode & 0o1777, DeviceId::NONE);
    make(current, directory, path, new, String::new())
}

pub fn mknod(current: &Current, path: u64, mode: u32, device: u32) -> Result<u64, Errno> {
    mknodat(current, AT_FDCWD, path, mode, device)
}

pub fn mknodat(current: &Current, directory: i32, path: u64, mode: u32, device: u32) -> Result<u64, Errno> {
    let kind = match mode & S_IFMT {
        0 | S_IFREG => Kind::Regular,
        S_IFIFO => Kind::Pipe,
        S_IFSOCK => Kind::Socket,
        S_IFCHR => Kind::CharDevice,
        S_IFBLK => Kind::BlockDevice,
        S_IFDIR => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    };
    let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
    if is_device && !super::credentials(current).is_root() {
        return Err(Errno::EPERM);
    }
    let represents = if is_device { DeviceId::decode(device) } else { DeviceId::NONE };
    make(current, directory, path, (kind, mode, represents), String::new())
}

pub fn symlink(current: &Current, target: u64, path: u64) -> Result<u64, Errno> {
    symlinkat(current, target, AT_FDCWD, path)
}

pub fn symlinkat(current: &Current, target: u64, directory: i32, path: u64) -> Result<u64, Errno> {
    let target = user::read_path(target)?;
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    let path_mode = (Kind::Symlink, 0o777, DeviceId::NONE);
    make(current, directory, path, path_mode, target)
}

pub fn link(current: &Current, from: u64, to: u64) -> Result<u64, Errno> {
    linkat(current, AT_FDCWD, from, AT_FDCWD, to, 0)
}

pub fn linkat(
    current: &Current,
    from_directory: i32,
    from: u64,
    to_directory: i32,
    to: u64,
    flags: u32,
) -> Result<u64, Errno> {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = user::read_path(from)?;
    let dentry = if path.is_empty() && flags & AT_EMPTY_PATH != 0 {
        super::description(current, from_directory)?.dentry().cloned().ok_or(Errno::ENOENT)?
    } else {
        super::resolve(current, from_directory, &path, last_link(flags & AT_SYMLINK_FOLLOW == 0))?
    };
    let path = user::read_path(to)?;
    let walk = start(current, to_directory, &path)?;
    let target = walk.resolve_target(&path)?.ok_or(Errno::EEXIST)?;
    check_new(&walk, &target)?;
    if target.is_directory {
        return Err(Errno::ENOENT);
    }
    let metadata = dentry.inode().metadata();
    let parent = target.directory.inode();
    if metadata.file_system != parent.metadata().file_system {
        return Err(Errno::EXDEV);
    }
    if metadata.kind == Kind::Directory {
        return Err(Errno::EPERM);
    }
    parent.link(target.name, dentry.inode())?;
    Ok(0)
}

/// What is to be taken away: its directory, its name, and what it is. `fixed` is the error for `/`, `.` and `..`.
fn removable<'p>(walk: &Walk, path: &'p str, fixed: Errno) -> Result<(Target<'p>, Arc<dyn Inode>), Errno> {
    let target = walk.resolve_target(path)?.ok_or(fixed)?;
    let inode = target.directory.child(target.name)?.inode().clone();
    walk.who.check_removal(&target.directory.inode().metadata(), &inode.metadata())?;
    Ok((target, inode))
}

fn remove(current: &Current, directory: i32, path: u64, is_directory: bool) -> Result<u64, Errno> {
    let path = user::read_path(path)?;
    let fixed = match path.trim_end_matches('/').rsplit('/').next() {
        _ if !is_directory => Errno::EISDIR,
        Some(".") => Errno::EINVAL,
        Some("..") => Errno::ENOTEMPTY,
        _ => Errno::EBUSY,
    };
    let walk = start(current, directory, &path)?;
    let (target, inode) = removable(&walk, &path, fixed)?;
    if target.is_directory && !is_directory {
        return Err(if inode.kind() == Kind::Directory { Errno::EISDIR } else { Errno::ENOTDIR });
    }
    target.directory.inode().remove(target.name, is_directory)?;
    Ok(0)
}

pub fn unlink(current: &Current, path: u64) -> Result<u64, Errno> {
    remove(current, AT_FDCWD, path, false)
}

pub fn rmdir(current: &Current, path: u64) -> Result<u64, Errno> {
    remove(current, AT_FDCWD, path, true)
}

pub fn unlinkat(current: &Current, directory: i32, path: u64, flags: u32) -> Result<u64, Errno> {
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    remove(current, directory, path, flags != 0)
}

pub fn rename(current: &Current, from: u64, to: u64) -> Result<u64, Errno> {
    renameat2(current, AT_FDCWD, from, AT_FDCWD, to, 0)
}

pub fn renameat(
    current: &Current,
    from_directory: i32,
    from: u64,
    to_directory: i32,
    to: u64,
) -> Result<u64, Errno> {
    renameat2(current, from_directory, from, to_directory, to, 0)
}

/// Where a rename leads, and what is there now.
fn destination<'p>(
    walk: &Walk,
    path: &'p str,
    flags: u32,
) -> Result<(Target<'p>, Option<Arc<Dentry>>), Errno> {
    let target = walk.resolve_target(path)?.ok_or(Errno::EBUSY)?;
    let there = match target.directory.child(target.name) {
        Ok(_) if flags & RENAME_NOREPLACE != 0 => return Err(Errno::EEXIST),
        Ok(dentry) => Some(dentry),
        Err(Errno::ENOENT) if flags & RENAME_EXCHANGE == 0 => None,
        Err(error) => return Err(error),
    };
    let metadata = target.directory.inode().metadata();
    match &there {
        Some(there) => walk.who.check_removal(&metadata, &there.inode().metadata())?,
        None => walk.who.check(&metadata, Access::WRITE.and(Access::EXECUTE))?,
    }
    Ok((target, there))
}

pub fn renameat2(
    current: &Current,
    from_directory: i32,
    from: u64,
    to_directory: i32,
    to: u64,
    flags: u32,
) -> Result<u64, Errno> {
    let replaces = flags & (RENAME_NOREPLACE | RENAME_WHITEOUT) == 0;
    if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) != 0
        || flags & RENAME_EXCHANGE != 0 && !replaces
        || flags & RENAME_WHITEOUT != 0
    {
        return Err(Errno::EINVAL);
    }
    let (from, to) = (user::read_path(from)?, user::read_path(to)?);
    let source = start(current, from_directory, &from)?;
    let (old, inode) = removable(&source, &from, Errno::EBUSY)?;
    let (new, there) = destination(&start(current, to_directory, &to)?, &to, flags)?;
    let is_directory = inode.kind() == Kind::Directory;
    if !is_directory && (old.is_directory || new.is_directory && flags & RENAME_EXCHANGE == 0) {
        return Err(Errno::ENOTDIR);
    }
    if is_directory && new.directory.is_below(&inode) {
        return Err(Errno::EINVAL);
    }
    // What is replaced must not be above what replaces it.
    if let Some(there) = there.filter(|there| there.inode().kind() == Kind::Directory)
        && old.directory.is_below(there.inode())
    {
        return Err(if flags & RENAME_EXCHANGE != 0 { Errno::EINVAL } else { Errno::ENOTEMPTY });
    }
    let (parent, target) = (old.directory.inode(), new.directory.inode());
    if parent.metadata().file_system != target.metadata().file_system {
        return Err(Errno::EXDEV);
    }
    parent.rename(old.name, target, new.name, flags & RENAME_EXCHANGE != 0)?;
    Ok(0)
}

/// The place that a path which is to be opened for creation means, through symbolic links that lead nowhere yet.
pub(super) fn find_or_make(
    current: &Current,
    walk: Walk,
    path: String,
    flags: u32,
    mode: u32,
) -> Result<(Arc<Dentry>, bool), Errno> {
    /// As when paths are resolved.
    const MOST_LINKS: usize = 40;
    let exclusive = flags & O_EXCL != 0;
    let last_link = last_link(exclusive || flags & O_NOFOLLOW != 0);
    let (mut walk, mut path) = (walk, path);
    for _ in 0..MOST_LINKS {
        match walk.resolve(&path, last_link) {
            Ok(_) if exclusive => return Err(Errno::EEXIST),
            Ok(_) if path.ends_with('/') => return Err(Errno::EISDIR),
            Ok(dentry) => return Ok((dentry, false)),
            Err(Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
        let target = walk.resolve_target(&path)?.ok_or(Errno::EISDIR)?;
        if target.is_directory {
            return Err(Errno::EISDIR);
        }
        match target.directory.child(target.name) {
            // A link that leads nowhere: what it says is made.
            Ok(link) if link.inode().kind() == Kind::Symlink && last_link == LastLink::Follow => {
                let next = link.inode().read_link()?;
                walk = Walk { from: target.directory, who: walk.who };
                path = next;
                continue;
            }
            // It has come meanwhile.
            Ok(_) => continue,
            Err(Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
        check_new(&walk, &target)?;
        let parent = target.directory.inode();
        let new = new_node(current, &parent.metadata(), Kind::Regular, mode, DeviceId::NONE, String::new());
        match parent.create(target.name, new) {
            Ok(inode) => return Ok((target.directory.place(target.name, inode), true)),
            Err(Errno::EEXIST) if !exclusive => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::ELOOP)
}
