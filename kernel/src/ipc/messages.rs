//! Message queues (man 2 msgget, msgsnd, msgrcv).

use super::{Permissions, Registry, seconds};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::task::{Current, ProcessId};
use crate::wait::{WaitQueue, Woken};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The most queues, the longest message, and the bytes of a queue if nobody wants another number (man 2 msgget).
pub const MOST: usize = 32_000;
pub const LONGEST: usize = 8192;
pub const CAPACITY: u64 = 16_384;

/// `struct msqid64_ds`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Status {
    pub permissions: Permissions,
    pub sent_at: i64,
    pub received_at: i64,
    pub changed_at: i64,
    pub bytes: u64,
    pub messages: u64,
    pub capacity: u64,
    pub last_sender: u32,
    pub last_receiver: u32,
    unused: [u64; 2],
}

pub struct Message {
    /// At least 1.
    pub kind: i64,
    pub text: Vec<u8>,
}

/// Which message a receiver wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    First,
    OfKind(i64),
    NotOfKind(i64),
    /// Of the lowest kind, up to this.
    Lowest(i64),
}

impl Wanted {
    fn find(self, messages: &VecDeque<Message>) -> Option<usize> {
        match self {
            Self::First => (!messages.is_empty()).then_some(0),
            Self::OfKind(kind) => messages.iter().position(|message| message.kind == kind),
            Self::NotOfKind(kind) => messages.iter().position(|message| message.kind != kind),
            Self::Lowest(most) => {
                let fitting = messages.iter().enumerate().filter(|(_, message)| message.kind <= most);
                fitting.min_by_key(|(at, message)| (message.kind, *at)).map(|(at, _)| at)
            }
        }
    }
}

pub struct Queue {
    state: Lock<State, { rank::IPC }>,
    changed: WaitQueue,
}

struct State {
    status: Status,
    messages: VecDeque<Message>,
    is_removed: bool,
}

static QUEUES: Registry<Queue> = Registry::new(MOST);

pub fn get(key: i32, flags: u32) -> Result<i32, Errno> {
    let make = || {
        let permissions = Permissions::new(key, flags);
        let status = Status { permissions, changed_at: seconds(), capacity: CAPACITY, ..Status::default() };
        let state = State { status, messages: VecDeque::new(), is_removed: false };
        Ok(Queue { state: Lock::new(state), changed: WaitQueue::new() })
    };
    QUEUES.get_or_make(key, flags, |_| Ok(()), make)
}

pub fn queue(id: i32) -> Result<Arc<Queue>, Errno> {
    QUEUES.get(id)
}

/// The queue at a place of the table, and its id.
pub fn at(place: i32) -> Result<(i32, Arc<Queue>), Errno> {
    QUEUES.at(place).ok_or(Errno::EINVAL)
}

/// How many queues, messages and bytes there are, and the highest place.
pub fn totals() -> (usize, u64, u64, usize) {
    let (count, highest) = QUEUES.count();
    let all = QUEUES.all();
    let statuses = all.iter().map(|queue| queue.status());
    let (messages, bytes) =
        statuses.fold((0, 0), |(messages, bytes), status| (messages + status.messages, bytes + status.bytes));
    (count, messages, bytes, highest)
}

/// Removes a queue. Those that wait are told (`EIDRM`).
pub fn remove(id: i32) -> Result<(), Errno> {
    let queue = QUEUES.get(id)?;
    QUEUES.remove(id);
    queue.state.lock().is_removed = true;
    queue.changed.wake_all();
    Ok(())
}

pub(super) fn forget_all() {
    QUEUES.retain(|_, _| false);
}

impl Queue {
    pub fn status(&self) -> Status {
        self.state.lock().status
    }

    pub fn change(&self, wanted: &Status) {
        {
            let status = &mut self.state.lock().status;
            status.permissions.change(&wanted.permissions);
            status.capacity = wanted.capacity;
            status.changed_at = seconds();
        }
        self.changed.wake_all();
    }

