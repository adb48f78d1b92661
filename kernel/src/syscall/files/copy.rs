//! Moving bytes from file to file (man 2 sendfile, copy_file_range, splice, tee, vmsplice).
//!
//! The bytes go through a buffer of the kernel. Nothing is shared between files, so that this is a copy like any other, but
//! without the way through the program.

use super::description;
use crate::errno::Errno;
use crate::fs::{Description, Kind, Readiness, UserBuffer};
use crate::task::Current;
use crate::user;
use alloc::sync::Arc;
use linux_raw_sys::general::*;

/// Bytes that are copied at once.
const PIECE: usize = 64 << 10;
/// What a pipe takes at once when it says that it can be written.
const PIPE_PIECE: usize = 4096;

/// One side of a copy: a description, and where if not at its own offset.
struct Side {
    description: Arc<Description>,
    offset: Option<u64>,
    /// Where the program wants to know how far it went.
    report: u64,
}

impl Side {
    fn new(current: &Current, descriptor: i32, offset: u64) -> Result<Self, Errno> {
        let description = description(current, descriptor)?;
        let at = if offset == 0 { None } else { Some(user::read::<i64>(offset)?) };
        let at = at.map(u64::try_from).transpose().map_err(|_| Errno::EINVAL)?;
        Ok(Self { description, offset: at, report: offset })
    }

    fn is_pipe(&self) -> bool {
        self.description.file().as_pipe().is_some()
    }

    fn read(&self, current: &Current, to: &mut UserBuffer) -> Result<usize, Errno> {
        match self.offset {
            Some(offset) => self.description.read_at(current, offset, to),
            None => self.description.read(current, to),
        }
    }

    fn write(&self, current: &Current, from: &mut UserBuffer) -> Result<usize, Errno> {
        match self.offset {
            Some(offset) => self.description.write_at(current, offset, from),
            None => self.description.write(current, from),
        }
    }

    fn moved(&mut self, count: usize) {
        self.offset = self.offset.map(|offset| offset + count as u64);
    }

    /// Goes back over what was read and could not be written.
    fn back(&self, count: usize) {
        if self.offset.is_none() {
            // A pipe cannot; nothing was read from it that could not be written.
            let _ = self.description.seek(-(count as i64), SEEK_CUR);
        }
    }

    fn finish(&self) -> Result<(), Errno> {
        match self.offset {
            Some(offset) => user::write(self.report, &offset),
            None => Ok(()),
        }
    }
}

/// Copies up to `len` bytes, until there are none or it would have to wait after the first.
fn copy(
    current: &Current,
    from: &mut Side,
    to: &mut Side,
    len: usize,
    nonblocking: bool,
) -> Result<u64, Errno> {
    if !from.description.is_readable() || !to.description.is_writable() {
        return Err(Errno::EBADF);
    }
    let most = if to.is_pipe() { PIPE_PIECE } else { PIECE };
    let mut done = 0;
    while done < len {
        let may_wait = done == 0 && !nonblocking;
        let readable =
            from.description.file().readiness().intersects(Readiness::READABLE | Readiness::HANG_UP);
        let writable = to.description.file().readiness().intersects(Readiness::WRITABLE | Readiness::ERROR);
        if !(may_wait || readable && writable) {
            break;
        }
        let mut buffer = UserBuffer::of_kernel(most.min(len - done))?;
        let count = match from.read(current, &mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        };
        let mut rest = buffer.into_filled();
        let outcome = to.write(current, &mut rest);
        let written = *outcome.as_ref().unwrap_or(&0);
        from.moved(written);
        to.moved(written);
        done += written;
        if written < count {
            from.back(count - written);
            match outcome {
                Err(error) if done == 0 => return Err(error),
                _ => break,
            }
        }
        if current.task.is_interrupted() {
            break;
        }
        if crate::cpus::needs_reschedule() {
            current.schedule(sched::Leave::Preempt);
        }
    }
    from.finish()?;
    to.finish()?;
    if done == 0 && nonblocking && len > 0 {
        let ended = from.description.file().readiness().contains(Readiness::HANG_UP);
        let at_end = !from.is_pipe() || ended;
        return if at_end { Ok(0) } else { Err(Errno::EAGAIN) };
    }
    Ok(done as u64)
}

fn most(len: usize) -> usize {
    len.min(0x7fff_f000)
}

