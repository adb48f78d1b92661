//! Local sockets (man 7 unix): streams, datagrams, and sequenced packets.
//!
//! Each socket has an [`Endpoint`] with a queue of what was sent to it. Who sends puts a message there and wakes the
//! receiver; nothing is in between. Two endpoints that are connected know each other weakly: the end of one is the other's
//! end of file. No two endpoints are locked at once.

mod address;
mod connect;
mod message;
mod receive;
mod send;

pub use address::{Address, Place};
pub use connect::{accept, bind, connect, listen, pair};
pub use message::{Message, Sender};
pub use receive::{Received, receive};
pub use send::{Outgoing, send};

use super::{DeviceId, File, Kind, Metadata, Readiness, Request, UserBuffer};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::task::Current;
use crate::user;
use crate::wait::WaitQueue;
use alloc::{collections::VecDeque, sync::Arc, sync::Weak};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use formats::Duration;
use linux_raw_sys::ioctl::{FIONREAD, TIOCOUTQ};

/// The most bytes on the way to a socket, unless it says otherwise (`/proc/sys/net/core/wmem_default`).
pub const CAPACITY: usize = 212_992;

const FILE_SYSTEM: DeviceId = DeviceId::new(0, 8);
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Stream,
    Datagram,
    SeqPacket,
}

impl Style {
    /// Whether what is written in one call is read in one call.
    fn keeps_bounds(self) -> bool {
        self != Self::Stream
    }

    /// Whether it has to be connected before it can be used.
    fn connects(self) -> bool {
        self != Self::Datagram
    }
}

/// What connects to a socket, or is connected to it.
pub struct Endpoint {
    pub style: Style,
    number: u64,
    state: Lock<State, { rank::FILE }>,
    /// Woken when a message or a connection comes, or none will any more.
    readable: WaitQueue,
    /// Woken when there is room at the peer, or in the queue of connections, or sending has become pointless.
    writable: WaitQueue,
}

struct State {
    role: Role,
    messages: VecDeque<Message>,
    bytes: usize,
    /// Woken senders are all of them for datagrams: they wait at the receiver.
    peer: Weak<Endpoint>,
    address: Option<Arc<Address>>,
    /// Who the peer was when it connected.
    peer_sender: Option<Sender>,
    no_more_in: bool,
    no_more_out: bool,
    /// The socket is closed.
    is_closed: bool,
    /// What the next call reports.
    error: Option<Errno>,
    pub options: Options,
}

enum Role {
    /// Neither connected nor listening.
    Idle,
    Listening {
        backlog: usize,
        waiting: VecDeque<Arc<Endpoint>>,
        /// Who listens.
        sender: Sender,
    },
    Connected,
}

/// What `setsockopt` sets.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub send_room: usize,
    pub receive_room: usize,
    pub passes_credentials: bool,
    pub send_timeout: Option<Duration>,
    pub receive_timeout: Option<Duration>,
}

impl Endpoint {
    fn new(style: Style) -> Arc<Self> {
        Arc::new(Self {
            style,
            number: NEXT_NUMBER.fetch_add(1, Relaxed),
            state: Lock::new(State {
                role: Role::Idle,
                messages: VecDeque::new(),
                bytes: 0,
                peer: Weak::new(),
                address: None,
                peer_sender: None,
                no_more_in: false,
                no_more_out: false,
                is_closed: false,
                error: None,
                options: Options {
                    send_room: CAPACITY,
                    receive_room: CAPACITY,
                    passes_credentials: false,
                    send_timeout: None,
                    receive_timeout: None,
                },
            }),
            readable: WaitQueue::new(),
            writable: WaitQueue::new(),
        })
    }

    fn wake_all(&self) {
        self.readable.wake_all();
        self.writable.wake_all();
    }

    fn peer(&self) -> Option<Arc<Self>> {
        self.state.lock().peer.upgrade()
    }

    pub fn address(&self) -> Option<Arc<Address>> {
        self.state.lock().address.clone()
    }

