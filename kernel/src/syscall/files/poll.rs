//! Waiting for several descriptors at once (man 2 poll).

use crate::errno::Errno;
use crate::fs::{Description, MAX_DESCRIPTORS, Readiness};
use crate::signal::{self, SigSet};
use crate::syscall::time::TimeSpec;
use crate::task::Current;
use crate::user;
use crate::wait::{Registration, Woken};
use alloc::{sync::Arc, vec::Vec};
use formats::Instant;
use smallvec::SmallVec;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `struct pollfd`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct PollFd {
    descriptor: i32,
    wanted: u16,
    found: u16,
}

/// `timeout` is in milliseconds; a negative one is for ever.
pub fn poll(current: &Current, descriptors: u64, count: u32, timeout: i32) -> Result<u64, Errno> {
    // A poll that goes on after a signal without a handler ends when it should have ended at first.
    let resumed = current.task.signals.take_deadline();
    let deadline = match u64::try_from(timeout) {
        Err(_) => None,
        Ok(ms) => Some(resumed.map_or_else(|| TimeSpec::from_ns(ms * 1_000_000).to_deadline(), Ok)?),
    };
    let result = poll_until(current, descriptors, count, deadline);
    if result == Err(Errno::RESTART_NO_HANDLER)
        && let Some(deadline) = deadline
    {
        current.task.signals.note_deadline(deadline);
    }
    result
}

pub fn ppoll(
    current: &Current,
    descriptors: u64,
    count: u32,
    timeout: u64,
    mask: u64,
    mask_size: usize,
) -> Result<u64, Errno> {
    let deadline = TimeSpec::read_if_given(timeout)?.map(TimeSpec::to_deadline).transpose()?;
    let mask = read_mask(mask, mask_size)?;
    let result = signal::with_mask(current, mask, || poll_until(current, descriptors, count, deadline));
    report_remaining(timeout, deadline);
    result
}

/// The mask that `ppoll` or `pselect6` was given, if any.
pub(super) fn read_mask(mask: u64, size: usize) -> Result<Option<SigSet>, Errno> {
    match (mask, size) {
        (0, _) => Ok(None),
        (_, size) if size == size_of::<SigSet>() => user::read(mask).map(Some),
        _ => Err(Errno::EINVAL),
    }
}

/// Writes how much of a timeout is left, as Linux does. A program that cannot have it does not miss it.
pub(super) fn report_remaining(timeout: u64, deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        let remaining = deadline.as_ticks().saturating_sub(arch::time::now().as_ticks());
        let _ = user::write_if_wanted(timeout, &TimeSpec::from_ns(remaining));
    }
}

fn poll_until(
    current: &Current,
    descriptors: u64,
    count: u32,
    deadline: Option<Instant>,
) -> Result<u64, Errno> {
    let count = count as usize;
    if count > MAX_DESCRIPTORS {
        return Err(Errno::EINVAL);
    }
    let mut polled = user::read_array::<PollFd>(descriptors, count)?;
    let files = current.task.process.files();
    let interests: Interests = polled
        .iter()
        .map(|polled| Interest {
            description: if polled.descriptor < 0 { None } else { Some(files.get(polled.descriptor)) },
            wanted: Readiness::from_bits_retain(polled.wanted.into()),
        })
        .collect();
    let ready = wait(current, &interests, deadline)?;
    for (polled, interest) in polled.iter_mut().zip(&interests) {
        polled.found = interest.found().bits() as u16;
    }
    user::write_bytes(descriptors, polled.as_bytes())?;
    Ok(if ready { polled.iter().filter(|polled| polled.found != 0).count() as u64 } else { 0 })
}

/// What is to be waited for on one descriptor.
pub(super) struct Interest {
    /// `None`: nothing. An error: the descriptor is not open.
    pub description: Option<Result<Arc<Description>, Errno>>,
    pub wanted: Readiness,
}

pub(super) type Interests = SmallVec<[Interest; 4]>;

impl Interest {
    /// What is wanted, or always reported, and there.
    pub fn found(&self) -> Readiness {
        match &self.description {
            None => Readiness::empty(),
            Some(Err(_)) => Readiness::INVALID,
            Some(Ok(description)) => description.file().readiness() & (self.wanted | Readiness::ALWAYS),
        }
    }
}

/// Waits until something is found; false when the deadline has passed first.
pub(super) fn wait(
    current: &Current,
    interests: &[Interest],
    deadline: Option<Instant>,
) -> Result<bool, Errno> {
    let look = || interests.iter().any(|interest| !interest.found().is_empty()).then_some(());
    if look().is_some() {
        return Ok(true);
    }
    if deadline.is_some_and(|deadline| arch::time::now() >= deadline) {
        return Ok(false);
    }
    let mut registrations = Vec::<Registration<'_>>::new();
    for description in interests.iter().filter_map(|interest| interest.description.as_ref()?.as_ref().ok()) {
        description.file().queues(&mut |queue| registrations.push(queue.register(current)));
    }
    match current.sleep_until(deadline, look) {
        Ok(()) => Ok(true),
        Err(Woken::ByDeadline) => Ok(false),
        Err(Woken::BySignal) => Err(Errno::RESTART_NO_HANDLER),
    }
}
