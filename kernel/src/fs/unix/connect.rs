//! Bringing sockets together.

use super::address::{self, Address, Place};
use super::{Endpoint, Role, Sender, Socket, Style};
use crate::errno::Errno;
use crate::fs::{Readiness, Request};
use crate::wait::Woken;
use alloc::collections::VecDeque;
use alloc::sync::Arc;

/// The longest queue of connections (`/proc/sys/net/core/somaxconn`).
const MOST_WAITING: usize = 4096;

/// Two sockets that are connected to each other.
pub fn pair(style: Style, sender: Sender) -> [Socket; 2] {
    let sockets = [Socket::new(style), Socket::new(style)];
    for (one, other) in [(0, 1), (1, 0)] {
        let mut state = sockets[one].0.state.lock();
        state.role = Role::Connected;
        state.peer = Arc::downgrade(&sockets[other].0);
        state.peer_sender = Some(sender);
    }
    sockets
}

/// Gives a socket a name.
///
/// # Errors
/// `EINVAL` when it has one, `EADDRINUSE`.
pub fn bind(endpoint: &Arc<Endpoint>, address: Address) -> Result<(), Errno> {
    if endpoint.state.lock().address.is_some() {
        return Err(Errno::EINVAL);
    }
    let address = Arc::new(address);
    address::enter(&address, endpoint)?;
    endpoint.state.lock().address = Some(address);
    Ok(())
}

/// Makes a socket accept connections, at most `backlog` that wait.
///
/// # Errors
/// `EOPNOTSUPP` for datagrams, `EINVAL` without a name or when it is connected.
pub fn listen(endpoint: &Endpoint, backlog: i32, sender: Sender) -> Result<(), Errno> {
    if !endpoint.style.connects() {
        return Err(Errno::EOPNOTSUPP);
    }
    let limit = usize::try_from(backlog).unwrap_or(MOST_WAITING).min(MOST_WAITING);
    let mut state = endpoint.state.lock();
    if state.address.is_none() {
        return Err(Errno::EINVAL);
    }
    match &mut state.role {
        Role::Connected => return Err(Errno::EINVAL),
        Role::Listening { backlog, .. } => *backlog = limit,
        role @ Role::Idle => *role = Role::Listening { backlog: limit, waiting: VecDeque::new(), sender },
    }
    drop(state);
    endpoint.writable.wake_all();
    Ok(())
}

/// What came of an attempt to connect.
enum Attempt {
    Done(Sender),
    Full,
}

/// Connects to what has the name `place`; a datagram socket just sends there from now on, `None` nowhere.
///
/// # Errors
/// `ECONNREFUSED`, `EPROTOTYPE`, `EISCONN`, `EINVAL` for one that listens, `EAGAIN`, `RESTART`.
pub fn connect(endpoint: &Arc<Endpoint>, request: &Request<'_>, place: Option<&Place>) -> Result<(), Errno> {
    let Some(place) = place else {
        if endpoint.style.connects() {
            return Err(Errno::EINVAL);
        }
        let mut state = endpoint.state.lock();
        state.peer = alloc::sync::Weak::new();
        state.role = Role::Idle;
        return Ok(());
    };
    match endpoint.state.lock().role {
        Role::Connected if endpoint.style.connects() => return Err(Errno::EISCONN),
        Role::Listening { .. } => return Err(Errno::EINVAL),
        _ => {}
    }
    let target = address::find(place).ok_or(Errno::ECONNREFUSED)?;
    if target.style != endpoint.style {
        return Err(Errno::EPROTOTYPE);
    }
    if !endpoint.style.connects() {
        let mut state = endpoint.state.lock();
        state.peer = Arc::downgrade(&target);
        state.role = Role::Connected;
        return Ok(());
    }
    let sender = Sender::of(request.current);
    loop {
        match try_connect(endpoint, &target, sender)? {
            Attempt::Done(listener) => {
                endpoint.state.lock().peer_sender = Some(listener);
                return Ok(());
            }
            Attempt::Full if request.nonblocking => return Err(Errno::EAGAIN),
            Attempt::Full => {}
        }
        let has_room = || match &target.state.lock().role {
            Role::Listening { backlog, waiting, .. } => (waiting.len() <= *backlog).then_some(()),
            _ => Some(()),
        };
        target.writable.wait(request.current, None, has_room).map_err(|_| Errno::RESTART)?;
    }
}

fn try_connect(client: &Arc<Endpoint>, listener: &Arc<Endpoint>, sender: Sender) -> Result<Attempt, Errno> {
    let server = Endpoint::new(client.style);
    let address = listener.address();
    {
        let mut state = server.state.lock();
        state.role = Role::Connected;
        state.peer = Arc::downgrade(client);
        state.peer_sender = Some(sender);
        state.address = address;
    }
    // Before the other side can be accepted: its first message must find this one connected.
    {
        let mut state = client.state.lock();
        if !matches!(state.role, Role::Idle) {
            return Err(Errno::EISCONN);
        }
        state.role = Role::Connected;
        state.peer = Arc::downgrade(&server);
    }
    let undo = || {
        let mut state = client.state.lock();
        state.role = Role::Idle;
        state.peer = alloc::sync::Weak::new();
    };
    let mut state = listener.state.lock();
    let listening = match &mut state.role {
        Role::Listening { backlog, waiting, sender } if waiting.len() <= *backlog => {
            waiting.push_back(server);
            *sender
        }
        role => {
            let is_full = matches!(role, Role::Listening { .. });
            drop(state);
            undo();
            return if is_full { Ok(Attempt::Full) } else { Err(Errno::ECONNREFUSED) };
        }
    };
    drop(state);
    listener.readable.wake_for(Readiness::READABLE);
    Ok(Attempt::Done(listening))
}

/// Takes the first connection that waits.
///
/// # Errors
/// `EINVAL` for a socket that does not listen, `EOPNOTSUPP` for datagrams, `EAGAIN`, `RESTART`.
pub fn accept(endpoint: &Endpoint, request: &Request<'_>) -> Result<Socket, Errno> {
    if !endpoint.style.connects() {
        return Err(Errno::EOPNOTSUPP);
    }
    let take = || match &mut endpoint.state.lock().role {
        Role::Listening { waiting, .. } => waiting.pop_front().map(Ok),
        _ => Some(Err(Errno::EINVAL)),
    };
    let accepted = if request.nonblocking {
        take().ok_or(Errno::EAGAIN)?
    } else {
        let deadline = endpoint.options().receive_timeout.map(|limit| arch::time::now() + limit);
        endpoint.readable.wait(request.current, deadline, take).map_err(|woken| match woken {
            Woken::ByDeadline => Errno::EAGAIN,
            Woken::BySignal => Errno::RESTART,
        })?
    };
    endpoint.writable.wake_all();
    Ok(Socket(accepted?))
}
