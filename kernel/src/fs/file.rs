//! What can be read, written and waited for through a descriptor.

use super::{Credentials, Inode, Metadata, OpenDirectory, Pipe, UserBuffer};
use crate::errno::Errno;
use crate::task::Current;
use crate::wait::WaitQueue;
use alloc::sync::Arc;
use bitflags::bitflags;
use linux_raw_sys::general as linux;

bitflags! {
    /// What a file is ready for, as `poll` says it (man 2 poll).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Readiness: u32 {
        const READABLE = linux::POLLIN | linux::POLLRDNORM;
        const WRITABLE = linux::POLLOUT | linux::POLLWRNORM;
        const URGENT = linux::POLLPRI;
        const ERROR = linux::POLLERR;
        const HANG_UP = linux::POLLHUP;
        const INVALID = linux::POLLNVAL;
        const PEER_CLOSED = linux::POLLRDHUP;
        const BANDS = linux::POLLRDBAND | linux::POLLWRBAND;
    }
}

impl Readiness {
    /// Reported whether asked for or not.
    pub const ALWAYS: Self = Self::ERROR.union(Self::HANG_UP).union(Self::INVALID);
}

/// How to read or write.
pub struct Request<'c> {
    pub current: &'c Current,
    /// Where in the file, in bytes. Only files on which seeking is possible look at it.
    pub offset: u64,
    /// Fail with `EAGAIN` instead of sleeping.
    pub nonblocking: bool,
    /// Write at the end, wherever that is by then.
    pub appends: bool,
}

impl<'c> Request<'c> {
    /// For a file on which seeking is impossible.
    pub fn unplaced(current: &'c Current, nonblocking: bool) -> Self {
        Self { current, offset: 0, nonblocking, appends: false }
    }

    pub fn credentials(&self) -> Arc<Credentials> {
        self.current.task.process.fs.lock().credentials().clone()
    }
}

/// How a file is being opened.
pub struct Opening<'c> {
    /// Who waits if that is necessary; `None`: nobody.
    pub current: Option<&'c Current>,
    /// Those of `open`.
    pub flags: u32,
}

/// What an offset means to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeking {
    /// Nothing, and setting one is an error: bytes come and go in order.
    Impossible,
    /// Nothing, but it may be set: each place looks the same.
    Pointless,
    /// The place of the next byte.
    Possible,
}

/// The file behind open file descriptions.
///
/// Reading and writing move at most what the buffer takes or holds and say how much it was. An operation that sleeps
/// returns `RESTART` when a signal comes before it has moved anything.
pub trait File: core::any::Any + Send + Sync {
    fn metadata(&self) -> Metadata;

    fn seeking(&self) -> Seeking {
        Seeking::Impossible
    }

    /// Called once it has been opened by its name, with the flags of `open`.
    ///
    /// # Errors
    /// Why it cannot be opened by this thread.
    fn opened(&self, current: &Current, flags: u32) -> Result<(), Errno> {
        let _ = (current, flags);
        Ok(())
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        let _ = (request, to);
        Err(Errno::EINVAL)
    }

    fn write(&self, request: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        let _ = (request, from);
        Err(Errno::EINVAL)
    }

    /// Called after each successful write, when no lock is held: waits for what was written to take effect.
    fn settle(&self, current: &Current) {
        let _ = current;
    }

    /// What a reader or writer would not have to wait for. A file that never blocks is always ready.
    fn readiness(&self) -> Readiness {
        Readiness::READABLE | Readiness::WRITABLE
    }

    /// Shows each queue that is woken when [`Self::readiness`] grows.
    fn queues<'f>(&'f self, each: &mut dyn FnMut(&'f WaitQueue)) {
        let _ = each;
    }

    fn ioctl(&self, current: &Current, command: u32, argument: u64) -> Result<u64, Errno> {
        let _ = (current, command, argument);
        Err(Errno::ENOTTY)
    }

    /// The pages to map; `None`: it cannot be mapped.
    fn object(&self) -> Option<Arc<mm::Object>> {
        None
    }

    /// Asked before it is mapped: whether that is allowed. `writes` says that the mapping changes the file for all to see,
    /// `may_write` that it may become such a one.
    fn check_mapping(&self, writes: bool, may_write: bool) -> Result<(), Errno> {
        let _ = (writes, may_write);
        Ok(())
    }

    /// The inode, of a file that has no description with a place.
    fn as_inode(&self) -> Option<Arc<dyn Inode>> {
        None
    }

    /// What `/proc/PID/fd` calls it, if it has neither a name nor a kind of its own.
    fn label(&self) -> &'static str {
        ""
    }

    fn as_directory(&self) -> Option<&OpenDirectory> {
        None
    }

    fn as_pipe(&self) -> Option<&Pipe> {
        None
    }
}