    /// Sends a message when there is room.
    ///
    /// # Errors
    /// `EAGAIN` when there is none and it may not wait, `EINTR`, `EIDRM`, `ENOMEM`.
    pub fn send(&self, current: &Current, message: Message, may_wait: bool) -> Result<(), Errno> {
        let sender = current.task.process.id;
        let mut message = Some(message);
        let attempt = || {
            let mut state = self.state.lock();
            match state.send(&mut message, sender) {
                Ok(false) if may_wait => None,
                Ok(false) => Some(Err(Errno::EAGAIN)),
                Ok(true) => Some(Ok(())),
                Err(error) => Some(Err(error)),
            }
        };
        self.wait(current, attempt)
    }

    /// Receives the message that is `wanted`, of at most `most` bytes: the rest is lost if `cut` says so.
    ///
    /// # Errors
    /// `ENOMSG` when there is none and it may not wait, `E2BIG` when it is longer, `EINTR`, `EIDRM`.
    pub fn receive(
        &self,
        current: &Current,
        wanted: Wanted,
        most: usize,
        cut: bool,
        may_wait: bool,
    ) -> Result<Message, Errno> {
        let receiver = current.task.process.id;
        let attempt = || {
            let mut state = self.state.lock();
            match state.receive(wanted, most, cut, receiver) {
                Ok(None) if may_wait => None,
                Ok(None) => Some(Err(Errno::ENOMSG)),
                Ok(Some(message)) => Some(Ok(message)),
                Err(error) => Some(Err(error)),
            }
        };
        self.wait(current, attempt)
    }

    /// A copy of the message at `place` (MSG_COPY).
    ///
    /// # Errors
    /// `ENOMSG` when there are not so many, `E2BIG` when it is longer.
    pub fn copy(&self, place: usize, most: usize, cut: bool) -> Result<Message, Errno> {
        let state = self.state.lock();
        let message = state.messages.get(place).ok_or(Errno::ENOMSG)?;
        if message.text.len() > most && !cut {
            return Err(Errno::E2BIG);
        }
        let length = message.text.len().min(most);
        Ok(Message { kind: message.kind, text: message.text[..length].to_vec() })
    }

    fn wait<T>(
        &self,
        current: &Current,
        attempt: impl FnMut() -> Option<Result<T, Errno>>,
    ) -> Result<T, Errno> {
        let outcome = self.changed.wait(current, None, attempt);
        match outcome {
            Ok(Ok(value)) => {
                self.changed.wake_all();
                Ok(value)
            }
            Ok(Err(error)) => Err(error),
            Err(Woken::BySignal | Woken::ByDeadline) => Err(Errno::EINTR),
        }
    }
}

impl State {
    /// False if there is no room.
    fn send(&mut self, message: &mut Option<Message>, sender: ProcessId) -> Result<bool, Errno> {
        if self.is_removed {
            return Err(Errno::EIDRM);
        }
        let length = message.as_ref().map_or(0, |message| message.text.len() as u64);
        let status = &mut self.status;
        // Messages without text are limited, too.
        if status.bytes + length > status.capacity || status.messages + 1 > status.capacity {
            return Ok(false);
        }
        self.messages.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.messages.extend(message.take());
        status.bytes += length;
        status.messages += 1;
        (status.sent_at, status.last_sender) = (seconds(), sender);
        Ok(true)
    }

    fn receive(
        &mut self,
        wanted: Wanted,
        most: usize,
        cut: bool,
        receiver: ProcessId,
    ) -> Result<Option<Message>, Errno> {
        if self.is_removed {
            return Err(Errno::EIDRM);
        }
        let Some(at) = wanted.find(&self.messages) else { return Ok(None) };
        if self.messages[at].text.len() > most && !cut {
            return Err(Errno::E2BIG);
        }
        let Some(mut message) = self.messages.remove(at) else { return Ok(None) };
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
        }
        let status = &mut self.status;
        status.bytes -= message.text.len() as u64;
        status.messages -= 1;
        (status.received_at, status.last_receiver) = (seconds(), receiver);
        message.text.truncate(most);
        Ok(Some(message))
    }
}

/// The flags of `msgrcv` (`linux/msg.h`).
pub mod flags {
    pub const NO_ERROR: u32 = 0o10_000;
    pub const EXCEPT: u32 = 0o20_000;
    pub const COPY: u32 = 0o40_000;
    pub use crate::ipc::NO_WAIT;
}
