//! Changing what `stat` tells: permissions, owners, times (man 2 chmod, chown, utimensat).

use super::{credentials, description, resolve_at};
use crate::errno::Errno;
use crate::fs::{Access, Change, Inode, Kind, tmpfs};
use crate::task::Current;
use crate::user;
use alloc::sync::Arc;
use linux_raw_sys::general::*;
use zerocopy::{FromBytes, IntoBytes};

const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;

/// The inode behind a descriptor; not of one opened with `O_PATH`.
fn open_inode(current: &Current, descriptor: i32) -> Result<Arc<dyn Inode>, Errno> {
    let description = description(current, descriptor)?;
    if description.is_path_only() {
        return Err(Errno::EBADF);
    }
    let inode = description.dentry().map(|dentry| dentry.inode().clone());
    // What has neither a name nor an inode of its own has no attributes to change.
    inode.or_else(|| description.file().as_inode()).ok_or(Errno::EPERM)
}

fn set_permissions(current: &Current, inode: &Arc<dyn Inode>, mode: u32) -> Result<u64, Errno> {
    let who = credentials(current);
    let metadata = inode.metadata();
    if metadata.kind == Kind::Symlink {
        return Err(Errno::EOPNOTSUPP);
    }
    if !who.owns(&metadata) {
        return Err(Errno::EPERM);
    }
    let mut permissions = mode & 0o7777;
    if !who.is_root() && !who.is_in_group(metadata.group) {
        permissions &= !SET_GROUP;
    }
    inode.set_attributes(&Change { permissions: Some(permissions), ..Change::default() })?;
    Ok(0)
}

pub fn chmod(current: &Current, path: u64, mode: u32) -> Result<u64, Errno> {
    fchmodat(current, AT_FDCWD, path, mode)
}

pub fn fchmod(current: &Current, descriptor: i32, mode: u32) -> Result<u64, Errno> {
    set_permissions(current, &open_inode(current, descriptor)?, mode)
}

pub fn fchmodat(current: &Current, directory: i32, path: u64, mode: u32) -> Result<u64, Errno> {
    fchmodat2(current, directory, path, mode, 0)
}

pub fn fchmodat2(current: &Current, directory: i32, path: u64, mode: u32, flags: u32) -> Result<u64, Errno> {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    set_permissions(current, resolve_at(current, directory, path, flags)?.inode(), mode)
}

fn set_owner(current: &Current, inode: &Arc<dyn Inode>, owner: u32, group: u32) -> Result<u64, Errno> {
    const UNCHANGED: u32 = u32::MAX;
    let who = credentials(current);
    let metadata = inode.metadata();
    let owner = (owner != UNCHANGED).then_some(owner);
    let group = (group != UNCHANGED).then_some(group);
    if !who.is_root() {
        let keeps_owner = owner.is_none_or(|owner| owner == metadata.owner);
        let own_group = group.is_none_or(|group| who.is_in_group(group) || group == metadata.group);
        if !who.owns(&metadata) || !keeps_owner || !own_group {
            return Err(Errno::EPERM);
        }
    }
    // Another owner's program must not run with his rights by surprise.
    let mut permissions = metadata.permissions;
    if metadata.kind != Kind::Directory && (owner.is_some() || group.is_some()) {
        permissions &= !SET_USER;
        if permissions & 0o010 != 0 {
            permissions &= !SET_GROUP;
        }
    }
    inode.set_attributes(&Change { permissions: Some(permissions), owner, group, ..Change::default() })?;
    Ok(0)
}

pub fn chown(current: &Current, path: u64, owner: u32, group: u32) -> Result<u64, Errno> {
    fchownat(current, AT_FDCWD, path, owner, group, 0)
}

pub fn lchown(current: &Current, path: u64, owner: u32, group: u32) -> Result<u64, Errno> {
    fchownat(current, AT_FDCWD, path, owner, group, AT_SYMLINK_NOFOLLOW)
}

pub fn fchown(current: &Current, descriptor: i32, owner: u32, group: u32) -> Result<u64, Errno> {
    set_owner(current, &open_inode(current, descriptor)?, owner, group)
}

