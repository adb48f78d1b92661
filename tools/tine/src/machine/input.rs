//! What is typed, or piped, into a machine.

use formats::terminal::Item;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, LockResult, Mutex};

/// What the guest's first program has as its standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A terminal.
    Terminal,
    /// Bytes with an end.
    Stream,
}

impl Kind {
    /// The kernel's option.
    pub fn option(self) -> &'static str {
        match self {
            Self::Terminal => "console.input=terminal",
            Self::Stream => "console.input=stream",
        }
    }
}

/// Writes to a machine's first serial port. Copies write to the same machine.
#[derive(Clone, Debug)]
pub struct Keyboard {
    line: Arc<Mutex<UnixStream>>,
    wants_out: Arc<AtomicBool>,
    /// Whether the machine listens: before that, what is sent would get lost.
    is_on: Arc<(Mutex<bool>, Condvar)>,
}

impl Keyboard {
    /// A keyboard, and the other end of its cable, which is QEMU's.
    pub fn new() -> io::Result<(Self, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((
            Self { line: Arc::new(Mutex::new(ours)), wants_out: Arc::default(), is_on: Arc::default() },
            theirs,
        ))
    }

    /// What the machine writes.
    pub fn screen(&self) -> io::Result<UnixStream> {
        unpoisoned(self.line.lock()).try_clone()
    }

    /// The machine listens.
    pub fn switch_on(&self) {
        *unpoisoned(self.is_on.0.lock()) = true;
        self.is_on.1.notify_all();
    }

    /// Sends what there is to say. Waits until the machine listens, and takes it.
    pub fn send(&self, items: impl IntoIterator<Item = Item>) -> io::Result<()> {
        drop(unpoisoned(self.is_on.1.wait_while(unpoisoned(self.is_on.0.lock()), |is_on| !*is_on)));
        let mut bytes = Vec::new();
        items.into_iter().for_each(|item| item.encode(|byte| bytes.push(byte)));
        // What one sends stays together.
        unpoisoned(self.line.lock()).write_all(&bytes)
    }

    /// The user wants the machine to end at once.
    pub fn leave(&self) {
        self.wants_out.store(true, Relaxed);
    }

    pub fn wants_out(&self) -> bool {
        self.wants_out.load(Relaxed)
    }
}

/// A thread that panicked with one of these locks has left nothing half done.
fn unpoisoned<T>(result: LockResult<T>) -> T {
    result.unwrap_or_else(|poisoned| poisoned.into_inner())
}
