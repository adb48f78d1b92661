//! A process's file descriptors.

use super::locks::{self, Owner};
use super::{Description, dev};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use alloc::{sync::Arc, vec::Vec};
use core::ops::RangeInclusive;
use linux_raw_sys::general::O_RDWR;

/// How many descriptors a process may have: the soft limit of `RLIMIT_NOFILE` (man 2 getrlimit).
pub const MAX_DESCRIPTORS: usize = 1024;

#[derive(Clone)]
struct Slot {
    description: Arc<Description>,
    close_on_exec: bool,
}

#[derive(Clone, Default)]
struct Slots {
    slots: Vec<Option<Slot>>,
    /// All numbers below are in use.
    lowest_free: usize,
}

/// File descriptors, shared by threads that were cloned with `CLONE_FILES`.
pub struct FileTable {
    slots: Lock<Slots, { rank::FILE_TABLE }>,
}

/// A descriptor number as programs give it: anything.
fn index(descriptor: i32) -> Result<usize, Errno> {
    usize::try_from(descriptor).map_err(|_| Errno::EBADF)
}

impl Slots {
    fn slot(&self, descriptor: i32) -> Result<&Slot, Errno> {
        self.slots.get(index(descriptor)?).and_then(Option::as_ref).ok_or(Errno::EBADF)
    }

    /// The lowest free number that is not below `least`.
    fn free_from(&self, least: usize) -> Result<usize, Errno> {
        let start = least.max(self.lowest_free);
        let free = (start..self.slots.len()).find(|at| self.slots[*at].is_none());
        let free = free.unwrap_or(start.max(self.slots.len()));
        if free < MAX_DESCRIPTORS { Ok(free) } else { Err(Errno::EMFILE) }
    }

    /// Fills slot `at` and returns what was there.
    fn set(&mut self, at: usize, slot: Slot) -> Result<Option<Slot>, Errno> {
        if at >= self.slots.len() {
            self.slots.try_reserve(at + 1 - self.slots.len()).map_err(|_| Errno::ENOMEM)?;
            self.slots.resize(at + 1, None);
        }
        let old = self.slots[at].replace(slot);
        if at == self.lowest_free {
            self.lowest_free += 1;
        }
        Ok(old)
    }

    fn insert(&mut self, least: usize, slot: Slot) -> Result<i32, Errno> {
        let at = self.free_from(least)?;
        self.set(at, slot)?;
        Ok(at as i32)
    }

    fn take(&mut self, at: usize) -> Option<Slot> {
        let slot = self.slots.get_mut(at)?.take()?;
        self.lowest_free = self.lowest_free.min(at);
        Some(slot)
    }
}

impl FileTable {
    fn new(slots: Slots) -> Arc<Self> {
        Arc::new(Self { slots: Lock::new(slots) })
    }

    pub fn empty() -> Arc<Self> {
        Self::new(Slots::default())
    }

    /// The first process's: 0, 1 and 2 are the console.
    pub fn standard() -> Arc<Self> {
        let description =
            Description::new(dev::standard(), O_RDWR).expect("there is memory for the first process");
        let slot = Some(Slot { description, close_on_exec: false });
        let slots = alloc::vec![slot; 3];
        Self::new(Slots { lowest_free: slots.len(), slots })
    }

    /// A table with the same descriptors, for a child.
    pub fn fork_copy(&self) -> Arc<Self> {
        Self::new(self.slots.lock().clone())
    }

