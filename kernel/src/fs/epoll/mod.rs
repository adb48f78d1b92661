//! Event polls (man 7 epoll).
//!
//! Each descriptor in an event poll has an [`Item`] that watches the queues of its file. When something happens there,
//! the item puts itself into the poll's list of what may be ready, so that waiting looks at those alone and not at all.
//! What is in the list is looked at again before it is reported; what is level-triggered then goes back to its end.

mod item;
mod nesting;

pub use item::Trigger;

use super::{Description, DeviceId, File, Kind, Metadata, Readiness};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::task::Current;
use crate::wait::{WaitQueue, Woken};
use alloc::{collections::BTreeMap, collections::VecDeque, sync::Arc, sync::Weak, vec::Vec};
use core::sync::atomic::Ordering::SeqCst;
use formats::Instant;
pub use item::Item;

const FILE_SYSTEM: DeviceId = DeviceId::new(0, 14);

/// A description and the number under which it was added: after `dup`, the same file may be there twice.
type Key = (usize, i32);

pub struct Epoll {
    this: Weak<Epoll>,
    items: Lock<BTreeMap<Key, Arc<Item>>, { rank::FILE }>,
    /// What may be ready, each item once. There is always room for all items, so that a wake-up allocates nothing.
    ready: Lock<VecDeque<Arc<Item>>, { rank::READY }>,
    /// Woken when something comes into the list.
    queue: WaitQueue,
}

/// What is reported of one descriptor.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub found: Readiness,
    pub data: u64,
}

impl Epoll {
    pub fn new() -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            items: Lock::new(BTreeMap::new()),
            ready: Lock::new(VecDeque::new()),
            queue: WaitQueue::new(),
        })
    }

    fn key(description: &Arc<Description>, descriptor: i32) -> Key {
        (Arc::as_ptr(description).addr(), descriptor)
    }

    /// Begins to watch `description`.
    ///
    /// # Errors
    /// `EEXIST`, `EPERM` for what is always ready, `ELOOP` for polls in each other or more than five deep, `EINVAL` for an
    /// exclusive event poll, `ENOMEM`.
    pub fn add(
        &self,
        description: &Arc<Description>,
        descriptor: i32,
        trigger: Trigger,
    ) -> Result<(), Errno> {
        let mut can_wait = false;
        description.file().queues(&mut |_| can_wait = true);
        if !can_wait {
            return Err(Errno::EPERM);
        }
        let _no_other = match nesting::as_epoll(description.file()) {
            Some(_) if trigger.is_exclusive() => return Err(Errno::EINVAL),
            Some(inner) => Some(nesting::check(self, &inner)?),
            None => None,
        };
        let item = Item::new(self.this.clone(), description, trigger);
        {
            let mut items = self.items.lock();
            let key = Self::key(description, descriptor);
            if items.contains_key(&key) {
                return Err(Errno::EEXIST);
            }
            self.ready.lock().try_reserve(items.len() + 1).map_err(|_| Errno::ENOMEM)?;
            items.insert(key, item.clone());
        }
        if let Err(error) = item.attach(description) {
            self.items.lock().remove(&Self::key(description, descriptor));
            item.detach(description);
            return Err(error);
        }
        item.look();
        Ok(())
    }

    fn item(&self, description: &Arc<Description>, descriptor: i32) -> Result<Arc<Item>, Errno> {
        self.items.lock().get(&Self::key(description, descriptor)).cloned().ok_or(Errno::ENOENT)
    }

    /// Changes what is wanted of a descriptor.
    ///
    /// # Errors
    /// `ENOENT`; `EINVAL` for one that was added as exclusive.
    pub fn modify(
        &self,
        description: &Arc<Description>,
        descriptor: i32,
        trigger: Trigger,
    ) -> Result<(), Errno> {
        let item = self.item(description, descriptor)?;
        item.set_trigger(trigger)?;
        item.look();
        Ok(())
    }

    /// # Errors
    /// `ENOENT`.
    pub fn remove(&self, description: &Arc<Description>, descriptor: i32) -> Result<(), Errno> {
        let removed = self.items.lock().remove(&Self::key(description, descriptor)).ok_or(Errno::ENOENT)?;
        removed.detach(description);
        self.forget(&removed);
        Ok(())
    }

    /// Takes an item out of the list of what may be ready.
    fn forget(&self, item: &Arc<Item>) {
        self.ready.lock().retain(|other| !Arc::ptr_eq(other, item));
    }

    /// The last descriptor of `item`'s file was closed.
    fn description_is_gone(&self, item: &Arc<Item>) {
        let removed = {
            let mut items = self.items.lock();
            let key = items.iter().find(|(_, other)| Arc::ptr_eq(other, item)).map(|(key, _)| *key);
            key.and_then(|key| items.remove(&key))
        };
        self.forget(item);
        drop(removed);
    }

    /// Puts an item into the list unless it is there, and wakes those who wait.
    fn put(&self, item: Arc<Item>) {
        if !item.is_listed.swap(true, SeqCst) {
            self.ready.lock().push_back(item);
        }
        self.queue.wake_for(Readiness::READABLE);
    }

    /// Waits until something is ready and calls `emit` with each, at most `most`. Returns how many; none after the deadline.
    ///
    /// # Errors
    /// `EINTR`, and that of `emit`.
    pub fn wait(
        &self,
        current: &Current,
        most: usize,
        deadline: Option<Instant>,
        mut emit: impl FnMut(usize, Report) -> Result<(), Errno>,
    ) -> Result<usize, Errno> {
        loop {
            let count = self.collect(most, &mut emit)?;
            if count > 0 {
                return Ok(count);
            }
            let listed = || (!self.ready.lock().is_empty()).then_some(());
            match self.queue.wait(current, deadline, listed) {
                Ok(()) => {}
                Err(Woken::ByDeadline) => return Ok(0),
                Err(Woken::BySignal) => return Err(Errno::EINTR),
            }
        }
    }

    /// Goes through the list once.
    fn collect(
        &self,
        most: usize,
        emit: &mut impl FnMut(usize, Report) -> Result<(), Errno>,
    ) -> Result<usize, Errno> {
        let mut count = 0;
        let listed = self.ready.lock().len();
        for _ in 0..listed {
            if count == most {
                break;
            }
            let Some(item) = self.ready.lock().pop_front() else { break };
            // Before it is looked at: what happens from now on lists it again.
            item.is_listed.store(false, SeqCst);
            let Some(report) = item.report() else { continue };
            if let Err(error) = emit(count, report) {
                self.put(item);
                return if count > 0 { Ok(count) } else { Err(error) };
            }
            count += 1;
            if item.reported() && !item.is_listed.swap(true, SeqCst) {
                self.ready.lock().push_back(item);
            }
        }
        Ok(count)
    }

    /// Whether something in the list is ready.
    fn has_ready(&self) -> bool {
        let listed: Vec<Arc<Item>> = self.ready.lock().iter().cloned().collect();
        listed.iter().any(|item| item.report().is_some())
    }
}

impl File for Epoll {
    fn metadata(&self) -> Metadata {
        Metadata::new(Kind::Anonymous, 0o600, 1, FILE_SYSTEM)
    }

    fn readiness(&self) -> Readiness {
        if self.has_ready() { Readiness::READABLE } else { Readiness::empty() }
    }

    fn label(&self) -> &'static str {
        "[eventpoll]"
    }

    fn queues<'f>(&'f self, each: &mut dyn FnMut(&'f WaitQueue)) {
        each(&self.queue);
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        for item in core::mem::take(self.items.get_mut()).into_values() {
            item.detach_if_open();
        }
    }
}
