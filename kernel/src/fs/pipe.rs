//! Pipes (man 7 pipe).
//!
//! A ring of bytes between two files, one for each end. Copies go directly between user memory and the ring. Readers
//! sleep only on an empty pipe and are woken when it gets its first bytes; writers sleep when there is no room and are
//! woken when `PIPE_BUF` bytes are free, so that neither end switches back and forth for each byte.

use super::ring::Ring;
use super::{DeviceId, File, Kind, Metadata, Readiness, Request, UserBuffer};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::signal::{self, SigInfo, Signal};
use crate::task::Current;
use crate::user;
use crate::wait::WaitQueue;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use linux_raw_sys::ioctl::FIONREAD;
use mm::PAGE;

/// Writes of up to this many bytes are not mixed with others (`linux/limits.h`).
const PIPE_BUF: usize = 4096;
/// 64 KiB (man 7 pipe).
const DEFAULT_PAGES: usize = 16;
/// The largest capacity that `F_SETPIPE_SZ` gives: 1 MiB (`/proc/sys/fs/pipe-max-size`).
const MOST_PAGES: usize = 256;

/// The file system of pipes, which have no names.
const FILE_SYSTEM: DeviceId = DeviceId::new(0, 13);
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

pub struct Pipe {
    state: Lock<State, { rank::FILE }>,
    /// Woken when bytes come or the last writer goes.
    readable: WaitQueue,
    /// Woken when room comes or the last reader goes.
    writable: WaitQueue,
    metadata: Metadata,
}

struct State {
    ring: Ring,
    /// Open ends.
    readers: u32,
    writers: u32,
    /// How often an end has been opened.
    readers_ever: u64,
    writers_ever: u64,
}

impl State {
    fn is_readable(&self) -> bool {
        self.ring.len() > 0 || self.writers == 0
    }

    /// Whether a write that needs `room` bytes at once would not sleep.
    fn is_writable(&self, room: usize) -> bool {
        self.ring.room() >= room || self.readers == 0
    }
}

/// The end that is read.
struct ReadEnd(Arc<Pipe>);
/// The end that is written.
struct WriteEnd(Arc<Pipe>);

/// One or both ends of a pipe that has a name.
pub struct NamedEnd {
    reader: Option<ReadEnd>,
    writer: Option<WriteEnd>,
    /// How many writers had come when it was opened: without a new one, there is no hang-up to see.
    writers_before: u64,
}

/// Makes a pipe: the end to read, and the end to write.
pub fn pipe() -> Result<[Arc<dyn File>; 2], Errno> {
    let number = NEXT_NUMBER.fetch_add(1, Relaxed);
    let pipe = Pipe::without_ends(Metadata::new(Kind::Pipe, 0o600, number, FILE_SYSTEM))?;
    Ok([Arc::new(pipe.read_end()), Arc::new(pipe.write_end())])
}

/// What came of an attempt that does not sleep.
enum Attempt {
    Moved(usize),
    WouldBlock,
    /// Nobody is at the other end.
    OtherEndClosed,
}

impl Pipe {
    /// A pipe that nobody has open yet.
    pub fn without_ends(metadata: Metadata) -> Result<Arc<Self>, Errno> {
        let ring = Ring::new(DEFAULT_PAGES)?;
        let state = State { ring, readers: 0, writers: 0, readers_ever: 0, writers_ever: 0 };
        Ok(Arc::new(Self {
            state: Lock::new(state),
            readable: WaitQueue::new(),
            writable: WaitQueue::new(),
            metadata,
        }))
    }

    fn read_end(self: &Arc<Self>) -> ReadEnd {
        let mut state = self.state.lock();
        state.readers += 1;
        state.readers_ever += 1;
        drop(state);
        ReadEnd(self.clone())
    }

    fn write_end(self: &Arc<Self>) -> WriteEnd {
        let mut state = self.state.lock();
        state.writers += 1;
        state.writers_ever += 1;
        drop(state);
        WriteEnd(self.clone())
    }

