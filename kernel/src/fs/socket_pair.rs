//! Connected pairs of local sockets (man 2 socketpair, man 7 unix).
//!
//! Two queues of messages, one for each way. A stream socket reads across the messages' bounds, the others do not. There
//! are no addresses, no other families, and no descriptors in messages.

use super::{DeviceId, File, Kind, Metadata, Readiness, Request, UserBuffer};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::signal::{self, SigInfo, Signal};
use crate::wait::WaitQueue;
use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The most bytes on the way in one direction (`/proc/sys/net/core/wmem_default`).
const CAPACITY: usize = 212_992;
/// The most bytes of a stream that make one message.
const STREAM_PIECE: usize = 32 << 10;

const FILE_SYSTEM: DeviceId = DeviceId::new(0, 8);
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// Whether what is written in one call is read in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// `SOCK_STREAM`.
    None,
    /// `SOCK_SEQPACKET`, `SOCK_DGRAM`.
    Kept,
}

/// One way.
struct Channel {
    state: Lock<State, { rank::FILE }>,
    /// Woken when a message comes or the sender goes.
    readable: WaitQueue,
    /// Woken when a message goes or the receiver goes.
    writable: WaitQueue,
}

struct State {
    /// What is left of each message.
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
    has_receiver: bool,
    has_sender: bool,
}

impl State {
    fn is_readable(&self) -> bool {
        !self.messages.is_empty() || !self.has_sender || !self.has_receiver
    }

    fn is_writable(&self, room: usize) -> bool {
        CAPACITY.saturating_sub(self.bytes) >= room || !self.has_sender || !self.has_receiver
    }
}

impl State {
    /// Moves bytes to the user, from one message or from as many as there are. There is at least one.
    fn take(&mut self, to: &mut UserBuffer, bounds: Bounds, peek: bool) -> Result<usize, Errno> {
        if peek {
            return to.fill(&self.messages[0]);
        }
        if bounds == Bounds::Kept {
            let count = to.fill(&self.messages[0])?;
            // What the user's memory had no room for is lost.
            self.bytes -= self.messages.pop_front().map_or(0, |message| message.len());
            return Ok(count);
        }
        let mut done = 0;
        while to.remaining() > 0
            && let Some(message) = self.messages.front_mut()
        {
            let count = to.fill(message)?;
            message.drain(..count);
            let is_used_up = message.is_empty();
            self.bytes -= count;
            done += count;
            if !is_used_up {
                break;
            }
            self.messages.pop_front();
        }
        Ok(done)
    }
}

impl Channel {
    fn new() -> Arc<Self> {
        let state = State { messages: VecDeque::new(), bytes: 0, has_receiver: true, has_sender: true };
        Arc::new(Self { state: Lock::new(state), readable: WaitQueue::new(), writable: WaitQueue::new() })
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.readable.wake_all();
        self.writable.wake_all();
    }
}

/// One of the two sockets.
pub struct Socket {
    incoming: Arc<Channel>,
    outgoing: Arc<Channel>,
    bounds: Bounds,
    number: u64,
}

/// Makes two sockets that are connected to each other.
pub fn socket_pair(bounds: Bounds) -> [Arc<Socket>; 2] {
    let ways = [Channel::new(), Channel::new()];
    let socket = |incoming: usize| {
        let (incoming, outgoing) = (ways[incoming].clone(), ways[1 - incoming].clone());
        Arc::new(Socket { incoming, outgoing, bounds, number: NEXT_NUMBER.fetch_add(1, Relaxed) })
    };
    [socket(0), socket(1)]
}

impl Socket {
    /// Receives as `read` does; with `peek`, what was received stays there for the next one.
    ///
    /// # Errors
    /// `EAGAIN`, `RESTART`, `EFAULT`.
    pub fn receive(&self, request: &Request<'_>, to: &mut UserBuffer, peek: bool) -> Result<usize, Errno> {
        let channel = &self.incoming;
        let ready = || channel.state.lock().is_readable().then_some(());
        loop {
            let mut state = channel.state.lock();
            if !state.messages.is_empty() {
                let count = state.take(to, self.bounds, peek)?;
                drop(state);
                channel.writable.wake_for(Readiness::WRITABLE);
                return Ok(count);
            }
            let has_ended = state.is_readable();
            drop(state);
            if has_ended {
                return Ok(0);
            }
            if request.nonblocking {
                return Err(Errno::EAGAIN);
            }
            channel.readable.wait(request.current, None, ready).map_err(|_| Errno::RESTART)?;
        }
    }

