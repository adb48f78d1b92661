//! Signals that were sent and not yet taken, of one thread or of one process.
//!
//! The set of them can be read without a lock, which is all that a thread on its way to sleep or to user mode looks at.
//! A standard signal is pending once, however often it was sent; a real-time signal as often as it was sent. When no more
//! details can be kept, because of RLIMIT_SIGPENDING or for want of memory, the signal is still pending, without them,
//! unless it is one whose value the sender wants to arrive (as on Linux).

use super::{SigInfo, SigSet};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

/// All queued instances, which RLIMIT_SIGPENDING counts by user: there is one.
static QUEUED: AtomicUsize = AtomicUsize::new(0);

/// How many instances are queued in the whole system.
fn queued() -> usize {
    QUEUED.load(Relaxed)
}

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

    /// Adds a signal. `limit` is the target's RLIMIT_SIGPENDING; standard signals that the kernel or `kill` sends are
    /// queued whatever it is.
    ///
    /// # Errors
    /// `EAGAIN` when a real-time signal with a value cannot be queued (man 3 sigqueue).
    pub fn add(&self, info: SigInfo, limit: u64) -> Result<(), Errno> {
        let signal = info.signal();
        let mut queue = self.queue.lock();
        if signal.is_real_time() || !self.set().contains(signal) {
            let is_free = !signal.is_real_time() && info.is_from_kernel_or_kill();
            if (is_free || (queued() as u64) < limit) && queue.try_reserve(1).is_ok() {
                QUEUED.fetch_add(1, Relaxed);
                queue.push(info);
            } else if signal.is_real_time() && !info.is_from_kill() {
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
        Some(at.map_or_else(
            || SigInfo::from_process(signal, 0),
            |at| {
                QUEUED.fetch_sub(1, Relaxed);
                queue.remove(at)
            },
        ))
    }

    /// Forgets all signals of `unwanted`.
    pub fn discard(&self, unwanted: SigSet) {
        if !self.set().intersection(unwanted).is_empty() {
            let mut queue = self.queue.lock();
            let before = queue.len();
            queue.retain(|info| !info.is_in(unwanted));
            QUEUED.fetch_sub(before - queue.len(), Relaxed);
            self.set.fetch_and(!unwanted.0, SeqCst);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        QUEUED.fetch_sub(self.queue.lock().len(), Relaxed);
    }
}
