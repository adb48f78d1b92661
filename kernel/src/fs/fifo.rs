//! Pipes with names (man 7 fifo): opening one end waits for the other.

use super::pipe::{Pipe, ReadEnd, WriteEnd};
use super::{File, Metadata, Opening, Readiness, Request, UserBuffer};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::task::Current;
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
    fn attach(&self, reads: bool, writes: bool, metadata: Metadata) -> Result<Arc<NamedEnd>, Errno> {
        let mut place = self.pipe.lock();
        let pipe = match place.upgrade() {
            Some(pipe) => pipe,
            None => {
                let pipe = Pipe::without_ends(metadata)?;
                *place = Arc::downgrade(&pipe);
                pipe
            }
        };
        Ok(Arc::new(NamedEnd::new(pipe, reads, writes)))
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

/// One or both ends of a pipe that has a name.
pub struct NamedEnd {
    reader: Option<ReadEnd>,
    writer: Option<WriteEnd>,
    /// How many writers had come when it was opened: without a new one, there is no hang-up to see.
    writers_before: u64,
}

impl NamedEnd {
    pub fn new(pipe: Arc<Pipe>, reads: bool, writes: bool) -> Self {
        let [_, (writers_before, _)] = pipe.ends();
        let reader = reads.then(|| pipe.read_end());
        let writer = writes.then(|| pipe.write_end());
        Self { reader, writer, writers_before }
    }

    pub fn pipe(&self) -> &Arc<Pipe> {
        match (&self.reader, &self.writer) {
            (Some(reader), _) => reader.pipe(),
            (None, Some(writer)) => writer.pipe(),
            (None, None) => unreachable!("an end reads or writes"),
        }
    }

    /// How many had opened the other end, without those who had closed it again.
    pub fn others_before(&self) -> u64 {
        let (ever, now) = self.other_ends();
        ever - u64::from(now)
    }

    fn other_ends(&self) -> (u64, u32) {
        let [readers, writers] = self.pipe().ends();
        if self.reader.is_some() { writers } else { readers }
    }

    /// Whether somebody has, or has had since, the other end open.
    pub fn has_met(&self, before: u64) -> bool {
        self.other_ends().0 > before
    }
}

impl File for NamedEnd {
    fn metadata(&self) -> Metadata {
        self.pipe().metadata()
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        self.pipe().read(request, to)
    }

    fn write(&self, request: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        self.pipe().write(request, from)
    }

    fn readiness(&self) -> Readiness {
        let mut readiness = Readiness::empty();
        if let Some(reader) = &self.reader {
            readiness |= reader.readiness();
            let [_, (writers, _)] = self.pipe().ends();
            if writers == self.writers_before {
                readiness.remove(Readiness::HANG_UP);
            }
        }
        if let Some(writer) = &self.writer {
            readiness |= writer.readiness();
        }
        readiness
    }

    fn queues<'f>(&'f self, each: &mut dyn FnMut(&'f WaitQueue)) {
        if let Some(reader) = &self.reader {
            reader.queues(each);
        }
        if let Some(writer) = &self.writer {
            writer.queues(each);
        }
    }

    fn ioctl(&self, _: &Current, command: u32, argument: u64) -> Result<u64, Errno> {
        self.pipe().ioctl(command, argument)
    }

    fn as_pipe(&self) -> Option<&Pipe> {
        Some(self.pipe())
    }
}
