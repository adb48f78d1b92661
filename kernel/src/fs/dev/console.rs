//! The console: the serial port COM1, for output only. Reading finds the end of the file.

use crate::console;
use crate::errno::Errno;
use crate::fs::{File, Metadata, Request, UserBuffer};
use crate::task::Current;
use crate::user;
use alloc::vec;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::{general as tty, ioctl};
use zerocopy::{Immutable, IntoBytes};

pub struct Console(pub Metadata);

/// What goes to the port in one piece, not mixed with what others write.
const PIECE: usize = 4096;

impl File for Console {
    fn metadata(&self) -> Metadata {
        self.0
    }

    fn read(&self, _: &Request<'_>, _: &mut UserBuffer) -> Result<usize, Errno> {
        Ok(0)
    }

    fn write(&self, request: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        let mut piece = vec![0; PIECE.min(from.remaining())];
        let mut done = 0;
        loop {
            let count = from.drain(&mut piece)?;
            console::write(&piece[..count]);
            done += count;
            if count < piece.len() || from.remaining() == 0 || !super::may_go_on(request.current) {
                return Ok(done);
            }
        }
    }

    fn ioctl(&self, current: &Current, command: u32, argument: u64) -> Result<u64, Errno> {
        match command {
            ioctl::TCGETS => user::write(argument, &Termios::COOKED)?,
            // There is nothing to set: the port does not look at what it passes on.
            ioctl::TCSETS | ioctl::TCSETSW | ioctl::TCSETSF => {}
            ioctl::TIOCGWINSZ => user::write(argument, &[0u16; 4])?,
            ioctl::TIOCGPGRP => user::write(argument, &current.task.process.group.load(Relaxed))?,
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }
}

/// `struct termios`, as the kernel knows it (man 2 ioctl_tty).
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Termios {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    line: u8,
    characters: [u8; 19],
}

impl Termios {
    /// A terminal as it comes up. There are no special characters, since there is no input.
    const COOKED: Self = Self {
        input: tty::ICRNL | tty::IXON,
        output: tty::OPOST | tty::ONLCR,
        control: tty::B115200 | tty::CS8 | tty::CREAD | tty::CLOCAL,
        local: tty::ISIG | tty::ICANON | tty::ECHO | tty::ECHOE | tty::ECHOK | tty::IEXTEN,
        line: 0,
        characters: [0; 19],
    };
}