    pub fn has_reader(&self) -> bool {
        self.state.lock().readers > 0
    }

    fn try_read(&self, to: &mut UserBuffer) -> Result<Attempt, Errno> {
        let mut state = self.state.lock();
        if state.ring.len() == 0 {
            return Ok(if state.writers > 0 { Attempt::WouldBlock } else { Attempt::OtherEndClosed });
        }
        let was_full = state.ring.room() < PIPE_BUF;
        let count = state.ring.drain_to(to)?;
        let is_full = state.ring.room() < PIPE_BUF;
        drop(state);
        if was_full && !is_full {
            self.writable.wake_for(Readiness::WRITABLE);
        }
        Ok(Attempt::Moved(count))
    }

    fn try_write(&self, from: &mut UserBuffer, needed: usize) -> Result<Attempt, Errno> {
        let mut state = self.state.lock();
        if state.readers == 0 {
            return Ok(Attempt::OtherEndClosed);
        }
        if state.ring.room() < needed {
            return Ok(Attempt::WouldBlock);
        }
        let was_empty = state.ring.len() == 0;
        let count = state.ring.fill_from(from)?;
        drop(state);
        if was_empty && count > 0 {
            self.readable.wake_for(Readiness::READABLE);
        } else {
            // Edge-triggered event polls hear of each write.
            self.readable.watchers.tell(Readiness::READABLE);
        }
        Ok(Attempt::Moved(count))
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        if to.remaining() == 0 {
            return Ok(0);
        }
        loop {
            match self.try_read(to)? {
                Attempt::Moved(count) => return Ok(count),
                Attempt::OtherEndClosed => return Ok(0),
                Attempt::WouldBlock if request.nonblocking => return Err(Errno::EAGAIN),
                Attempt::WouldBlock => {}
            }
            let ready = || self.state.lock().is_readable().then_some(());
            self.readable.wait(request.current, None, ready).map_err(|_| Errno::RESTART)?;
        }
    }

    fn write(&self, request: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        let needed = if from.remaining() <= PIPE_BUF { from.remaining() } else { 1 };
        let mut done = 0;
        while from.remaining() > 0 {
            let error = match self.try_write(from, needed) {
                // A bad address further on: what could be read was written.
                Ok(Attempt::Moved(0)) => break,
                Ok(Attempt::Moved(count)) => {
                    done += count;
                    continue;
                }
                Ok(Attempt::OtherEndClosed) => {
                    // A standard signal can always be made pending.
                    let _ = signal::send_to_thread(&request.current.task, SigInfo::from_kernel(Signal::PIPE));
                    Errno::EPIPE
                }
                Ok(Attempt::WouldBlock) if request.nonblocking => Errno::EAGAIN,
                Ok(Attempt::WouldBlock) => {
                    let ready = || self.state.lock().is_writable(needed).then_some(());
                    match self.writable.wait(request.current, None, ready) {
                        Ok(()) => continue,
                        Err(_) => Errno::RESTART,
                    }
                }
                Err(error) => error,
            };
            return if done > 0 { Ok(done) } else { Err(error) };
        }
        Ok(done)
    }

    fn metadata(&self) -> Metadata {
        self.metadata
    }

