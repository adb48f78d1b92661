//! System calls on files. What files are is [`crate::fs`]; here are the manual's functions, flags and structures.

mod advice;
mod anonymous;
mod attributes;
mod copy;
mod descriptors;
mod directories;
mod epoll;
mod locks;
mod memory_file;
mod names;
mod open;
mod pipe;
mod poll;
mod select;
mod socket;
mod socket_address;
mod socket_messages;
mod socket_options;
mod stat;
mod transfer;

pub use advice::{
    Target as AttributeOf, fadvise64, list_attributes, no_attribute, readahead, set_attribute,
    sync_file_range,
};
pub use anonymous::{
    pidfd_open, pidfd_send_signal, signalfd, signalfd4, timerfd_create, timerfd_gettime, timerfd_settime,
};
pub use attributes::{
    chmod, chown, fchmod, fchmodat, fchmodat2, fchown, fchownat, futimesat, lchown, utime, utimensat, utimes,
};
pub use copy::{copy_file_range, sendfile, splice, tee, vmsplice};
pub use descriptors::{close, close_range, dup, dup2, dup3, fcntl, ioctl};
pub use directories::{chdir, fchdir, getcwd, getdents64, umask};
pub use epoll::{epoll_create, epoll_create1, epoll_ctl, epoll_pwait, epoll_pwait2, epoll_wait};
pub use locks::flock;
pub use memory_file::memfd_create;
pub use names::{
    link, linkat, mkdir, mkdirat, mknod, mknodat, rename, renameat, renameat2, rmdir, symlink, symlinkat,
    unlink, unlinkat,
};
pub use open::{creat, open, openat};
pub use pipe::{eventfd, eventfd2, pipe, pipe2};
pub use poll::{poll, ppoll};
pub use select::{pselect6, select};
pub use socket::{
    accept, accept4, bind, connect, getpeername, getsockname, listen, shutdown, socket, socketpair,
};
pub use socket_messages::{recvfrom, recvmmsg, recvmsg, sendmmsg, sendmsg, sendto};
pub use socket_options::{getsockopt, setsockopt};
pub use stat::{
    access, faccessat, faccessat2, fstat, fstatfs, lstat, newfstatat, readlink, readlinkat, stat, statfs,
    statx,
};
pub use transfer::{
    fallocate, fsync, ftruncate, lseek, pread64, preadv, preadv2, pwrite64, pwritev, pwritev2, read, readv,
    sync, truncate, write, writev,
};

use crate::errno::Errno;
use crate::fs::{Credentials, Dentry, Description, LastLink, Target};
use crate::task::Current;
use crate::user;
use alloc::sync::Arc;
use linux_raw_sys::general::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW};

/// What `descriptor` refers to.
pub(super) fn description(current: &Current, descriptor: i32) -> Result<Arc<Description>, Errno> {
    // Without a share of the table of its own: this is in the path of each read and write.
    current.task.process.files.lock().get(descriptor)
}

/// Where a path starts, and who goes along it.
pub struct Walk {
    from: Arc<Dentry>,
    pub who: Arc<Credentials>,
}

impl Walk {
    pub fn resolve(&self, path: &str, last_link: LastLink) -> Result<Arc<Dentry>, Errno> {
        self.from.resolve(path, last_link, &self.who)
    }

    pub fn resolve_target<'p>(&self, path: &'p str) -> Result<Option<Target<'p>>, Errno> {
        self.from.resolve_target(path, &self.who)
    }
}

/// Relative paths start at the working directory, or at what a descriptor refers to.
fn start(current: &Current, directory: i32, path: &str) -> Result<Walk, Errno> {
    let (working, who) = {
        let context = current.task.process.fs.lock();
        (context.directory().clone(), context.credentials().clone())
    };
    let from = match directory == AT_FDCWD || path.starts_with('/') {
        true => working,
        false => description(current, directory)?.dentry().cloned().ok_or(Errno::ENOTDIR)?,
    };
    Ok(Walk { from, who })
}

/// The place at `path`.
pub(super) fn resolve(
    current: &Current,
    directory: i32,
    path: &str,
    last_link: LastLink,
) -> Result<Arc<Dentry>, Errno> {
    start(current, directory, path)?.resolve(path, last_link)
}

/// As [`resolve`]; with `AT_EMPTY_PATH` in `flags`, an empty path is what `directory` refers to. `AT_SYMLINK_NOFOLLOW` keeps
/// the last link.
fn resolve_at(current: &Current, directory: i32, path: u64, flags: u32) -> Result<Arc<Dentry>, Errno> {
    let path = user::read_path(path)?;
    if path.is_empty() && flags & AT_EMPTY_PATH != 0 {
        return Ok(start(current, directory, &path)?.from);
    }
    resolve(current, directory, &path, last_link(flags & AT_SYMLINK_NOFOLLOW != 0))
}

/// Who the calling process is.
fn credentials(current: &Current) -> Arc<Credentials> {
    current.task.process.fs.lock().credentials().clone()
}

/// `Follow` unless `keep`.
fn last_link(keep: bool) -> LastLink {
    if keep { LastLink::Keep } else { LastLink::Follow }
}
