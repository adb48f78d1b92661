//! Pseudo-terminals: both ends in one program's hands.

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::fs::OpenOptionsExt;

/// How long a terminal is given to do what it should, in milliseconds.
const PATIENCE: u16 = 20_000;

/// A pseudo-terminal: the end that plays the terminal, and the end for programs.
pub struct Pty {
    pub master: File,
    pub slave: File,
}

impl Pty {
    pub fn open() -> anyhow::Result<Self> {
        let master = open_master()?;
        // SAFETY: a call that takes a descriptor, which is open.
        Errno::result(unsafe { libc::unlockpt(master.as_raw_fd()) }).context("unlockpt")?;
        let slave = open_slave(&name(&master)?)?;
        Ok(Self { master, slave })
    }

    /// Types at the terminal.
    pub fn type_in(&self, keys: impl AsRef<[u8]>) -> anyhow::Result<()> {
        (&self.master).write_all(keys.as_ref()).context("typing")
    }

    /// What the terminal shows next, exactly as many bytes as `expected` has.
    pub fn expect_shown(&self, expected: impl AsRef<[u8]>) -> anyhow::Result<()> {
        let expected = expected.as_ref();
        let mut shown = Vec::new();
        while shown.len() < expected.len() {
            ensure!(is_ready(&self.master, PATIENCE)?, "shown: {}", escaped(&shown));
            let mut buffer = vec![0; expected.len() - shown.len()];
            let count = (&self.master).read(&mut buffer)?;
            shown.extend_from_slice(&buffer[..count]);
        }
        ensure!(shown == expected, "shown: {}, not {}", escaped(&shown), escaped(expected));
        Ok(())
    }

    /// Whether the terminal has shown nothing that was not looked at.
    pub fn shows_nothing(&self) -> anyhow::Result<bool> {
        Ok(!is_ready(&self.master, 0)?)
    }

    /// What a program reads, with room for `most` bytes. Waits for it.
    pub fn read(&self, most: usize) -> anyhow::Result<Vec<u8>> {
        let mut buffer = vec![0; most];
        let count = (&self.slave).read(&mut buffer)?;
        buffer.truncate(count);
        Ok(buffer)
    }

    /// Requires that a program reads `expected` next.
    pub fn expect_read(&self, expected: impl AsRef<[u8]>) -> anyhow::Result<()> {
        let expected = expected.as_ref();
        ensure!(self.has_input()?, "nothing to read, instead of {}", escaped(expected));
        let read = self.read(expected.len() + 100)?;
        ensure!(read == expected, "read: {}, not {}", escaped(&read), escaped(expected));
        Ok(())
    }

    /// Whether a program can read without waiting.
    pub fn has_input(&self) -> anyhow::Result<bool> {
        is_ready(&self.slave, 0)
    }

    pub fn settings(&self) -> anyhow::Result<libc::termios> {
        settings(&self.slave)
    }

    /// Changes the settings.
    pub fn set(&self, change: impl FnOnce(&mut libc::termios)) -> anyhow::Result<()> {
        let mut settings = self.settings()?;
        change(&mut settings);
        // SAFETY: the structure lives across the call.
        let set = unsafe { libc::tcsetattr(self.slave.as_raw_fd(), libc::TCSANOW, &settings) };
        Errno::result(set).context("tcsetattr")?;
        Ok(())
    }

    /// Raw bytes, of which a read waits for `least`, and `tenths` of a second from one to the next.
    pub fn make_raw(&self, least: u8, tenths: u8) -> anyhow::Result<()> {
        self.set(|settings| {
            // SAFETY: it changes the structure and nothing else.
            unsafe { libc::cfmakeraw(settings) };
            settings.c_cc[libc::VMIN] = least;
            settings.c_cc[libc::VTIME] = tenths;
        })
    }

    pub fn echo_off(&self) -> anyhow::Result<()> {
        self.set(|settings| settings.c_lflag &= !libc::ECHO)
    }
}

/// A new pseudo-terminal, locked still.
pub fn open_master() -> anyhow::Result<File> {
    // SAFETY: the descriptor is new and nobody else's.
    unsafe {
        let descriptor = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        Ok(File::from_raw_fd(Errno::result(descriptor).context("posix_openpt")?))
    }
}

/// Opens the end for programs, which does not make it a controlling terminal.
pub fn open_slave(name: &str) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOCTTY);
    options.open(name).with_context(|| format!("open({name})"))
}

/// The path of the end for programs.
pub fn name(master: &File) -> anyhow::Result<String> {
    let mut buffer = [0; 64];
    // SAFETY: the buffer is as long as is said.
    let failed = unsafe { libc::ptsname_r(master.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) };
    ensure!(failed == 0, "ptsname_r: {}", Errno::from_raw(failed));
    // SAFETY: the call has written a string into the buffer.
    Ok(unsafe { CStr::from_ptr(buffer.as_ptr()) }.to_str()?.to_owned())
}

pub fn settings(terminal: &File) -> anyhow::Result<libc::termios> {
    // SAFETY: a structure of zeroes is valid, and the call fills it in.
    unsafe {
        let mut settings = std::mem::zeroed();
        Errno::result(libc::tcgetattr(terminal.as_raw_fd(), &mut settings)).context("tcgetattr")?;
        Ok(settings)
    }
}

/// Whether `file` can be read within `milliseconds`.
pub fn is_ready(file: &impl AsFd, milliseconds: u16) -> anyhow::Result<bool> {
    Ok(events(file, PollFlags::POLLIN, milliseconds)?.contains(PollFlags::POLLIN))
}

/// What poll says of `file`.
pub fn events(file: &impl AsFd, wanted: PollFlags, milliseconds: u16) -> anyhow::Result<PollFlags> {
    let mut files = [PollFd::new(file.as_fd(), wanted)];
    poll(&mut files, PollTimeout::from(milliseconds))?;
    Ok(files[0].revents().unwrap_or(PollFlags::empty()))
}

fn escaped(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}
