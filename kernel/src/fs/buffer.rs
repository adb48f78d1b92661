//! User memory that a read fills or a write empties, piece by piece.

use crate::errno::Errno;
use crate::user;
use alloc::vec::Vec;
use linux_raw_sys::general::UIO_MAXIOV;
use smallvec::{SmallVec, smallvec};
use zerocopy::{FromBytes, IntoBytes};

/// The most that one call transfers (man 2 read).
const MAX_TRANSFER: usize = 0x7fff_f000;

/// `struct iovec` (man 3 iovec).
#[derive(Clone, Copy, FromBytes, IntoBytes)]
#[repr(C)]
struct Segment {
    at: u64,
    len: u64,
}

/// The segments of user memory that a system call was given, and how far they are used up.
///
/// A bad address ends the transfer: it is `EFAULT` if nothing was moved before, else the transfer is just shorter.
pub struct UserBuffer {
    segments: SmallVec<[Segment; 1]>,
    /// The first segment that is not used up.
    next: usize,
    remaining: usize,
    moved: usize,
    /// Memory of the kernel in place of the user's.
    own: Option<Vec<u8>>,
}

impl UserBuffer {
    /// Memory of the kernel's own, for what goes from file to file.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn of_kernel(len: usize) -> Result<Self, Errno> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(len, 0);
        Ok(Self::of_kernel_bytes(bytes))
    }

    /// Bytes of the kernel, to be written somewhere.
    pub fn of_kernel_bytes(bytes: Vec<u8>) -> Self {
        Self { segments: SmallVec::new(), next: 0, remaining: bytes.len(), moved: 0, own: Some(bytes) }
    }

    /// What a read has put into memory of the kernel's own, to be written somewhere else.
    pub fn into_filled(self) -> Self {
        let mut bytes = self.own.unwrap_or_default();
        bytes.truncate(self.moved);
        Self::of_kernel_bytes(bytes)
    }

    /// The next `most` bytes of the kernel's own memory, which count as moved.
    fn own_piece(&mut self, most: usize) -> Option<&mut [u8]> {
        let own = self.own.as_mut()?;
        let len = most.min(self.remaining);
        let piece = &mut own[self.moved..self.moved + len];
        self.moved += len;
        self.remaining -= len;
        Some(piece)
    }

    /// `len` bytes at address `at`.
    pub fn new(at: u64, len: usize) -> Self {
        let len = len.min(MAX_TRANSFER);
        Self {
            segments: smallvec![Segment { at, len: len as u64 }],
            next: 0,
            remaining: len,
            moved: 0,
            own: None,
        }
    }

    /// What an array of `count` `struct iovec` at `at` says (man 2 readv).
    ///
    /// # Errors
    /// `EINVAL` for more than 1024 segments or an overflowing total; `EFAULT`.
    pub fn from_vectors(at: u64, count: usize) -> Result<Self, Errno> {
        if count > UIO_MAXIOV as usize {
            return Err(Errno::EINVAL);
        }
        let mut segments: SmallVec<[Segment; 1]> = user::read_array::<Segment>(at, count)?.into();
        let mut total = 0;
        for segment in &mut segments {
            if i64::try_from(segment.len).is_err() {
                return Err(Errno::EINVAL);
            }
            segment.len = segment.len.min((MAX_TRANSFER - total) as u64);
            total += segment.len as usize;
        }
        Ok(Self { segments, next: 0, remaining: total, moved: 0, own: None })
    }

    /// Bytes still to be moved.
    pub fn remaining(&self) -> usize {
        self.remaining
    }

    /// Copies as much of `bytes` to the user as fits and returns how much that was.
    pub fn fill(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        if let Some(piece) = self.own_piece(bytes.len()) {
            piece.copy_from_slice(&bytes[..piece.len()]);
            return Ok(piece.len());
        }
        self.each_piece(bytes.len(), |at, from, len| user::write_bytes(at, &bytes[from..from + len]))
    }

    /// Writes up to `len` zeroes.
    pub fn fill_zeroes(&mut self, len: usize) -> Result<usize, Errno> {
        if let Some(piece) = self.own_piece(len) {
            piece.fill(0);
            return Ok(piece.len());
        }
        self.each_piece(len, |at, _, len| user::zero(at, len))
    }

    /// Copies up to `to.len()` bytes from the user and returns how many.
    pub fn drain(&mut self, to: &mut [u8]) -> Result<usize, Errno> {
        if let Some(piece) = self.own_piece(to.len()) {
            to[..piece.len()].copy_from_slice(piece);
            return Ok(piece.len());
        }
        self.each_piece(to.len(), |at, from, len| user::read_bytes(at, &mut to[from..from + len]))
    }

    /// Passes over up to `len` bytes without looking at them.
    pub fn skip(&mut self, len: usize) -> usize {
        if let Some(piece) = self.own_piece(len) {
            return piece.len();
        }
        // Nothing is touched, so nothing can fail.
        self.each_piece(len, |_, _, _| Ok(())).unwrap_or(0)
    }

    /// Calls `copy` with an address, the number of bytes done in this call, and a length for each contiguous piece.
    fn each_piece(
        &mut self,
        most: usize,
        mut copy: impl FnMut(u64, usize, usize) -> Result<(), Errno>,
    ) -> Result<usize, Errno> {
        let most = most.min(self.remaining);
        let mut done = 0;
        while done < most {
            let segment = &mut self.segments[self.next];
            let len = (most - done).min(segment.len as usize);
            if len == 0 {
                self.next += 1;
                continue;
            }
            match copy(segment.at, done, len) {
                Ok(()) => {}
                Err(_) if self.moved > 0 => break,
                Err(error) => return Err(error),
            }
            segment.at = segment.at.wrapping_add(len as u64);
            segment.len -= len as u64;
            self.remaining -= len;
            self.moved += len;
            done += len;
        }
        Ok(done)
    }
}
