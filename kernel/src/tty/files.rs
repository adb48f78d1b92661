//! Terminals as files: what programs open.

use super::Tty;
use crate::errno::Errno;
use crate::fs::{File, Metadata, Readiness, Request, UserBuffer};
use crate::task::Current;
use crate::wait::WaitQueue;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use linux_raw_sys::general::{O_NOCTTY, O_PATH};
use spin::Once;

/// One use of a terminal.
pub struct Terminal {
    metadata: Metadata,
    tty: Arc<Tty>,
    /// Opening it does not make it a controlling terminal: so it is with `/dev/console`.
    is_console: bool,
}

impl Terminal {
    pub fn new(metadata: Metadata, tty: Arc<Tty>, is_console: bool) -> Self {
        let mut state = tty.state.lock();
        state.uses += 1;
        state.was_opened = true;
        drop(state);
        Self { metadata, tty, is_console }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut state = self.tty.state.lock();
        state.uses -= 1;
        if state.uses == 0 {
            state.discipline.flush();
            state.held = Vec::new();
            if state.is_hung_up {
                state.outgoing = VecDeque::new();
            }
        }
        drop(state);
        self.tty.far_readable.wake_all();
        self.tty.far_writable.wake_all();
    }
}

impl File for Terminal {
    fn metadata(&self) -> Metadata {
        self.metadata
    }

    fn opened(&self, current: &Current, flags: u32) -> Result<(), Errno> {
        if !self.is_console && flags & (O_NOCTTY | O_PATH) == 0 {
            self.tty.adopt_if_free(&current.task.process);
        }
        Ok(())
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        self.tty.read(request, to)
    }

    fn write(&self, request: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        self.tty.write(request, from)
    }

    fn readiness(&self) -> Readiness {
        self.tty.readiness()
    }

    fn queues<'f>(&'f self, each: &mut dyn FnMut(&'f WaitQueue)) {
        each(&self.tty.readable);
        each(&self.tty.writable);
    }

    fn ioctl(&self, current: &Current, command: u32, argument: u64) -> Result<u64, Errno> {
        self.tty.control(current, command, argument)
    }
}

/// `/dev/tty`: the controlling terminal of whoever opens it.
pub struct Controlling {
    metadata: Metadata,
    /// Found when it is opened.
    terminal: Once<Terminal>,
}

impl Controlling {
    pub fn new(metadata: Metadata) -> Self {
        Self { metadata, terminal: Once::new() }
    }

    fn terminal(&self) -> Result<&Terminal, Errno> {
        self.terminal.get().ok_or(Errno::ENXIO)
    }
}

impl File for Controlling {
    fn metadata(&self) -> Metadata {
        self.metadata
    }

    fn opened(&self, current: &Current, _: u32) -> Result<(), Errno> {
        let tty = current.task.process.terminal().ok_or(Errno::ENXIO)?;
        self.terminal.call_once(|| Terminal::new(self.metadata, tty, true));
        Ok(())
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        self.terminal()?.read(request, to)
    }

    fn write(&self, request: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        self.terminal()?.write(request, from)
    }

    fn readiness(&self) -> Readiness {
        self.terminal().map_or(Readiness::ERROR, File::readiness)
    }

    fn queues<'f>(&'f self, each: &mut dyn FnMut(&'f WaitQueue)) {
        if let Ok(terminal) = self.terminal() {
            terminal.queues(each);
        }
    }

    fn ioctl(&self, current: &Current, command: u32, argument: u64) -> Result<u64, Errno> {
        self.terminal()?.ioctl(current, command, argument)
    }
}
