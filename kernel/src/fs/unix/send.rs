//! Sending.

use super::address::{self, Place};
use super::{Endpoint, Message, Role, Sender};
use crate::errno::Errno;
use crate::fs::{Description, Readiness, Request, UserBuffer};
use crate::signal::{self, SigInfo, Signal};
use crate::wait::Woken;
use alloc::{sync::Arc, vec::Vec};

/// The most bytes of a stream that make one message.
const STREAM_PIECE: usize = 32 << 10;
/// What a message takes besides its bytes: many empty ones must not fill the memory.
const MESSAGE_HEAD: usize = 64;
/// The most messages that wait at a socket for datagrams. (`/proc/sys/net/unix/max_dgram_qlen` counts alike.)
const MOST_MESSAGES: usize = 4096;

/// What goes with the bytes.
#[derive(Default)]
pub struct Outgoing {
    pub descriptors: Vec<Arc<Description>>,
    /// Whom a datagram is for, if not the peer.
    pub to: Option<Place>,
    /// As whom it is sent, if not as the process itself.
    pub sender: Option<Sender>,
    /// No SIGPIPE when nobody can read it.
    pub is_quiet: bool,
}

/// Sends what `from` has. Returns how many bytes went.
///
/// # Errors
/// `EPIPE` with SIGPIPE, `ENOTCONN`, `EAGAIN`, `RESTART`, `EMSGSIZE`, `ECONNREFUSED`, `ENOMEM`, `EFAULT`.
pub fn send(
    endpoint: &Arc<Endpoint>,
    request: &Request<'_>,
    from: &mut UserBuffer,
    mut what: Outgoing,
) -> Result<usize, Errno> {
    let is_quiet = what.is_quiet;
    let outcome = if endpoint.style.keeps_bounds() {
        let room = endpoint.options().send_room;
        if from.remaining() > room {
            return Err(Errno::EMSGSIZE);
        }
        let len = from.remaining();
        send_message(endpoint, request, from, len, &mut what)
    } else {
        let total = from.remaining();
        let mut done = 0;
        loop {
            if done >= total {
                break Ok(done);
            }
            match send_message(endpoint, request, from, STREAM_PIECE.min(from.remaining()), &mut what) {
                Ok(0) => break Ok(done),
                Ok(count) => done += count,
                Err(_) if done > 0 => break Ok(done),
                Err(error) => break Err(error),
            }
        }
    };
    if outcome == Err(Errno::EPIPE) && !is_quiet && endpoint.style.connects() {
        // A standard signal can always be made pending.
        let _ = signal::send_to_thread(&request.current.task, SigInfo::from_kernel(Signal::PIPE));
    }
    outcome
}

/// Where a message goes.
fn receiver(endpoint: &Endpoint, to: Option<&Place>) -> Result<Arc<Endpoint>, Errno> {
    let state = endpoint.state.lock();
    if state.no_more_out {
        return Err(Errno::EPIPE);
    }
    if let Some(to) = to {
        drop(state);
        let target = address::find(to).ok_or(Errno::ECONNREFUSED)?;
        return if target.style == endpoint.style { Ok(target) } else { Err(Errno::EPROTOTYPE) };
    }
    match (&state.role, state.peer.upgrade()) {
        (Role::Connected, Some(peer)) => Ok(peer),
        (Role::Connected, None) if endpoint.style.connects() => Err(Errno::EPIPE),
        (Role::Connected, None) => Err(Errno::ECONNREFUSED),
        _ => Err(Errno::ENOTCONN),
    }
}

fn send_message(
    endpoint: &Arc<Endpoint>,
    request: &Request<'_>,
    from: &mut UserBuffer,
    len: usize,
    what: &mut Outgoing,
) -> Result<usize, Errno> {
    let target = receiver(endpoint, what.to.as_ref())?;
    let options = endpoint.options();
    // A stream goes on as soon as there is any room; a message needs all of its own, or an empty queue.
    let has_room = || {
        let state = target.state.lock();
        let waits_for = if endpoint.style.keeps_bounds() { len } else { 1 };
        let fits = state.bytes + waits_for <= options.send_room && state.messages.len() < MOST_MESSAGES;
        (fits || state.no_more_in || state.is_closed).then_some(())
    };
    if request.nonblocking {
        has_room().ok_or(Errno::EAGAIN)?;
    } else if has_room().is_none() {
        // A stream's peer wakes this one; who sends datagrams waits at the receiver.
        let queue = if endpoint.style.connects() { &endpoint.writable } else { &target.writable };
        let deadline = options.send_timeout.map(|limit| arch::time::now() + limit);
        let ready = || {
            let is_shut = endpoint.state.lock().no_more_out;
            if is_shut { Some(()) } else { has_room() }
        };
        queue.wait(request.current, deadline, ready).map_err(|woken| match woken {
            Woken::ByDeadline => Errno::EAGAIN,
            Woken::BySignal => Errno::RESTART,
        })?;
    }
    let sender = what.sender.unwrap_or_else(|| Sender::of(request.current));
    let mut message = Message::take(from, len, sender)?;
    let count = message.len();
    message.from = endpoint.address();
    message.descriptors = core::mem::take(&mut what.descriptors);
    {
        let mut state = target.state.lock();
        if state.is_closed || state.no_more_in {
            drop(state);
            drop(message);
            let stream = endpoint.style.connects();
            return Err(if stream { Errno::EPIPE } else { Errno::ECONNREFUSED });
        }
        state.messages.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        state.bytes += count + overhead(endpoint);
        state.messages.push_back(message);
    }
    target.readable.wake_for(Readiness::READABLE);
    Ok(count)
}

/// What a message counts for besides its bytes.
pub(super) fn overhead(endpoint: &Endpoint) -> usize {
    if endpoint.style.keeps_bounds() { MESSAGE_HEAD } else { 0 }
}
