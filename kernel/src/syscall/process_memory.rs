//! Reading and writing another process's memory (man 2 process_vm_readv).

use crate::errno::Errno;
use crate::task::{self, Current};
use crate::user;
use alloc::vec;
use alloc::vec::Vec;
use mm::{AddressSpace, PAGE, VirtAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The most ranges of one call (`UIO_MAXIOV`).
const MOST: usize = 1024;

/// `struct iovec`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Range {
    start: u64,
    length: u64,
}

/// Goes through ranges piece by piece.
struct Walk {
    ranges: Vec<Range>,
    at: usize,
}

impl Walk {
    fn read(from: u64, count: u64) -> Result<Self, Errno> {
        let count = usize::try_from(count).ok().filter(|count| *count <= MOST).ok_or(Errno::EINVAL)?;
        let ranges: Vec<Range> = user::read_array(from, count)?;
        let total = ranges.iter().try_fold(0_u64, |sum, range| sum.checked_add(range.length));
        if total.is_none_or(|total| total > i64::MAX as u64) {
            return Err(Errno::EINVAL);
        }
        Ok(Self { ranges, at: 0 })
    }

    /// The next bytes: where they start, and how many there are before the next range.
    fn next(&mut self) -> Option<(u64, u64)> {
        while self.ranges.get(self.at)?.length == 0 {
            self.at += 1;
        }
        let range = self.ranges[self.at];
        Some((range.start, range.length))
    }

    fn advance(&mut self, bytes: u64) {
        let range = &mut self.ranges[self.at];
        range.start = range.start.wrapping_add(bytes);
        range.length -= bytes;
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Read,
    Write,
}

/// Returns how many bytes were copied, which are less than were asked for where a range of either side ends.
///
/// # Errors
/// `ESRCH` for no process, `EFAULT` when nothing could be copied, `EINVAL` for flags and too many ranges.
pub fn transfer(
    current: &Current,
    id: i32,
    local: (u64, u64),
    remote: (u64, u64),
    flags: u64,
    direction: Direction,
) -> Result<u64, Errno> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let mut local = Walk::read(local.0, local.1)?;
    let mut remote = Walk::read(remote.0, remote.1)?;
    let process = task::find_process(u32::try_from(id).map_err(|_| Errno::ESRCH)?).ok_or(Errno::ESRCH)?;
    let space = process.space().ok_or(Errno::ESRCH)?;
    let mut buffer = vec![0; PAGE];
    let mut copied = 0;
    while let (Some((to, room)), Some((from, length))) = (local.next(), remote.next()) {
        // Within a page on the other side, so that what comes before a page that is not there is copied.
        let in_page = PAGE as u64 - from % PAGE as u64;
        let now = room.min(length).min(in_page);
        match copy(&space, &mut buffer[..now as usize], to, from, direction) {
            Ok(()) => {}
            Err(error) if copied == 0 => return Err(error),
            Err(_) => break,
        }
        local.advance(now);
        remote.advance(now);
        copied += now;
        if current.task.is_exiting() {
            break;
        }
    }
    Ok(copied)
}

fn copy(
    space: &AddressSpace,
    buffer: &mut [u8],
    local: u64,
    remote: u64,
    direction: Direction,
) -> Result<(), Errno> {
    let remote = VirtAddr::try_new(remote).map_err(|_| Errno::EFAULT)?;
    match direction {
        Direction::Read => {
            space.read(remote, buffer)?;
            user::write_bytes(local, buffer)
        }
        Direction::Write => {
            user::read_bytes(local, buffer)?;
            Ok(space.write(remote, buffer)?)
        }
    }
}
