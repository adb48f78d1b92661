//! Arguments and environment on their way from one program to the next.
//!
//! They may be megabytes, in hundreds of thousands of strings: they are kept in single frames, which can be had as long as
//! there is any memory, and are never laid out in one piece.

use super::ArgumentSpace;
use crate::errno::Errno;
use crate::user;
use alloc::vec::Vec;
use core::mem::size_of;
use mm::{Frame, PAGE};

/// The longest single string, terminator included (`MAX_ARG_STRLEN`, man 2 execve).
const LONGEST: usize = 32 * PAGE;

/// A list of strings, each followed by a zero byte.
pub struct Strings {
    frames: Vec<Frame>,
    /// Where the first string begins, and where the last one's terminator ends.
    start: usize,
    end: usize,
    count: usize,
}

impl Strings {
    pub const fn new() -> Self {
        Self { frames: Vec::new(), start: 0, end: 0, count: 0 }
    }

    /// Reads an array of strings, such as `argv`, from user memory; null means empty, as on Linux.
    ///
    /// # Errors
    /// `E2BIG` when it does not fit into `space` or a string is longer than 128 KiB; `EFAULT`, `ENOMEM`.
    pub fn read(from: u64, space: &mut ArgumentSpace) -> Result<Self, Errno> {
        let mut strings = Self::new();
        if from == 0 {
            return Ok(strings);
        }
        loop {
            let slot = from.checked_add((strings.count * size_of::<u64>()) as u64).ok_or(Errno::EFAULT)?;
            let pointer: u64 = user::read(slot)?;
            if pointer == 0 {
                return Ok(strings);
            }
            let string = user::read_string(pointer, LONGEST.min(space.left()), Errno::E2BIG)?;
            space.take(string.len() + 1 + size_of::<u64>())?;
            strings.push(&string)?;
        }
    }

    /// # Errors
    /// `ENOMEM`.
    pub fn push(&mut self, string: &[u8]) -> Result<(), Errno> {
        self.append(string)?;
        self.append(&[0])?;
        self.count += 1;
        Ok(())
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let within = self.end % PAGE;
            if within == 0 {
                self.frames.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                self.frames.push(mm::frames::alloc()?);
            }
            let (now, later) = bytes.split_at(bytes.len().min(PAGE - within));
            self.frames[self.end / PAGE].write(within, now);
            self.end += now.len();
            bytes = later;
        }
        Ok(())
    }

    /// How many strings there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of all strings together, with their terminators.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Calls `each` with the bytes in order, in pieces.
    pub fn pieces(&self, mut each: impl FnMut(&[u8]) -> Result<(), Errno>) -> Result<(), Errno> {
        let mut piece = [0; 256];
        let mut at = self.start;
        while at < self.end {
            let within = at % PAGE;
            let len = piece.len().min(PAGE - within).min(self.end - at);
            self.frames[at / PAGE].read(within, &mut piece[..len]);
            each(&piece[..len])?;
            at += len;
        }
        Ok(())
    }

    /// Drops the first string.
    pub fn skip_first(&mut self) {
        let mut first = None;
        let mut seen = 0;
        // Looking cannot fail.
        let _ = self.pieces(|piece| {
            let end = piece.iter().position(|byte| *byte == 0).map(|at| seen + at + 1);
            first = first.or(end);
            seen += piece.len();
            Ok(())
        });
        if let Some(len) = first {
            self.start += len;
            self.count -= 1;
        }
    }
}
