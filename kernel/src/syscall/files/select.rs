//! The older way to wait for several descriptors (man 2 select).

use super::poll::{Interest, Interests, read_mask, report_remaining, wait};
use crate::errno::Errno;
use crate::fs::{MAX_DESCRIPTORS, Readiness};
use crate::signal;
use crate::syscall::time::TimeSpec;
use crate::task::Current;
use crate::user;
use alloc::{vec, vec::Vec};
use formats::Instant;
use zerocopy::{FromBytes, IntoBytes};

/// Bits in a word of an `fd_set`.
const WORD: usize = u64::BITS as usize;

/// What each of the three sets waits for, and what of a descriptor's readiness puts it into the result (man 2 poll).
const MEANINGS: [Readiness; 3] = [
    Readiness::READABLE.union(Readiness::HANG_UP).union(Readiness::ERROR),
    Readiness::WRITABLE.union(Readiness::ERROR),
    Readiness::URGENT,
];

/// `struct timeval`.
#[derive(Clone, Copy, FromBytes, IntoBytes)]
#[repr(C)]
struct TimeVal {
    seconds: i64,
    microseconds: i64,
}

pub fn select(
    current: &Current,
    count: i32,
    read: u64,
    write: u64,
    except: u64,
    timeout: u64,
) -> Result<u64, Errno> {
    let deadline = if timeout == 0 {
        None
    } else {
        let time: TimeVal = user::read(timeout)?;
        let seconds = u64::try_from(time.seconds).map_err(|_| Errno::EINVAL)?;
        let micros = u64::try_from(time.microseconds).map_err(|_| Errno::EINVAL)?;
        let ns = seconds.saturating_mul(1_000_000_000).saturating_add(micros.saturating_mul(1000));
        Some(TimeSpec::from_ns(ns).to_deadline()?)
    };
    let result = select_until(current, count, [read, write, except], deadline);
    if let Some(deadline) = deadline {
        let micros = deadline.as_ticks().saturating_sub(arch::time::now().as_ticks()) / 1000;
        // As on Linux, a program that cannot have what is left does not miss it.
        let _ = user::write(timeout, &[micros / 1_000_000, micros % 1_000_000]);
    }
    result
}

/// `mask` points to a pointer to the mask and its size.
pub fn pselect6(
    current: &Current,
    count: i32,
    read: u64,
    write: u64,
    except: u64,
    timeout: u64,
    mask: u64,
) -> Result<u64, Errno> {
    let deadline = TimeSpec::read_if_given(timeout)?.map(TimeSpec::to_deadline).transpose()?;
    let mask = if mask == 0 {
        None
    } else {
        let [at, size] = user::read::<[u64; 2]>(mask)?;
        read_mask(at, size as usize)?
    };
    let sets = [read, write, except];
    let result = signal::with_mask(current, mask, || select_until(current, count, sets, deadline));
    report_remaining(timeout, deadline);
    result
}

fn select_until(
    current: &Current,
    count: i32,
    sets: [u64; 3],
    deadline: Option<Instant>,
) -> Result<u64, Errno> {
    // As on Linux, numbers that no descriptor can have are not looked at.
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?.min(MAX_DESCRIPTORS);
    let words = count.div_ceil(WORD);
    let read_set = |at: u64| if at == 0 { Ok(vec![0; words]) } else { user::read_array::<u64>(at, words) };
    let [read, write, except] = sets;
    let wanted = [read_set(read)?, read_set(write)?, read_set(except)?];

    let files = current.task.process.files();
    let mut numbers = Vec::new();
    let mut interests = Interests::new();
    for number in 0..count {
        let is_in = |set: &Vec<u64>| set[number / WORD] >> (number % WORD) & 1 == 1;
        let meanings = wanted.iter().zip(MEANINGS).filter(|(set, _)| is_in(set)).map(|(_, meaning)| meaning);
        let wanted = meanings.fold(Readiness::empty(), Readiness::union);
        if !wanted.is_empty() {
            let description = files.get(number as i32)?;
            numbers.push(number);
            interests.push(Interest { description: Some(Ok(description)), wanted });
        }
    }
    wait(current, &interests, deadline)?;

    let mut found = [vec![0u64; words], vec![0; words], vec![0; words]];
    let mut total = 0;
    for (number, interest) in numbers.into_iter().zip(&interests) {
        let ready = interest.found();
        for ((wanted, found), meaning) in wanted.iter().zip(&mut found).zip(MEANINGS) {
            let bit = 1 << (number % WORD);
            if wanted[number / WORD] & bit != 0 && ready.intersects(meaning) {
                found[number / WORD] |= bit;
                total += 1;
            }
        }
    }
    for (at, found) in sets.into_iter().zip(&found) {
        if at != 0 {
            user::write_bytes(at, found.as_bytes())?;
        }
    }
    Ok(total)
}
