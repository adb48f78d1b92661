//! Signals that were sent and not yet taken, of one thread or of one process.
//!
//! The set of them can be read without a lock, which is all that a thread on its way to sleep or to user mode looks at.
//! A standard signal is pending once, however often it was sent; a real-time signal as often as it was sent. When there
//! is no memory for the details, a standard signal is still pending, without them (as on Linux).

use super::{SigInfo, SigSet};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// The most queued instances; Linux's default `RLIMIT_SIGPENDING` on a small machine is of this order.
const MOST_QUEUED: usize = 1024;

pub struct Pending {
    /// What is pending. Changes only under the lock of `queue`.
    set: AtomicU64,
    /// In order of arrival.
    queue: Lock<Vec<SigInfo>, { rank::SIGNAL }>,
}

impl Pending {
    pub const fn new() -> Self {
        Self { set: AtomicU64::new(0), queue: Lock::new(Vec::new()) }
    }

    pub fn set(&self) -> SigSet {
        SigSet(self.set.load(SeqCst))
    }

    /// Adds a signal.
    ///
    /// # Errors
    /// `EAGAIN` when a real-time signal cannot be queued (man 3 sigqueue).
    pub fn add(&self, info: SigInfo) -> Result<(), Errno> {
        let signal = info.signal();
        let mut queue = self.queue.lock();
        if signal.is_real_time() || !self.set().contains(signal) {
            if queue.len() < MOST_QUEUED && queue.try_reserve(1).is_ok() {
                queue.push(info);
            } else if signal.is_real_time() {
                return Err(Errno::EAGAIN);
            }
            self.set.fetch_or(SigSet::of(signal).0, SeqCst);
        }
        Ok(())
    }

    /// Whether `info`'s signal is pending from the same timer: from the kernel, if `info` is of none.
    pub fn has_same_timer(&self, info: &SigInfo) -> bool {
        let is_it =
            |queued: &SigInfo| queued.signal() == info.signal() && queued.timer_id() == info.timer_id();
        self.set().contains(info.signal()) && self.queue.lock().iter().any(is_it)
    }

    /// Takes the first signal that is in `wanted`.
    pub fn take(&self, wanted: SigSet) -> Option<SigInfo> {
        if self.set().intersection(wanted).is_empty() {
            return None;
        }
        let mut queue = self.queue.lock();
        let signal = self.set().intersection(wanted).first()?;
        let mut same = queue.iter().enumerate().filter(|(_, info)| info.signal() == signal).map(|(at, _)| at);
        let at = same.next();
        if same.next().is_none() {
            self.set.fetch_and(!SigSet::of(signal).0, SeqCst);
        }
        Some(at.map_or_else(|| SigInfo::from_process(signal, 0), |at| queue.remove(at)))
    }

    /// Forgets all signals of `unwanted`.
    pub fn discard(&self, unwanted: SigSet) {
        if !self.set().intersection(unwanted).is_empty() {
            let mut queue = self.queue.lock();
            queue.retain(|info| !info.is_in(unwanted));
            self.set.fetch_and(!unwanted.0, SeqCst);
        }
    }
}
