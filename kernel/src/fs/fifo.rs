//! Pipes with names (man 7 fifo): opening one end waits for the other.

use super::pipe::{self, Pipe};
use super::{File, Metadata, Opening};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::wait::WaitQueue;
use alloc::sync::{Arc, Weak};
use linux_raw_sys::general::{O_ACCMODE, O_NONBLOCK, O_RDONLY, O_WRONLY};

/// What a name leads to: the pipe is there while somebody has it open.
pub struct Fifo {
    pipe: Lock<Weak<Pipe>, { rank::NAMES }>,
    /// Woken when an end is opened.
    opened: WaitQueue,
}

impl Fifo {
    pub fn new() -> Self {
        Self { pipe: Lock::new(Weak::new()), opened: WaitQueue::new() }
    }

    /// The pipe, and the ends that are being opened, which count from now on.
    fn attach(&self, reads: bool, writes: bool, metadata: Metadata) -> Result<Arc<pipe::NamedEnd>, Errno> {
        let mut place = self.pipe.lock();
        let pipe = match place.upgrade() {
            Some(pipe) => pipe,
            None => {
                let pipe = Pipe::without_ends(metadata)?;
                *place = Arc::downgrade(&pipe);
                pipe
            }
        };
        Ok(Arc::new(pipe::NamedEnd::new(pipe, reads, writes)))
    }

    /// # Errors
    /// `ENXIO` for writing without waiting when nobody reads; `RESTART`.
    pub fn open(&self, how: &Opening<'_>, metadata: Metadata) -> Result<Arc<dyn File>, Errno> {
        let mode = how.flags & O_ACCMODE;
        let (reads, writes) = (mode != O_WRONLY, mode != O_RDONLY);
        let nonblocking = how.flags & O_NONBLOCK != 0;
        let end = self.attach(reads, writes, metadata)?;
        if writes && !reads && nonblocking && !end.pipe().has_reader() {
            return Err(Errno::ENXIO);
        }
        self.opened.wake_all();
        if reads && writes || nonblocking {
            return Ok(end);
        }
        // The other end may be gone again when this thread looks, but it was there.
        let before = end.others_before();
        let met = || end.has_met(before).then_some(());
        let current = how.current.ok_or(Errno::ENXIO)?;
        self.opened.wait(current, None, met).map_err(|_| Errno::RESTART)?;
        Ok(end)
    }
}
