//! Receiving.

use super::send::overhead;
use super::{Address, Endpoint, Message, Role, Sender, State};
use crate::errno::Errno;
use crate::fs::{Description, Readiness, Request, UserBuffer};
use crate::wait::Woken;
use alloc::{sync::Arc, vec::Vec};

/// How to receive.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// Leave it there for the next one.
    pub peeks: bool,
    /// Wait until the buffer is full, the stream ends, or a signal comes.
    pub fills: bool,
}

/// What came.
#[derive(Default)]
pub struct Received {
    /// Bytes that were copied.
    pub count: usize,
    /// Bytes that the message had.
    pub full: usize,
    pub descriptors: Vec<Arc<Description>>,
    pub from: Option<Arc<Address>>,
    pub sender: Sender,
    /// The end of a message was reached (`MSG_EOR`).
    pub is_whole: bool,
}

/// # Errors
/// `EAGAIN`, `RESTART`, `EFAULT`, `ENOTCONN`, `EINVAL` for a socket that listens, `ECONNRESET`.
pub fn receive(
    endpoint: &Endpoint,
    request: &Request<'_>,
    to: &mut UserBuffer,
    manner: Manner,
) -> Result<Received, Errno> {
    let deadline = endpoint.options().receive_timeout.map(|limit| arch::time::now() + limit);
    let mut received = Received::default();
    loop {
        match try_receive(endpoint, to, manner, &mut received)? {
            true if manner.fills
                && !endpoint.style.keeps_bounds()
                && !manner.peeks
                && received.descriptors.is_empty()
                && to.remaining() > 0 => {}
            true => return Ok(received),
            false if received.count > 0 && request.nonblocking => return Ok(received),
            false if request.nonblocking => return Err(Errno::EAGAIN),
            false => {}
        }
        let ready = || {
            let state = endpoint.state.lock();
            (!state.messages.is_empty() || state.no_more_in || state.error.is_some()).then_some(())
        };
        match endpoint.readable.wait(request.current, deadline, ready) {
            Ok(()) => {
                let state = endpoint.state.lock();
                if received.count > 0 && state.messages.is_empty() {
                    return Ok(received);
                }
            }
            Err(_) if received.count > 0 => return Ok(received),
            Err(Woken::ByDeadline) => return Err(Errno::EAGAIN),
            Err(Woken::BySignal) => return Err(Errno::RESTART),
        }
    }
}

/// False when there is nothing yet.
fn try_receive(
    endpoint: &Endpoint,
    to: &mut UserBuffer,
    manner: Manner,
    received: &mut Received,
) -> Result<bool, Errno> {
    let mut gone = Vec::new();
    let sender = {
        let mut state = endpoint.state.lock();
        if state.messages.is_empty() {
            return nothing(endpoint, &mut state);
        }
        if endpoint.style.keeps_bounds() {
            take_message(endpoint, &mut state, to, manner, received, &mut gone)?;
        } else {
            take_stream(&mut state, to, manner, received, &mut gone)?;
        }
        state.peer.upgrade()
    };
    drop(gone);
    if !manner.peeks {
        if let Some(sender) = sender {
            sender.writable.wake_for(Readiness::WRITABLE);
        }
        if !endpoint.style.connects() {
            endpoint.writable.wake_for(Readiness::WRITABLE);
        }
    }
    Ok(true)
}

/// What an empty queue means: true is the end.
fn nothing(endpoint: &Endpoint, state: &mut State) -> Result<bool, Errno> {
    if let Some(error) = state.error.take() {
        return Err(error);
    }
    match state.role {
        Role::Listening { .. } => Err(Errno::EINVAL),
        _ if state.no_more_in => Ok(true),
        Role::Idle if endpoint.style.connects() => {
            Err(if endpoint.style == super::Style::Stream { Errno::EINVAL } else { Errno::ENOTCONN })
        }
        _ => Ok(false),
    }
}

/// One message; what the user's memory has no room for is lost.
fn take_message(
    endpoint: &Endpoint,
    state: &mut State,
    to: &mut UserBuffer,
    manner: Manner,
    received: &mut Received,
    gone: &mut Vec<Message>,
) -> Result<(), Errno> {
    let Some(message) = state.messages.front() else { return Ok(()) };
    let full = message.len();
    received.count = to.fill(message.rest())?;
    received.full = full;
    received.is_whole = received.count == full;
    received.from = message.from.clone();
    received.sender = message.sender;
    if manner.peeks {
        received.descriptors = message.descriptors.clone();
    } else if let Some(mut message) = state.messages.pop_front() {
        state.bytes -= full + overhead(endpoint);
        received.descriptors = core::mem::take(&mut message.descriptors);
        gone.push(message);
    }
    Ok(())
}

/// Bytes of as many messages as fit, up to and including one that has descriptors.
fn take_stream(
    state: &mut State,
    to: &mut UserBuffer,
    manner: Manner,
    received: &mut Received,
    gone: &mut Vec<Message>,
) -> Result<(), Errno> {
    if manner.peeks {
        for message in &state.messages {
            if to.remaining() == 0 {
                break;
            }
            received.count += to.fill(message.rest())?;
            received.sender = message.sender;
            received.from = message.from.clone();
            if !message.descriptors.is_empty() {
                received.descriptors = message.descriptors.clone();
                break;
            }
        }
        received.full = received.count;
        return Ok(());
    }
    while let Some(message) = state.messages.front_mut() {
        let has_descriptors = !message.descriptors.is_empty();
        if to.remaining() == 0 {
            break;
        }
        let count = match to.fill(message.rest()) {
            Ok(count) => count,
            Err(_) if received.count > 0 => break,
            Err(error) => return Err(error),
        };
        message.consume(count);
        received.count += count;
        received.full = received.count;
        received.sender = message.sender;
        received.from = message.from.clone();
        if has_descriptors {
            received.descriptors = core::mem::take(&mut message.descriptors);
        }
        let is_used_up = message.len() == 0;
        state.bytes -= count;
        if is_used_up && let Some(message) = state.messages.pop_front() {
            gone.push(message);
        }
        if has_descriptors || !is_used_up {
            break;
        }
    }
    Ok(())
}
