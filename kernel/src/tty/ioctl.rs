//! What programs ask of terminals besides reading and writing (man 2 ioctl_tty).

use super::discipline::Flow;
use super::termios::{Special, Termios, Termios2, WindowSize};
use super::{Port, Tty};
use crate::errno::Errno;
use crate::signal::Signal;
use crate::task::{self, Current};
use crate::user;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use linux_raw_sys::general as linux;
use linux_raw_sys::ioctl;

impl Tty {
    /// A request by a program that has opened the terminal.
    pub(super) fn control(
        self: &Arc<Self>,
        current: &Current,
        command: u32,
        argument: u64,
    ) -> Result<u64, Errno> {
        if self.state.lock().is_hung_up {
            return Err(if command == ioctl::TIOCSPGRP { Errno::ENOTTY } else { Errno::EIO });
        }
        match command {
            ioctl::TIOCSCTTY => self.set_controlling(current, argument == 1)?,
            ioctl::TIOCNOTTY => self.give_up(current)?,
            ioctl::TIOCGPGRP | ioctl::TIOCGSID if !self.controls(&current.task.process) => {
                return Err(Errno::ENOTTY);
            }
            ioctl::TIOCSPGRP => self.set_foreground(current, user::read(argument)?)?,
            ioctl::TCSBRK | ioctl::TCSBRKP => self.check_foreground(current, Signal::TTOU)?,
            ioctl::TCXONC => {
                self.check_foreground(current, Signal::TTOU)?;
                self.suspend(argument as u32)?;
            }
            ioctl::TCFLSH => {
                self.check_foreground(current, Signal::TTOU)?;
                self.flush(argument as u32)?;
            }
            ioctl::FIONREAD => {
                let count = self.state.lock().discipline.readable_bytes() as i32;
                user::write(argument, &count)?;
            }
            ioctl::TIOCOUTQ => {
                let count = self.state.lock().outgoing.len() as i32;
                user::write(argument, &count)?;
            }
            _ => return self.common(current, command, argument),
        }
        Ok(0)
    }

    /// A request that both ends of a pseudo-terminal may make.
    pub(super) fn common(&self, current: &Current, command: u32, argument: u64) -> Result<u64, Errno> {
        match command {
            ioctl::TCGETS => user::write(argument, &self.settings())?,
            ioctl::TCGETS2 => user::write(argument, &Termios2::of(self.settings()))?,
            ioctl::TCSETS | ioctl::TCSETSW => self.set(current, user::read(argument)?, false)?,
            ioctl::TCSETSF => self.set(current, user::read(argument)?, true)?,
            ioctl::TCSETS2 | ioctl::TCSETSW2 => {
                self.set(current, user::read::<Termios2>(argument)?.termios, false)?;
            }
            ioctl::TCSETSF2 => self.set(current, user::read::<Termios2>(argument)?.termios, true)?,
            ioctl::TIOCGWINSZ => {
                let size = self.state.lock().size;
                user::write(argument, &size)?;
            }
            ioctl::TIOCSWINSZ => self.resize(user::read(argument)?),
            ioctl::TIOCGPGRP => user::write(argument, &self.foreground())?,
            ioctl::TIOCGSID => match self.session() {
                0 => return Err(Errno::ENOTTY),
                session => user::write(argument, &session)?,
            },
            // The line discipline is N_TTY, 0.
            ioctl::TIOCGETD => user::write(argument, &0_i32)?,
            ioctl::TIOCSETD if user::read::<i32>(argument)? == 0 => {}
            ioctl::TIOCSETD => return Err(Errno::EINVAL),
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }

    fn settings(&self) -> Termios {
        *self.state.lock().discipline.termios()
    }

    /// tcsetattr(3). What was written has reached the port by then, or the other end's buffer, which counts as sent.
    fn set(&self, current: &Current, termios: Termios, flushes: bool) -> Result<(), Errno> {
        self.check_foreground(current, Signal::TTOU)?;
        let mut state = self.state.lock();
        if flushes {
            state.discipline.flush();
        }
        state.discipline.set_termios(termios);
        if !termios.has_input(linux::IXON) && state.is_stopped {
            self.set_flow(&mut state, Flow::Go);
        }
        drop(state);
        // What was typed may be readable now, and what is written may pass.
        self.readable.wake_all();
        self.writable.wake_all();
        Ok(())
    }

    /// Notes another size and tells the programs in the foreground.
    pub(super) fn resize(&self, size: WindowSize) {
        let group = {
            let mut state = self.state.lock();
            if state.size == size {
                return;
            }
            state.size = size;
            state.foreground
        };
        if group != 0 {
            task::signal_group(group, Signal::WINCH);
        }
    }

    /// tcflow(3).
    fn suspend(&self, action: u32) -> Result<(), Errno> {
        let mut state = self.state.lock();
        match action {
            linux::TCOOFF => self.set_flow(&mut state, Flow::Stop),
            linux::TCOON => {
                self.set_flow(&mut state, Flow::Go);
                drop(state);
                self.writable.wake_all();
                self.far_readable.wake_all();
            }
            linux::TCIOFF | linux::TCION => {
                let which = if action == linux::TCIOFF { Special::Stop } else { Special::Start };
                let byte = state.discipline.termios().character(which);
                self.put(&mut state, &[byte]);
                drop(state);
                self.far_readable.wake_all();
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    /// tcflush(3).
    fn flush(&self, what: u32) -> Result<(), Errno> {
        let (input, output) = match what {
            linux::TCIFLUSH => (true, false),
            linux::TCOFLUSH => (false, true),
            linux::TCIOFLUSH => (true, true),
            _ => return Err(Errno::EINVAL),
        };
        let mut state = self.state.lock();
        if input {
            state.discipline.flush();
        }
        if output {
            state.outgoing = VecDeque::new();
            state.held = Vec::new();
        }
        drop(state);
        if input && self.port != Port::Serial {
            self.far_writable.wake_all();
        }
        if output {
            self.writable.wake_all();
        }
        Ok(())
    }
}