    /// `FIONREAD`: how many bytes can be read.
    fn ioctl(&self, command: u32, argument: u64) -> Result<u64, Errno> {
        match command {
            FIONREAD => {
                let count = self.state.lock().ring.len();
                user::write(argument, &(count as i32))?;
                Ok(0)
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    /// The most bytes that can be in the pipe.
    pub fn capacity(&self) -> usize {
        self.state.lock().ring.capacity()
    }

    /// Sets the capacity to a power of two of pages, at least `bytes`, and returns it (man 2 fcntl, `F_SETPIPE_SZ`).
    ///
    /// # Errors
    /// `EPERM` beyond 1 MiB, `EBUSY` when there are more bytes in it, `ENOMEM`.
    pub fn set_capacity(&self, bytes: usize) -> Result<usize, Errno> {
        let pages = bytes.div_ceil(PAGE).max(1);
        if pages > MOST_PAGES {
            return Err(Errno::EPERM);
        }
        let mut state = self.state.lock();
        state.ring.resize(pages.next_power_of_two())?;
        let capacity = state.ring.capacity();
        drop(state);
        self.writable.wake_all();
        Ok(capacity)
    }
}

impl File for ReadEnd {
    fn metadata(&self) -> Metadata {
        self.0.metadata()
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        self.0.read(request, to)
    }

    fn readiness(&self) -> Readiness {
        let state = self.0.state.lock();
        let mut readiness = Readiness::empty();
        readiness.set(Readiness::READABLE, state.ring.len() > 0);
        readiness.set(Readiness::HANG_UP, state.writers == 0);
        readiness
    }

    fn queues<'f>(&'f self, each: &mut dyn FnMut(&'f WaitQueue)) {
        each(&self.0.readable);
    }

    fn ioctl(&self, _: &Current, command: u32, argument: u64) -> Result<u64, Errno> {
        self.0.ioctl(command, argument)
    }

    fn as_pipe(&self) -> Option<&Pipe> {
        Some(&self.0)
    }
}

impl File for WriteEnd {
    fn metadata(&self) -> Metadata {
        self.0.metadata()
    }

    fn write(&self, request: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        self.0.write(request, from)
    }

    fn readiness(&self) -> Readiness {
        let state = self.0.state.lock();
        let mut readiness = Readiness::empty();
        readiness.set(Readiness::WRITABLE, state.ring.room() >= PIPE_BUF);
        readiness.set(Readiness::ERROR, state.readers == 0);
        readiness
    }

    fn queues<'f>(&'f self, each: &mut dyn FnMut(&'f WaitQueue)) {
        each(&self.0.writable);
    }

    fn ioctl(&self, _: &Current, command: u32, argument: u64) -> Result<u64, Errno> {
        self.0.ioctl(command, argument)
    }

    fn as_pipe(&self) -> Option<&Pipe> {
        Some(&self.0)
    }
}

impl Drop for ReadEnd {
    fn drop(&mut self) {
        self.0.state.lock().readers -= 1;
        self.0.writable.wake_all();
    }
}

impl Drop for WriteEnd {
    fn drop(&mut self) {
        self.0.state.lock().writers -= 1;
        self.0.readable.wake_all();
    }
}

impl NamedEnd {
    pub fn new(pipe: Arc<Pipe>, reads: bool, writes: bool) -> Self {
        let writers_before = pipe.state.lock().writers_ever;
        let reader = reads.then(|| pipe.read_end());
        let writer = writes.then(|| pipe.write_end());
        Self { reader, writer, writers_before }
    }

    pub fn pipe(&self) -> &Arc<Pipe> {
        match (&self.reader, &self.writer) {
            (Some(ReadEnd(pipe)), _) | (None, Some(WriteEnd(pipe))) => pipe,
            (None, None) => unreachable!("an end reads or writes"),
        }
    }

    /// How many had opened the other end, without those who had closed it again.
    pub fn others_before(&self) -> u64 {
        let state = self.pipe().state.lock();
        match self.reader {
            Some(_) => state.writers_ever - u64::from(state.writers),
            None => state.readers_ever - u64::from(state.readers),
        }
    }

    /// Whether somebody has, or has had since, the other end open.
    pub fn has_met(&self, before: u64) -> bool {
        let state = self.pipe().state.lock();
        let ever = if self.reader.is_some() { state.writers_ever } else { state.readers_ever };
        ever > before
    }
}

impl File for NamedEnd {
    fn metadata(&self) -> Metadata {
        self.pipe().metadata
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
            if reader.0.state.lock().writers_ever == self.writers_before {
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
