//! Terminals: the serial console and pseudo-terminals (man 4 tty, pts; man 3 termios).
//!
//! A [`Tty`] stands between programs and a port. What the port delivers goes through the line discipline until it can be
//! read; what programs write is processed and goes to the port. The port is COM1, or the other end of a pseudo-terminal,
//! where a program plays the terminal. Who may read, and who gets the signals of ^C and ^Z, is job control: `control`.
//!
//! No lock is held while user memory is touched or signals are sent: bytes pass through the kernel's own memory.
//!
//! Start at [`Tty`], then `discipline`. `docs/terminals.md` follows a key from the keyboard to a program.

mod control;
mod discipline;
mod files;
mod ioctl;
mod output;
mod pseudo;
mod read;
pub mod serial;
mod stream;
mod termios;
mod write;

pub use files::{Controlling, Terminal};
pub use pseudo::{Multiplexer, directory as pseudo_directory};
pub use stream::Stream;

use crate::fs::{DeviceId, Readiness};
use crate::lock::{Lock, rank};
use crate::signal::Signal;
use crate::wait::WaitQueue;
use crate::{console, task};
use alloc::{collections::VecDeque, vec::Vec};
use discipline::{Discipline, Effects, Flow};
use smallvec::SmallVec;
use termios::{Termios, WindowSize};

/// A terminal.
pub struct Tty {
    device: DeviceId,
    port: Port,
    state: Lock<State, { rank::FILE }>,
    /// Woken when there is something to read, for the terminal's programs and for the other end.
    readable: WaitQueue,
    far_readable: WaitQueue,
    /// Woken when there is room to write, for the terminal's programs and for the other end.
    writable: WaitQueue,
    far_writable: WaitQueue,
}

/// What is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    /// COM1.
    Serial,
    /// A program that has opened `/dev/ptmx`.
    Pseudo(u32),
}

struct State {
    discipline: Discipline,
    size: WindowSize,
    /// The session that this is the controlling terminal of, and its group in the foreground; 0 for none.
    session: u32,
    foreground: u32,
    /// Output has been stopped (^S).
    is_stopped: bool,
    /// What was echoed while output was stopped.
    held: Vec<u8>,
    /// What the other end of a pseudo-terminal has not read yet.
    outgoing: VecDeque<u8>,
    /// How often it is open; the other end of a pseudo-terminal does not count.
    uses: usize,
    was_opened: bool,
    /// A pseudo-terminal that may not be opened yet (man 3 unlockpt).
    is_locked: bool,
    /// The other end is gone for good.
    is_hung_up: bool,
    /// Nothing will ever be typed.
    is_mute: bool,
}

/// Bytes on their way to the other end of a pseudo-terminal, after which writers wait.
const MOST_OUTGOING: usize = 8192;

impl Tty {
    fn new(device: DeviceId, port: Port, termios: Termios) -> Self {
        let state = State {
            discipline: Discipline::new(termios),
            size: WindowSize::default(),
            session: 0,
            foreground: 0,
            is_stopped: false,
            held: Vec::new(),
            outgoing: VecDeque::new(),
            uses: 0,
            was_opened: false,
            is_locked: port != Port::Serial,
            is_hung_up: false,
            is_mute: false,
        };
        Self {
            device,
            port,
            state: Lock::new(state),
            readable: WaitQueue::new(),
            far_readable: WaitQueue::new(),
            writable: WaitQueue::new(),
            far_writable: WaitQueue::new(),
        }
    }

    /// How many bytes [`Self::receive`] is certain to take.
    fn room(&self) -> usize {
        let state = self.state.lock();
        if state.discipline.is_full() { 0 } else { state.discipline.room().max(1) }
    }

    /// Takes bytes from the port, as many as there is room for, and returns how many.
    fn receive(&self, bytes: &[u8]) -> usize {
        let mut signals = SmallVec::<[Signal; 4]>::new();
        let mut taken = 0;
        let mut goes_on = false;
        let (group, is_readable) = {
            let mut state = self.state.lock();
            while taken < bytes.len() && !state.discipline.is_full() {
                let mut effects = Effects::default();
                state.discipline.receive(bytes[taken], &mut effects);
                taken += 1;
                if effects.flush {
                    state.outgoing = VecDeque::new();
                    state.held = Vec::new();
                }
                if let Some(flow) = effects.flow {
                    goes_on |= flow == Flow::Go && state.is_stopped;
                    self.set_flow(&mut state, flow);
                }
                self.put_echo(&mut state, &effects.echo);
                signals.extend(effects.signals);
            }
            (state.foreground, state.discipline.is_readable(1))
        };
        if is_readable {
            self.readable.wake_all();
        }
        if goes_on {
            self.writable.wake_all();
        }
        if self.port != Port::Serial {
            self.far_readable.wake_all();
        }
        if group != 0 {
            signals.into_iter().for_each(|signal| task::signal_group(group, signal));
        }
        taken
    }

    /// Lets output stop or go on. Whoever waits to write is woken by the caller.
    fn set_flow(&self, state: &mut State, flow: Flow) {
        state.is_stopped = flow == Flow::Stop;
        if !state.is_stopped {
            let held = core::mem::take(&mut state.held);
            self.put(state, &held);
        }
    }

    fn put_echo(&self, state: &mut State, bytes: &[u8]) {
        // Nobody waits for room to echo: what is typed at a terminal that nobody looks at is not shown.
        if state.is_stopped {
            if state.held.len() < MOST_OUTGOING {
                state.held.extend_from_slice(bytes);
            }
        } else if state.outgoing.len() < 2 * MOST_OUTGOING {
            self.put(state, bytes);
        }
    }

    /// Sends processed bytes to the port.
    fn put(&self, state: &mut State, bytes: &[u8]) {
        match self.port {
            Port::Serial => console::write(bytes),
            Port::Pseudo(_) => state.outgoing.extend(bytes),
        }
    }

    /// What a program that has opened the terminal would not have to wait for.
    fn readiness(&self) -> Readiness {
        let state = self.state.lock();
        if state.is_hung_up {
            return Readiness::READABLE | Readiness::WRITABLE | Readiness::ERROR | Readiness::HANG_UP;
        }
        let termios = state.discipline.termios();
        let least = if termios.patience() == 0 { termios.least() } else { 1 };
        let mut readiness = Readiness::empty();
        readiness.set(Readiness::READABLE, state.discipline.is_readable(least) || state.is_mute);
        readiness.set(Readiness::WRITABLE, state.has_room());
        readiness
    }
}

impl State {
    /// Whether a program can write without waiting.
    fn has_room(&self) -> bool {
        !self.is_stopped && self.outgoing.len() < MOST_OUTGOING
    }
}