    /// The name of the peer.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn peer_address(&self) -> Result<Option<Arc<Address>>, Errno> {
        let (peer, is_connected) = {
            let state = self.state.lock();
            (state.peer.upgrade(), matches!(state.role, Role::Connected))
        };
        match peer {
            Some(peer) => Ok(peer.address()),
            None if is_connected && self.style.connects() => Ok(None),
            None => Err(Errno::ENOTCONN),
        }
    }

    /// Who was at the other end when it was connected.
    pub fn peer_sender(&self) -> Option<Sender> {
        self.state.lock().peer_sender
    }

    pub fn is_listening(&self) -> bool {
        matches!(self.state.lock().role, Role::Listening { .. })
    }

    pub fn options(&self) -> Options {
        self.state.lock().options
    }

    pub fn set_options(&self, change: impl FnOnce(&mut Options)) {
        change(&mut self.state.lock().options);
    }

    /// Takes what went wrong since somebody asked last (`SO_ERROR`).
    pub fn take_error(&self) -> Option<Errno> {
        self.state.lock().error.take()
    }

    /// Ends receiving, sending, or both (man 2 shutdown).
    pub fn shut(&self, receiving: bool, sending: bool) {
        let peer = {
            let mut state = self.state.lock();
            state.no_more_in |= receiving;
            state.no_more_out |= sending;
            state.peer.upgrade()
        };
        if let Some(peer) = peer.filter(|_| self.style.connects()) {
            let mut state = peer.state.lock();
            state.no_more_out |= receiving;
            state.no_more_in |= sending;
            drop(state);
            peer.wake_all();
        }
        self.wake_all();
    }

    /// The socket's last descriptor is closed.
    fn close(self: &Arc<Self>) {
        let (role, messages, peer, address) = {
            let mut state = self.state.lock();
            state.is_closed = true;
            state.no_more_in = true;
            state.no_more_out = true;
            let role = core::mem::replace(&mut state.role, Role::Idle);
            state.bytes = 0;
            let peer = core::mem::take(&mut state.peer);
            (role, core::mem::take(&mut state.messages), peer.upgrade(), state.address.take())
        };
        if let Some(address) = &address {
            address::forget(address, self);
        }
        if let Some(peer) = peer {
            let mut state = peer.state.lock();
            if self.style.connects() {
                state.no_more_in = true;
                state.no_more_out = true;
                if !messages.is_empty() {
                    state.error = Some(Errno::ECONNRESET);
                }
            }
            drop(state);
            peer.wake_all();
        }
        // Connections that nobody accepted.
        if let Role::Listening { waiting, .. } = role {
            for endpoint in waiting {
                {
                    let client = endpoint.peer();
                    if let Some(client) = client {
                        client.state.lock().error = Some(Errno::ECONNRESET);
                    }
                }
                endpoint.close();
            }
        }
        self.wake_all();
    }

    fn readiness(&self) -> Readiness {
        let mut readiness = Readiness::empty();
        let (peer, room) = {
            let state = self.state.lock();
            let is_pending = match &state.role {
                Role::Listening { waiting, .. } => !waiting.is_empty(),
                _ => !state.messages.is_empty() || state.no_more_in,
            };
            readiness.set(Readiness::READABLE, is_pending);
            readiness.set(Readiness::PEER_CLOSED, state.no_more_in);
            readiness.set(Readiness::HANG_UP, state.no_more_in && state.no_more_out);
            readiness.set(Readiness::ERROR, state.error.is_some());
            if self.style.connects() && matches!(state.role, Role::Idle) {
                readiness |= Readiness::HANG_UP;
            }
            if matches!(state.role, Role::Listening { .. }) {
                return readiness;
            }
            if state.no_more_out {
                readiness |= Readiness::WRITABLE;
            }
            (state.peer.upgrade(), state.options.send_room)
        };
        let can_write = match peer {
            Some(peer) => peer.state.lock().bytes < room,
            None => true,
        };
        readiness.set(Readiness::WRITABLE, can_write || readiness.contains(Readiness::WRITABLE));
        readiness
    }
}

/// A socket that is open.
pub struct Socket(pub Arc<Endpoint>);

impl Socket {
    pub fn new(style: Style) -> Self {
        Self(Endpoint::new(style))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl File for Socket {
    fn metadata(&self) -> Metadata {
        Metadata::new(Kind::Socket, 0o777, self.0.number, FILE_SYSTEM)
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        // What else comes with the bytes is dropped.
        Ok(receive(&self.0, request, to, receive::Manner::default())?.count)
    }

    fn write(&self, request: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        send(&self.0, request, from, Outgoing::default())
    }

    fn readiness(&self) -> Readiness {
        self.0.readiness()
    }

    fn queues<'f>(&'f self, each: &mut dyn FnMut(&'f WaitQueue)) {
        each(&self.0.readable);
        each(&self.0.writable);
    }

    /// `FIONREAD`: bytes that can be read; `TIOCOUTQ`: bytes that the peer has not read.
    fn ioctl(&self, _: &Current, command: u32, argument: u64) -> Result<u64, Errno> {
        let count = match command {
            FIONREAD if self.0.is_listening() => return Err(Errno::EINVAL),
            FIONREAD if self.0.style.keeps_bounds() => {
                self.0.state.lock().messages.front().map_or(0, Message::len)
            }
            FIONREAD => self.0.state.lock().bytes,
            TIOCOUTQ => self.0.peer().map_or(0, |peer| peer.state.lock().bytes),
            _ => return Err(Errno::ENOTTY),
        };
        user::write(argument, &(count as i32))?;
        Ok(0)
    }
}

pub use receive::Manner;
