//! One descriptor in an event poll.

use super::{Epoll, Report};
use crate::errno::Errno;
use crate::fs::{Description, Readiness};
use crate::lock::{Lock, rank};
use crate::watch::Watcher;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use linux_raw_sys::general as linux;

/// What a program wants to hear of a descriptor: `struct epoll_event`.
#[derive(Clone, Copy, Debug)]
pub struct Trigger {
    /// `EPOLL*`.
    pub events: u32,
    pub data: u64,
}

const EXCLUSIVE: u32 = 1 << 28;
const WAKEUP: u32 = 1 << 29;
const ONE_SHOT: u32 = 1 << 30;
const EDGE: u32 = 1 << 31;
const FLAGS: u32 = EXCLUSIVE | WAKEUP | ONE_SHOT | EDGE;
/// What may be asked for together with `EPOLLEXCLUSIVE` (man 2 epoll_ctl).
const WITH_EXCLUSIVE: u32 =
    linux::POLLIN | linux::POLLOUT | linux::POLLERR | linux::POLLHUP | WAKEUP | EDGE | EXCLUSIVE;

impl Trigger {
    pub fn is_exclusive(self) -> bool {
        self.events & EXCLUSIVE != 0
    }

    /// Whether all that is asked for may be asked for at once.
    pub fn is_valid(self) -> bool {
        !self.is_exclusive() || self.events & !WITH_EXCLUSIVE == 0
    }

    /// Nothing, once a one-shot trigger has fired: not even errors.
    fn wanted(self) -> Readiness {
        match Readiness::from_bits_truncate(self.events & !FLAGS) {
            _ if self.events & !FLAGS == 0 => Readiness::empty(),
            events => events | Readiness::ERROR | Readiness::HANG_UP,
        }
    }
}

pub struct Item {
    this: Weak<Item>,
    pub(super) epoll: Weak<Epoll>,
    description: Weak<Description>,
    trigger: Lock<Trigger, { rank::READY }>,
    is_exclusive: bool,
    /// Whether it is in the list of what may be ready.
    pub(super) is_listed: AtomicBool,
    is_detached: AtomicBool,
}

impl Item {
    pub(super) fn new(epoll: Weak<Epoll>, description: &Arc<Description>, trigger: Trigger) -> Arc<Self> {
        let trigger = Trigger { events: trigger.events | Readiness::ERROR.bits(), ..trigger };
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            epoll,
            description: Arc::downgrade(description),
            trigger: Lock::new(trigger),
            is_exclusive: trigger.is_exclusive(),
            is_listed: AtomicBool::new(false),
            is_detached: AtomicBool::new(false),
        })
    }

    fn watcher(&self) -> Option<Arc<dyn Watcher>> {
        self.this.upgrade().map(|this| this as Arc<dyn Watcher>)
    }

    /// Begins to watch the queues of the file.
    pub(super) fn attach(&self, description: &Description) -> Result<(), Errno> {
        let Some(watcher) = self.watcher() else { return Ok(()) };
        description.watched_by(self.this.clone())?;
        let mut outcome = Ok(());
        description.file().queues(&mut |queue| {
            outcome = outcome.and_then(|()| queue.watchers.add(watcher.clone()));
        });
        outcome
    }

    /// Ends that.
    pub(super) fn detach(&self, description: &Description) {
        self.is_detached.store(true, Relaxed);
        description.unwatched_by(&self.this);
        self.leave_queues(description);
    }

    fn leave_queues(&self, description: &Description) {
        if let Some(watcher) = self.watcher() {
            description.file().queues(&mut |queue| queue.watchers.remove(&watcher));
        }
    }

    /// As [`Self::detach`]; a description that is going away sees to it itself.
    pub(super) fn detach_if_open(&self) {
        if let Some(description) = self.description.upgrade() {
            self.detach(&description);
        }
    }

    /// The description is being dropped.
    pub fn close(&self, description: &Description) {
        self.is_detached.store(true, Relaxed);
        self.leave_queues(description);
        if let (Some(epoll), Some(this)) = (self.epoll.upgrade(), self.this.upgrade()) {
            epoll.description_is_gone(&this);
        }
    }

    /// # Errors
    /// `EINVAL` when it is, or should become, exclusive.
    pub(super) fn set_trigger(&self, new: Trigger) -> Result<(), Errno> {
        let mut trigger = self.trigger.lock();
        if self.is_exclusive || new.is_exclusive() {
            return Err(Errno::EINVAL);
        }
        *trigger = Trigger { events: new.events | Readiness::ERROR.bits(), ..new };
        Ok(())
    }

    /// What is wanted and there.
    pub(super) fn report(&self) -> Option<Report> {
        let trigger = *self.trigger.lock();
        let (wanted, data) = (trigger.wanted(), trigger.data);
        if wanted.is_empty() || self.is_detached.load(Relaxed) {
            return None;
        }
        let found = self.description.upgrade()?.file().readiness() & wanted;
        (!found.is_empty()).then_some(Report { found, data })
    }

    /// It was reported. Returns whether it stays in the list, as what is level-triggered does.
    pub(super) fn reported(&self) -> bool {
        let mut trigger = self.trigger.lock();
        if trigger.events & ONE_SHOT != 0 {
            trigger.events &= FLAGS;
        }
        trigger.events & (ONE_SHOT | EDGE) == 0
    }

    /// Lists it if it is ready now.
    pub(super) fn look(&self) {
        if self.report().is_some() {
            self.list();
        }
    }

    fn list(&self) {
        if let (Some(epoll), Some(this)) = (self.epoll.upgrade(), self.this.upgrade()) {
            epoll.put(this);
        }
    }

    /// The event poll inside of this one, if that is what it watches.
    pub(super) fn inner(&self) -> Option<Arc<Epoll>> {
        super::nesting::as_epoll(self.description.upgrade()?.file())
    }
}

impl Watcher for Item {
    fn notice(&self, what: Readiness) -> bool {
        let cares = what.intersects(self.trigger.lock().wanted()) && !self.is_detached.load(Relaxed);
        if cares {
            self.list();
        }
        cares
    }

    fn is_exclusive(&self) -> bool {
        self.is_exclusive
    }
}
