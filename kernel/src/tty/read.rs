//! Reading from a terminal: lines, or raw bytes by VMIN and VTIME (man 3 termios, "Canonical and noncanonical mode").

use super::discipline::CAPACITY;
use super::{Port, Tty, serial};
use crate::errno::Errno;
use crate::fs::{Request, UserBuffer};
use crate::signal::Signal;
use crate::wait::Woken;
use alloc::vec::Vec;
use formats::{Duration, Instant};

/// What a raw read, or a read of a line, waits for next.
enum Next {
    /// It has all that it wants.
    Done,
    /// More bytes, until the deadline if there is one.
    More(Option<Instant>),
}

impl Tty {
    /// Reads for a program that has opened the terminal.
    pub(super) fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        let wanted = to.remaining().min(CAPACITY);
        if wanted == 0 {
            return Ok(0);
        }
        let is_over = {
            let state = self.state.lock();
            state.is_hung_up || state.is_mute
        };
        if is_over {
            return Ok(0);
        }
        self.check_foreground(request.current, Signal::TTIN)?;
        let bytes = self.collect(request, wanted)?;
        match self.port {
            Port::Serial => serial::go_on(),
            Port::Pseudo(_) => self.far_writable.wake_all(),
        }
        to.fill(&bytes)
    }

    /// Waits for bytes as the settings say, and takes them.
    fn collect(&self, request: &Request<'_>, wanted: usize) -> Result<Vec<u8>, Errno> {
        let started = arch::time::now();
        let mut bytes = Vec::new();
        loop {
            let next = self.take_some(&mut bytes, wanted, started)?;
            let Next::More(deadline) = next else { return Ok(bytes) };
            if request.nonblocking {
                return if bytes.is_empty() { Err(Errno::EAGAIN) } else { Ok(bytes) };
            }
            match self.readable.wait(request.current, deadline, || self.has_news().then_some(())) {
                Ok(()) => {}
                Err(Woken::ByDeadline) => return Ok(bytes),
                Err(Woken::BySignal) if bytes.is_empty() => return Err(Errno::RESTART),
                Err(Woken::BySignal) => return Ok(bytes),
            }
        }
    }

    /// Whether another look at the terminal makes sense.
    fn has_news(&self) -> bool {
        let state = self.state.lock();
        state.discipline.is_readable(1) || state.is_hung_up
    }

    fn take_some(&self, bytes: &mut Vec<u8>, wanted: usize, started: Instant) -> Result<Next, Errno> {
        let mut state = self.state.lock();
        let termios = *state.discipline.termios();
        if termios.is_canonical() {
            if state.discipline.is_readable(1) {
                bytes.extend(state.discipline.take(wanted - bytes.len()));
                return Ok(Next::Done);
            }
        } else {
            bytes.extend(state.discipline.take(wanted - bytes.len()));
            let goal = termios.least().min(wanted);
            if bytes.len() >= goal.max(1) {
                return Ok(Next::Done);
            }
        }
        if state.is_hung_up {
            // It was open when the other end went; later reads find the end of the file.
            return if bytes.is_empty() { Err(Errno::EIO) } else { Ok(Next::Done) };
        }
        if termios.is_canonical() {
            return Ok(Next::More(None));
        }
        let patience = Duration::from_millis(termios.patience() * 100);
        Ok(match (termios.least(), termios.patience()) {
            (0, 0) => Next::Done,
            (0, _) => Next::More(Some(started + patience)),
            // From one byte to the next.
            (_, 1..) if !bytes.is_empty() => Next::More(Some(arch::time::now() + patience)),
            _ => Next::More(None),
        })
    }
}