    /// Sends as `write` does; `signal` says whether a socket that nobody reads raises SIGPIPE.
    ///
    /// # Errors
    /// `EPIPE`, `EAGAIN`, `RESTART`, `EFAULT`, `EMSGSIZE`, `ENOMEM`.
    pub fn send(&self, request: &Request<'_>, from: &mut UserBuffer, signal: bool) -> Result<usize, Errno> {
        let total = from.remaining();
        if self.bounds == Bounds::Kept {
            return if total <= CAPACITY {
                self.send_message(request, from, total, signal)
            } else {
                Err(Errno::EMSGSIZE)
            };
        }
        let mut done = 0;
        while done < total {
            match self.send_message(request, from, STREAM_PIECE.min(from.remaining()), signal) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn send_message(
        &self,
        request: &Request<'_>,
        from: &mut UserBuffer,
        len: usize,
        signal: bool,
    ) -> Result<usize, Errno> {
        let channel = &self.outgoing;
        let ready = || channel.state.lock().is_writable(len).then_some(());
        if request.nonblocking {
            ready().ok_or(Errno::EAGAIN)?;
        } else {
            channel.writable.wait(request.current, None, ready).map_err(|_| Errno::RESTART)?;
        }
        let mut message = Vec::new();
        message.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        message.resize(len, 0);
        let count = from.drain(&mut message)?;
        message.truncate(count);
        let mut state = channel.state.lock();
        if !state.has_receiver || !state.has_sender {
            drop(state);
            if signal {
                // A standard signal can always be made pending.
                let _ = signal::send_to_thread(&request.current.task, SigInfo::from_kernel(Signal::PIPE));
            }
            return Err(Errno::EPIPE);
        }
        state.messages.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        state.bytes += count;
        state.messages.push_back(message);
        drop(state);
        channel.readable.wake_for(Readiness::READABLE);
        Ok(count)
    }

    /// Receives nothing more: the other socket gets `EPIPE` (man 2 shutdown).
    pub fn shut_receiving(&self) {
        self.incoming.change(|state| state.has_receiver = false);
    }

    /// Sends nothing more: the other socket finds the end after what is on the way.
    pub fn shut_sending(&self) {
        self.outgoing.change(|state| state.has_sender = false);
    }
}

impl File for Socket {
    fn metadata(&self) -> Metadata {
        Metadata::new(Kind::Socket, 0o777, self.number, FILE_SYSTEM)
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        self.receive(request, to, false)
    }

    fn write(&self, request: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        self.send(request, from, true)
    }

    fn readiness(&self) -> Readiness {
        let mut readiness = Readiness::empty();
        let incoming = self.incoming.state.lock();
        readiness.set(Readiness::READABLE, incoming.is_readable());
        let (no_more_in, gone) = (!incoming.has_sender || !incoming.has_receiver, !incoming.has_sender);
        drop(incoming);
        let outgoing = self.outgoing.state.lock();
        readiness.set(Readiness::WRITABLE, outgoing.is_writable(1));
        let no_more_out = !outgoing.has_receiver || !outgoing.has_sender;
        drop(outgoing);
        readiness.set(Readiness::HANG_UP, no_more_in && no_more_out);
        readiness.set(Readiness::PEER_CLOSED, gone);
        readiness
    }

    fn queues<'f>(&'f self, each: &mut dyn FnMut(&'f WaitQueue)) {
        each(&self.incoming.readable);
        each(&self.outgoing.writable);
    }

    fn as_socket(&self) -> Option<&Socket> {
        Some(self)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.shut_receiving();
        self.shut_sending();
    }
}