pub fn fchownat(
    current: &Current,
    directory: i32,
    path: u64,
    owner: u32,
    group: u32,
    flags: u32,
) -> Result<u64, Errno> {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    set_owner(current, resolve_at(current, directory, path, flags)?.inode(), owner, group)
}

/// What a time becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stamp {
    Now,
    Omit,
    /// Nanoseconds since 1970.
    At(i64),
}

/// Sets the times of access and of modification.
fn set_times(current: &Current, inode: &Arc<dyn Inode>, stamps: [Stamp; 2]) -> Result<u64, Errno> {
    if stamps == [Stamp::Omit; 2] {
        return Ok(0);
    }
    let who = credentials(current);
    let metadata = inode.metadata();
    if !who.owns(&metadata) {
        // Who may write may also say that it was just now.
        if stamps != [Stamp::Now; 2] {
            return Err(Errno::EPERM);
        }
        who.check(&metadata, Access::WRITE)?;
    }
    let [accessed, modified] = stamps.map(|stamp| match stamp {
        Stamp::Now => Some(tmpfs::now()),
        Stamp::Omit => None,
        Stamp::At(ns) => Some(ns),
    });
    inode.set_attributes(&Change { accessed, modified, ..Change::default() })?;
    Ok(0)
}

/// A pair of numbers: seconds and a part of one.
#[derive(Clone, Copy, FromBytes, IntoBytes)]
#[repr(C)]
struct Moment {
    seconds: i64,
    part: i64,
}

impl Moment {
    fn stamp(self, unit_ns: i64) -> Result<Stamp, Errno> {
        let ns = self.part.checked_mul(unit_ns).filter(|ns| (0..1_000_000_000).contains(ns));
        let ns = ns.ok_or(Errno::EINVAL)?;
        Ok(Stamp::At(self.seconds.saturating_mul(1_000_000_000).saturating_add(ns)))
    }
}

/// Two moments in user memory; null is now.
fn read_stamps(from: u64, stamp: impl Fn(Moment) -> Result<Stamp, Errno>) -> Result<[Stamp; 2], Errno> {
    if from == 0 {
        return Ok([Stamp::Now; 2]);
    }
    let [accessed, modified]: [Moment; 2] = user::read(from)?;
    Ok([stamp(accessed)?, stamp(modified)?])
}

pub fn utimensat(current: &Current, directory: i32, path: u64, times: u64, flags: u32) -> Result<u64, Errno> {
    const NOW: i64 = UTIME_NOW as i64;
    const OMIT: i64 = UTIME_OMIT as i64;
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let stamps = read_stamps(times, |moment| match moment.part {
        NOW => Ok(Stamp::Now),
        OMIT => Ok(Stamp::Omit),
        _ => moment.stamp(1),
    })?;
    // Without a path, as `futimens` does it: the file behind the descriptor.
    let inode = if path == 0 && directory != AT_FDCWD {
        open_inode(current, directory)?
    } else {
        resolve_at(current, directory, path, flags)?.inode().clone()
    };
    set_times(current, &inode, stamps)
}

/// Times in microseconds.
pub fn futimesat(current: &Current, directory: i32, path: u64, times: u64) -> Result<u64, Errno> {
    let stamps = read_stamps(times, |moment| moment.stamp(1000))?;
    let inode = resolve_at(current, directory, path, 0)?.inode().clone();
    set_times(current, &inode, stamps)
}

pub fn utimes(current: &Current, path: u64, times: u64) -> Result<u64, Errno> {
    futimesat(current, AT_FDCWD, path, times)
}

/// Times in seconds.
pub fn utime(current: &Current, path: u64, times: u64) -> Result<u64, Errno> {
    let stamps = if times == 0 {
        [Stamp::Now; 2]
    } else {
        let seconds: [i64; 2] = user::read(times)?;
        seconds.map(|seconds| Stamp::At(seconds.saturating_mul(1_000_000_000)))
    };
    set_times(current, resolve_at(current, AT_FDCWD, path, 0)?.inode(), stamps)
}
