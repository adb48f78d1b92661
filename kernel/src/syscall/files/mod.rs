//! System calls on files. What files are is [`crate::fs`]; here are the manual's functions, flags and structures.

mod anonymous;
mod descriptors;
mod directories;
mod epoll;
mod names;
mod open;
mod pipe;
mod poll;
mod select;
mod socket;
mod stat;
mod transfer;

pub use anonymous::{
    pidfd_open, pidfd_send_signal, signalfd, signalfd4, timerfd_create, timerfd_gettime, timerfd_settime,
};
pub use descriptors::{close, close_range, dup, dup2, dup3, fcntl, ioctl};
pub use directories::{chdir, fchdir, getcwd, getdents64, umask};
pub use epoll::{epoll_create, epoll_create1, epoll_ctl, epoll_pwait, epoll_pwait2, epoll_wait};
pub use names::{
    link, linkat, mkdir, mkdirat, rename, renameat, renameat2, rmdir, symlink, symlinkat, unlink, unlinkat,
};
pub use open::{creat, open, openat};
pub use pipe::{eventfd, eventfd2, pipe, pipe2};
pub use poll::{poll, ppoll};
pub use select::{pselect6, select};
pub use socket::{recvfrom, sendto, shutdown, socketpair};
pub use stat::{
    access, faccessat, faccessat2, fstat, fstatfs, lstat, newfstatat, readlink, readlinkat, stat, statfs,
    statx,
};
pub use transfer::{
    fsync, ftruncate, lseek, pread64, preadv, pwrite64, pwritev, read, readv, sync, truncate, write, writev,
};

use crate::errno::Errno;
use crate::fs::{Dentry, Description, LastLink};
use crate::task::Current;
use alloc::sync::Arc;
use linux_raw_sys::general::AT_FDCWD;

/// What `descriptor` refers to.
pub(super) fn description(current: &Current, descriptor: i32) -> Result<Arc<Description>, Errno> {
    // Without a share of the table of its own: this is in the path of each read and write.
    current.task.process.files.lock().get(descriptor)
}

/// Where relative paths start: the working directory, or what a descriptor refers to.
fn start(current: &Current, directory: i32, path: &str) -> Result<Arc<Dentry>, Errno> {
    if directory == AT_FDCWD || path.starts_with('/') {
        return Ok(current.task.process.fs.lock().directory().clone());
    }
    description(current, directory)?.dentry().cloned().ok_or(Errno::ENOTDIR)
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

/// `Follow` unless `keep`.
fn last_link(keep: bool) -> LastLink {
    if keep { LastLink::Keep } else { LastLink::Follow }
}