    /// What `descriptor` refers to.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get(&self, descriptor: i32) -> Result<Arc<Description>, Errno> {
        Ok(self.slots.lock().slot(descriptor)?.description.clone())
    }

    /// Makes the lowest free number that is not below `least` refer to `description`.
    ///
    /// # Errors
    /// `EMFILE` when there are [`MAX_DESCRIPTORS`], `ENOMEM`.
    pub fn insert(
        &self,
        description: Arc<Description>,
        least: usize,
        close_on_exec: bool,
    ) -> Result<i32, Errno> {
        self.slots.lock().insert(least, Slot { description, close_on_exec })
    }

    /// Gives each of two descriptions a number, or none.
    ///
    /// # Errors
    /// As [`Self::insert`].
    pub fn insert_pair(&self, pair: [Arc<Description>; 2], close_on_exec: bool) -> Result<[i32; 2], Errno> {
        let mut slots = self.slots.lock();
        let [first, second] = pair.map(|description| Slot { description, close_on_exec });
        let first = slots.insert(0, first)?;
        match slots.insert(0, second) {
            Ok(second) => Ok([first, second]),
            Err(error) => {
                let taken_back = slots.take(first as usize);
                drop(slots);
                drop(taken_back);
                Err(error)
            }
        }
    }

    /// Makes `to` refer to what `from` refers to, closing `to` first if it is open (man 2 dup2). They differ.
    ///
    /// # Errors
    /// `EBADF` when `from` is not open or `to` is not a possible number; `ENOMEM`.
    pub fn duplicate_to(&self, from: i32, to: i32, close_on_exec: bool) -> Result<(), Errno> {
        let at = index(to)?;
        if at >= MAX_DESCRIPTORS {
            return Err(Errno::EBADF);
        }
        let mut slots = self.slots.lock();
        let description = slots.slot(from)?.description.clone();
        let closed = slots.set(at, Slot { description, close_on_exec });
        drop(slots);
        // The old description, if this was its last use, goes outside of the lock.
        self.closed(closed?);
        Ok(())
    }

    pub fn is_close_on_exec(&self, descriptor: i32) -> Result<bool, Errno> {
        Ok(self.slots.lock().slot(descriptor)?.close_on_exec)
    }

    pub fn set_close_on_exec(&self, descriptor: i32, on: bool) -> Result<(), Errno> {
        let mut slots = self.slots.lock();
        slots.slot(descriptor)?;
        if let Some(slot) = &mut slots.slots[index(descriptor)?] {
            slot.close_on_exec = on;
        }
        Ok(())
    }

    /// # Errors
    /// `EBADF` when it is not open.
    pub fn close(&self, descriptor: i32) -> Result<(), Errno> {
        let closed = self.slots.lock().take(index(descriptor)?);
        // Dropped here, after the lock.
        let is_open = closed.is_some();
        self.closed(closed);
        if is_open { Ok(()) } else { Err(Errno::EBADF) }
    }

    /// Closes all descriptors in `range`.
    pub fn close_range(&self, range: RangeInclusive<usize>) {
        self.close_those(range, |_| true);
    }

    /// Marks all descriptors in `range` to be closed by exec.
    pub fn mark_range(&self, range: RangeInclusive<usize>) {
        let mut slots = self.slots.lock();
        let (first, last) = range.into_inner();
        for slot in slots.slots.iter_mut().take(last.saturating_add(1)).skip(first).flatten() {
            slot.close_on_exec = true;
        }
    }

    /// Closes what exec closes.
    pub fn close_on_exec(&self) {
        self.close_those(0..=usize::MAX, |slot| slot.close_on_exec);
    }

    /// Closes one after the other, so that descriptions go outside of the lock.
    fn close_those(&self, range: RangeInclusive<usize>, which: impl Fn(&Slot) -> bool) {
        let (mut at, last) = range.into_inner();
        loop {
            let closed = {
                let mut slots = self.slots.lock();
                let end = slots.slots.len().min(last.saturating_add(1));
                let Some(next) = (at..end).find(|at| slots.slots[*at].as_ref().is_some_and(&which)) else {
                    return;
                };
                at = next + 1;
                slots.take(next)
            };
            self.closed(closed);
        }
    }

    /// A number no longer refers to what it did: the process's record locks on that file go (man 2 fcntl).
    fn closed(&self, slot: Option<Slot>) {
        if let Some(slot) = slot {
            locks::release_all(&slot.description, Owner::Table(core::ptr::from_ref(self).addr()));
        }
    }

    /// The numbers in use.
    pub fn numbers(&self) -> Vec<i32> {
        let slots = self.slots.lock();
        let used = slots.slots.iter().enumerate().filter(|(_, slot)| slot.is_some());
        used.map(|(at, _)| at as i32).collect()
    }

    /// How many numbers the table has room for now (`FDSize` of `/proc/PID/status`).
    pub fn size(&self) -> usize {
        self.slots.lock().slots.len()
    }
}

impl Drop for FileTable {
    fn drop(&mut self) {
        let slots = core::mem::take(&mut self.slots.get_mut().slots);
        for slot in slots {
            self.closed(slot);
        }
    }
}
