//! Standard input and output of the first program when its input is no terminal but whatever is piped into `tine shell`:
//! bytes as they are, with an end.

use super::serial;
use crate::console;
use crate::errno::Errno;
use crate::fs::{DeviceId, File, Kind, Metadata, Readiness, Request, UserBuffer};
use crate::lock::{Lock, rank};
use crate::wait::WaitQueue;
use alloc::{collections::VecDeque, sync::Arc, vec};
use spin::Once;

/// Bytes that are kept until they are read; after that, the sender waits.
const CAPACITY: usize = 4096;
const PIECE: usize = 4096;

pub struct Stream {
    state: Lock<State, { rank::FILE }>,
    readable: WaitQueue,
}

struct State {
    bytes: VecDeque<u8>,
    has_ended: bool,
}

static STREAM: Once<Arc<Stream>> = Once::new();

impl Stream {
    pub fn get() -> Arc<Self> {
        let make = || {
            Arc::new(Self {
                state: Lock::new(State { bytes: VecDeque::new(), has_ended: false }),
                readable: WaitQueue::new(),
            })
        };
        STREAM.call_once(make).clone()
    }

    /// How many bytes there is room for.
    pub(super) fn room(&self) -> usize {
        CAPACITY.saturating_sub(self.state.lock().bytes.len())
    }

    /// Takes bytes from the port, for which there is room.
    pub(super) fn receive(&self, bytes: &[u8]) {
        self.state.lock().bytes.extend(bytes);
        self.readable.wake_all();
    }

    /// No more bytes will come.
    pub(super) fn end(&self) {
        self.state.lock().has_ended = true;
        self.readable.wake_all();
    }

    /// Forgets what nobody has read, when the run is over.
    pub(super) fn discard(&self) {
        self.state.lock().bytes = VecDeque::new();
    }
}

impl File for Stream {
    fn metadata(&self) -> Metadata {
        Metadata::new(Kind::Pipe, 0o600, 1, DeviceId::new(0, 20))
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        if to.remaining() == 0 {
            return Ok(0);
        }
        loop {
            let (bytes, has_ended) = {
                let mut state = self.state.lock();
                let count = to.remaining().min(state.bytes.len());
                let bytes: alloc::vec::Vec<u8> = state.bytes.drain(..count).collect();
                (bytes, state.has_ended)
            };
            if !bytes.is_empty() {
                serial::go_on();
                return to.fill(&bytes);
            }
            if has_ended {
                return Ok(0);
            }
            if request.nonblocking {
                return Err(Errno::EAGAIN);
            }
            let ready = || self.readiness().contains(Readiness::READABLE).then_some(());
            self.readable.wait(request.current, None, ready).map_err(|_| Errno::RESTART)?;
        }
    }

    fn write(&self, _: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        let mut piece = vec![0; PIECE.min(from.remaining())];
        let count = from.drain(&mut piece)?;
        console::write(&piece[..count]);
        Ok(count)
    }

    fn readiness(&self) -> Readiness {
        let state = self.state.lock();
        let mut readiness = Readiness::WRITABLE;
        readiness.set(Readiness::READABLE, !state.bytes.is_empty() || state.has_ended);
        readiness
    }

    fn queues<'f>(&'f self, each: &mut dyn FnMut(&'f WaitQueue)) {
        each(&self.readable);
    }
}
