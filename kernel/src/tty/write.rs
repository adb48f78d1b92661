//! Writing to a terminal.

use super::{MOST_OUTGOING, Port, Tty};
use crate::cpus;
use crate::errno::Errno;
use crate::fs::{Request, UserBuffer};
use crate::signal::Signal;
use crate::task::Current;
use alloc::{vec, vec::Vec};
use linux_raw_sys::general as linux;

/// What goes to the port in one piece, not mixed with what others write.
const PIECE: usize = 4096;

impl Tty {
    /// Writes for a program that has opened the terminal.
    pub(super) fn write(&self, request: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        let stops_background = {
            let state = self.state.lock();
            if state.is_hung_up {
                return Err(Errno::EIO);
            }
            state.discipline.termios().has_local(linux::TOSTOP)
        };
        if stops_background {
            self.check_foreground(request.current, Signal::TTOU)?;
        }
        let mut piece = vec![0; PIECE.min(from.remaining())];
        let mut done = 0;
        while from.remaining() > 0 {
            let count = from.drain(&mut piece)?;
            if count == 0 {
                break;
            }
            let written = self.write_piece(request, &piece[..count], done > 0);
            match written {
                Ok(written) => done += written,
                Err(_) if done > 0 => return Ok(done),
                Err(error) => return Err(error),
            }
            if written != Ok(count) || !may_go_on(request.current) {
                break;
            }
        }
        Ok(done)
    }

    /// Writes all of `piece` unless a signal comes, or nothing can be written without waiting. Says how much it wrote.
    fn write_piece(&self, request: &Request<'_>, piece: &[u8], has_written: bool) -> Result<usize, Errno> {
        let mut done = 0;
        while done < piece.len() {
            let written = self.try_write(&piece[done..])?;
            done += written;
            if written > 0 {
                continue;
            }
            let moved = done > 0 || has_written;
            if request.nonblocking {
                return if moved { Ok(done) } else { Err(Errno::EAGAIN) };
            }
            let ready = || {
                let state = self.state.lock();
                (state.has_room() || state.is_hung_up).then_some(())
            };
            if self.writable.wait(request.current, None, ready).is_err() {
                return if moved { Ok(done) } else { Err(Errno::RESTART) };
            }
        }
        Ok(done)
    }

    /// Writes what there is room for.
    fn try_write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let mut state = self.state.lock();
        if state.is_hung_up {
            return Err(Errno::EIO);
        }
        if !state.has_room() {
            return Ok(0);
        }
        let most = match self.port {
            Port::Serial => bytes.len(),
            Port::Pseudo(_) => bytes.len().min(MOST_OUTGOING - state.outgoing.len()),
        };
        let termios = *state.discipline.termios();
        if termios.has_output(linux::OPOST) {
            let mut out = Vec::with_capacity(most + most / 8);
            for byte in &bytes[..most] {
                state.discipline.cursor.put(*byte, &termios, &mut out);
            }
            self.put(&mut state, &out);
        } else {
            self.put(&mut state, &bytes[..most]);
        }
        drop(state);
        if self.port != Port::Serial {
            self.far_readable.wake_all();
        }
        Ok(most)
    }
}

/// Gives other threads their turn in the middle of a long transfer. False when the transfer should end here, because a
/// signal has come.
fn may_go_on(current: &Current) -> bool {
    if cpus::needs_reschedule() {
        current.schedule(sched::Leave::Preempt);
    }
    !current.task.is_interrupted()
}
