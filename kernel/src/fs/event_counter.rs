//! Event counters (man 2 eventfd).

use super::{DeviceId, File, Kind, Metadata, Readiness, Request, UserBuffer};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::wait::WaitQueue;
use core::mem::size_of;

/// The largest value that a counter reaches.
const LARGEST: u64 = u64::MAX - 1;
/// The file system of what has neither name nor content.
const FILE_SYSTEM: DeviceId = DeviceId::new(0, 14);

/// A number that writes add to and reads take, or take one from.
pub struct EventCounter {
    count: Lock<u64, { rank::FILE }>,
    /// Reads take one, not all.
    semaphore: bool,
    /// Woken by each change: readers wait for a count, writers for room.
    changed: WaitQueue,
}

impl EventCounter {
    pub fn new(count: u32, semaphore: bool) -> Self {
        Self { count: Lock::new(count.into()), semaphore, changed: WaitQueue::new() }
    }

    /// Runs `attempt` on the count until it answers, sleeping in between.
    ///
    /// Who waits for `then` is woken afterwards.
    fn attempt(
        &self,
        request: &Request<'_>,
        then: Readiness,
        mut attempt: impl FnMut(&mut u64) -> Option<u64>,
    ) -> Result<u64, Errno> {
        let mut ready = || attempt(&mut self.count.lock());
        let outcome = if request.nonblocking {
            ready().ok_or(Errno::EAGAIN)
        } else {
            self.changed.wait(request.current, None, ready).map_err(|_| Errno::RESTART)
        };
        if outcome.is_ok() {
            self.changed.wake_for(then);
        }
        outcome
    }
}

impl File for EventCounter {
    fn metadata(&self) -> Metadata {
        Metadata::new(Kind::Anonymous, 0o600, 1, FILE_SYSTEM)
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        if to.remaining() < size_of::<u64>() {
            return Err(Errno::EINVAL);
        }
        let value = self.attempt(request, Readiness::WRITABLE, |count| match *count {
            0 => None,
            _ if self.semaphore => {
                *count -= 1;
                Some(1)
            }
            _ => Some(core::mem::take(count)),
        })?;
        to.fill(&value.to_ne_bytes())
    }

    fn write(&self, request: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        let mut bytes = [0; size_of::<u64>()];
        if from.remaining() < bytes.len() {
            return Err(Errno::EINVAL);
        }
        from.drain(&mut bytes)?;
        let value = u64::from_ne_bytes(bytes);
        if value > LARGEST {
            return Err(Errno::EINVAL);
        }
        self.attempt(request, Readiness::READABLE, |count| {
            *count = count.checked_add(value).filter(|sum| *sum <= LARGEST)?;
            Some(value)
        })?;
        Ok(bytes.len())
    }

    fn readiness(&self) -> Readiness {
        let count = *self.count.lock();
        let mut readiness = Readiness::empty();
        readiness.set(Readiness::READABLE, count > 0);
        readiness.set(Readiness::WRITABLE, count < LARGEST);
        readiness
    }

    fn label(&self) -> &'static str {
        "[eventfd]"
    }

    fn queues<'f>(&'f self, each: &mut dyn FnMut(&'f WaitQueue)) {
        each(&self.changed);
    }
}
