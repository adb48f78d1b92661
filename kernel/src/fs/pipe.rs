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
    number: u64,
}

struct State {
    ring: Ring,
    has_reader: bool,
    has_writer: bool,
}

impl State {
    fn is_readable(&self) -> bool {
        self.ring.len() > 0 || !self.has_writer
    }

    /// Whether a write that needs `room` bytes at once would not sleep.
    fn is_writable(&self, room: usize) -> bool {
        self.ring.room() >= room || !self.has_reader
    }
}

/// The end that is read.
struct ReadEnd(Arc<Pipe>);
/// The end that is written.
struct WriteEnd(Arc<Pipe>);

/// Makes a pipe: the end to read, and the end to write.
pub fn pipe() -> Result<[Arc<dyn File>; 2], Errno> {
    let state = State { ring: Ring::new(DEFAULT_PAGES)?, has_reader: true, has_writer: true };
    let pipe = Arc::new(Pipe {
        state: Lock::new(state),
        readable: WaitQueue::new(),
        writable: WaitQueue::new(),
        number: NEXT_NUMBER.fetch_add(1, Relaxed),
    });
    Ok([Arc::new(ReadEnd(pipe.clone())), Arc::new(WriteEnd(pipe))])
}

/// What came of an attempt that does not sleep.
enum Attempt {
    Moved(usize),
    WouldBlock,
    /// Nobody is at the other end.
    OtherEndClosed,
}

impl Pipe {
    fn try_read(&self, to: &mut UserBuffer) -> Result<Attempt, Errno> {
        let mut state = self.state.lock();
        if state.ring.len() == 0 {
            return Ok(if state.has_writer { Attempt::WouldBlock } else { Attempt::OtherEndClosed });
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
        if !state.has_reader {
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
        Metadata::new(Kind::Pipe, 0o600, self.number, FILE_SYSTEM)
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
        readiness.set(Readiness::HANG_UP, !state.has_writer);
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
        readiness.set(Readiness::ERROR, !state.has_reader);
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
        self.0.state.lock().has_reader = false;
        self.0.writable.wake_all();
    }
}

impl Drop for WriteEnd {
    fn drop(&mut self) {
        self.0.state.lock().has_writer = false;
        self.0.readable.wake_all();
    }
}
