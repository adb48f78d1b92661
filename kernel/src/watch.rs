//! Being told of what sleeping threads are woken for: the other side of `epoll`.
//!
//! Threads on a [`WaitQueue`](crate::wait::WaitQueue) are there while they sleep. A watcher stays for as long as a
//! descriptor is in an event poll, and only notes that there may be something to see.

use crate::errno::Errno;
use crate::fs::Readiness;
use crate::lock::{Lock, rank};
use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use smallvec::SmallVec;

pub trait Watcher: core::any::Any + Send + Sync {
    /// Something has happened that may have made a file ready for `what`. Returns whether the watcher cares. The caller
    /// holds no lock that files or queues need.
    fn notice(&self, what: Readiness) -> bool;

    /// Whether it is enough to tell one of all exclusive watchers (`EPOLLEXCLUSIVE`).
    fn is_exclusive(&self) -> bool;
}

/// The watchers of one queue.
pub struct Watchers {
    /// Whether there are any: what a wake-up looks at, without the lock.
    any: AtomicBool,
    list: Lock<Vec<Arc<dyn Watcher>>, { rank::WAIT }>,
}

impl Watchers {
    pub const fn new() -> Self {
        Self { any: AtomicBool::new(false), list: Lock::new(Vec::new()) }
    }

    /// # Errors
    /// `ENOMEM`.
    pub fn add(&self, watcher: Arc<dyn Watcher>) -> Result<(), Errno> {
        let mut list = self.list.lock();
        list.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        list.push(watcher);
        self.any.store(true, SeqCst);
        Ok(())
    }

    pub fn remove(&self, watcher: &Arc<dyn Watcher>) {
        let removed = {
            let mut list = self.list.lock();
            let at = list.iter().position(|other| Arc::ptr_eq(other, watcher));
            let removed = at.map(|at| list.remove(at));
            if list.is_empty() {
                *list = Vec::new();
                self.any.store(false, SeqCst);
            }
            removed
        };
        drop(removed);
    }

    /// What `of` says of each watcher.
    pub fn owners<T>(&self, of: impl FnMut(&Arc<dyn Watcher>) -> Option<T>) -> Vec<T> {
        let watchers: Vec<Arc<dyn Watcher>> = self.list.lock().clone();
        watchers.iter().filter_map(of).collect()
    }

    /// Tells all watchers, and of the exclusive ones the first that cares. Whoever changes a file's readiness does so
    /// before, so that a watcher who is not there yet sees the change when it looks for the first time.
    pub fn tell(&self, what: Readiness) {
        if !self.any.load(SeqCst) {
            return;
        }
        let watchers: SmallVec<[Arc<dyn Watcher>; 4]> = self.list.lock().iter().cloned().collect();
        let mut is_told = false;
        for watcher in &watchers {
            if !watcher.is_exclusive() {
                watcher.notice(what);
            } else if !is_told {
                is_told = watcher.notice(what);
            }
        }
    }
}
