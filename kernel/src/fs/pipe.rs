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
use alloc::{sync::Arc, vec::Vec};
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
pub(super) struct ReadEnd(Arc<Pipe>);
/// The end that is written.
pub(super) struct WriteEnd(Arc<Pipe>);

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

    pub(super) fn read_end(self: &Arc<Self>) -> ReadEnd {
        let mut state = self.state.lock();
        state.readers += 1;
        state.readers_ever += 1;
        drop(state);
        ReadEnd(self.clone())
    }

    pub(super) fn write_end(self: &Arc<Self>) -> WriteEnd {
        let mut state = self.state.lock();
        state.writers += 1;
        state.writers_ever += 1;
        drop(state);
        WriteEnd(self.clone())
    }

    pub fn has_reader(&self) -> bool {
        self.state.lock().readers > 0
    }

    /// How often the end that is read, and the end that is written, has been opened; and how many of those are open.
    pub(super) fn ends(&self) -> [(u64, u32); 2] {
        let state = self.state.lock();
        [(state.readers_ever, state.readers), (state.writers_ever, state.writers)]
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

    pub(super) fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
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

    pub(super) fn write(&self, request: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
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

    pub(super) fn metadata(&self) -> Metadata {
        self.metadata
    }

    /// Copies of the first bytes, at most `most`, for `tee`; none when nobody will write any more.
    ///
    /// # Errors
    /// `EAGAIN`, `RESTART`, `ENOMEM`.
    pub fn peek(&self, current: &Current, most: usize, nonblocking: bool) -> Result<Vec<u8>, Errno> {
        let ready = || self.state.lock().is_readable().then_some(());
        if nonblocking {
            ready().ok_or(Errno::EAGAIN)?;
        } else {
            self.readable.wait(current, None, ready).map_err(|_| Errno::RESTART)?;
        }
        let mut state = self.state.lock();
        let mut bytes = Vec::new();
        let len = most.min(state.ring.len());
        bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(len, 0);
        state.ring.peek(&mut bytes)?;
        Ok(bytes)
    }

    /// `FIONREAD`: how many bytes can be read.
    pub(super) fn ioctl(&self, command: u32, argument: u64) -> Result<u64, Errno> {
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

impl ReadEnd {
    pub(super) fn pipe(&self) -> &Arc<Pipe> {
        &self.0
    }
}

impl WriteEnd {
    pub(super) fn pipe(&self) -> &Arc<Pipe> {
        &self.0
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