pub fn sendfile(current: &Current, to: i32, from: i32, offset: u64, len: usize) -> Result<u64, Errno> {
    let mut source = Side::new(current, from, offset)?;
    let mut target = Side::new(current, to, 0)?;
    if offset != 0 && source.is_pipe() {
        return Err(Errno::ESPIPE);
    }
    if matches!(source.description.file().metadata().kind, Kind::Socket | Kind::Directory)
        || target.description.flags() & O_APPEND != 0
    {
        return Err(Errno::EINVAL);
    }
    copy(current, &mut source, &mut target, most(len), false)
}

pub fn copy_file_range(
    current: &Current,
    (from, from_offset): (i32, u64),
    (to, to_offset): (i32, u64),
    len: usize,
    flags: u32,
) -> Result<u64, Errno> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let mut source = Side::new(current, from, from_offset)?;
    let mut target = Side::new(current, to, to_offset)?;
    let kinds = [&source, &target].map(|side| side.description.file().metadata());
    if kinds.iter().any(|metadata| metadata.kind == Kind::Directory) {
        return Err(Errno::EISDIR);
    }
    if kinds.iter().any(|metadata| metadata.kind != Kind::Regular) {
        return Err(Errno::EINVAL);
    }
    if target.description.flags() & O_APPEND != 0 {
        return Err(Errno::EBADF);
    }
    if kinds[0].file_system != kinds[1].file_system {
        return Err(Errno::EXDEV);
    }
    if kinds[0].number == kinds[1].number {
        let start = |side: &Side| side.offset.unwrap_or_else(|| side.description.position());
        let (a, b) = (start(&source), start(&target));
        if a.abs_diff(b) < len as u64 {
            return Err(Errno::EINVAL);
        }
    }
    copy(current, &mut source, &mut target, most(len), false)
}

const SPLICE_FLAGS: u32 = 0xf;
const NONBLOCKING: u32 = 2;

pub fn splice(
    current: &Current,
    (from, from_offset): (i32, u64),
    (to, to_offset): (i32, u64),
    len: usize,
    flags: u32,
) -> Result<u64, Errno> {
    if flags & !SPLICE_FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    if len == 0 {
        return Ok(0);
    }
    let mut source = Side::new(current, from, from_offset)?;
    let mut target = Side::new(current, to, to_offset)?;
    if source.is_pipe() && from_offset != 0 || target.is_pipe() && to_offset != 0 {
        return Err(Errno::ESPIPE);
    }
    let (Some(a), b) = (source.description.file().as_pipe(), target.description.file().as_pipe()) else {
        return match target.is_pipe() {
            true => copy(current, &mut source, &mut target, most(len), flags & NONBLOCKING != 0),
            false => Err(Errno::EINVAL),
        };
    };
    if b.is_some_and(|b| core::ptr::eq(a, b)) || target.description.flags() & O_APPEND != 0 {
        return Err(Errno::EINVAL);
    }
    copy(current, &mut source, &mut target, most(len), flags & NONBLOCKING != 0)
}

/// Copies what is in one pipe to another and leaves it there.
pub fn tee(current: &Current, from: i32, to: i32, len: usize, flags: u32) -> Result<u64, Errno> {
    if flags & !SPLICE_FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    let (source, target) = (description(current, from)?, description(current, to)?);
    if !source.is_readable() || !target.is_writable() {
        return Err(Errno::EBADF);
    }
    let (Some(a), Some(b)) = (source.file().as_pipe(), target.file().as_pipe()) else {
        return Err(Errno::EINVAL);
    };
    if core::ptr::eq(a, b) {
        return Err(Errno::EINVAL);
    }
    let nonblocking = flags & NONBLOCKING != 0 || source.flags() & O_NONBLOCK != 0;
    let bytes = a.peek(current, most(len).min(PIECE), nonblocking)?;
    let mut buffer = UserBuffer::of_kernel_bytes(bytes);
    if buffer.remaining() == 0 {
        return Ok(0);
    }
    Ok(target.write(current, &mut buffer)? as u64)
}

/// Writes memory into a pipe, or reads a pipe into memory.
pub fn vmsplice(
    current: &Current,
    descriptor: i32,
    vectors: u64,
    count: usize,
    flags: u32,
) -> Result<u64, Errno> {
    if flags & !SPLICE_FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    let description = description(current, descriptor)?;
    description.file().as_pipe().ok_or(Errno::EBADF)?;
    let mut buffer = UserBuffer::from_vectors(vectors, count)?;
    let moved = match description.is_writable() {
        true => description.write(current, &mut buffer)?,
        false => description.read(current, &mut buffer)?,
    };
    Ok(moved as u64)
}
