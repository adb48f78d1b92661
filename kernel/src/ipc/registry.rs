//! The objects of one kind, by id and by key (man 2 shmget, semget, msgget).

use crate::errno::Errno;
use crate::lock::{Lock, rank};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// IPC_PRIVATE: the key of objects that are not found by one.
pub const PRIVATE: i32 = 0;

/// An id is a place in the table and, in units of this, a number that tells the objects apart that have been at the place.
const PLACES: i32 = 1 << 15;
const SEQUENCES: i32 = 1 << 15;

/// The flags of the calls that make objects (`linux/ipc.h`).
const CREATE: u32 = 0o1000;
const EXCLUSIVE: u32 = 0o2000;

struct Entry<T> {
    id: i32,
    key: i32,
    object: Arc<T>,
}

struct Table<T> {
    entries: Vec<Option<Entry<T>>>,
    made: i32,
}

pub struct Registry<T> {
    table: Lock<Table<T>, { rank::IPC_TABLE }>,
    /// The most objects.
    most: usize,
}

impl<T> Registry<T> {
    pub const fn new(most: usize) -> Self {
        Self { table: Lock::new(Table { entries: Vec::new(), made: 0 }), most }
    }

    /// The id of the object with `key`, which `make` makes if there is none and `flags` say so. One that is there must be as
    /// `fits` demands.
    ///
    /// # Errors
    /// `ENOENT`, `EEXIST` as `flags` have it; `ENOSPC` when there are too many, and those of `fits` and `make`.
    pub fn get_or_make(
        &self,
        key: i32,
        flags: u32,
        fits: impl FnOnce(&T) -> Result<(), Errno>,
        make: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<i32, Errno> {
        let mut table = self.table.lock();
        if key != PRIVATE {
            if let Some(entry) = table.entries.iter().flatten().find(|entry| entry.key == key) {
                if flags & (CREATE | EXCLUSIVE) == CREATE | EXCLUSIVE {
                    return Err(Errno::EEXIST);
                }
                fits(&entry.object)?;
                return Ok(entry.id);
            }
            if flags & CREATE == 0 {
                return Err(Errno::ENOENT);
            }
        }
        if mm::frames::is_low() {
            return Err(Errno::ENOMEM);
        }
        let object = Arc::new(make()?);
        let free = table.entries.iter().position(Option::is_none);
        let place = free.unwrap_or(table.entries.len());
        if place >= self.most {
            return Err(Errno::ENOSPC);
        }
        let id = table.made * PLACES + place as i32;
        table.made = (table.made + 1) % SEQUENCES;
        let entry = Some(Entry { id, key, object });
        match table.entries.get_mut(place) {
            Some(slot) => *slot = entry,
            None => table.entries.push(entry),
        }
        Ok(id)
    }

    /// # Errors
    /// `EINVAL` for an id that no object has.
    pub fn get(&self, id: i32) -> Result<Arc<T>, Errno> {
        self.at(id % PLACES).filter(|(found, _)| *found == id).map(|(_, object)| object).ok_or(Errno::EINVAL)
    }

    /// The object at a place of the table, and its id.
    pub fn at(&self, place: i32) -> Option<(i32, Arc<T>)> {
        let table = self.table.lock();
        let entry = table.entries.get(usize::try_from(place).ok()?)?.as_ref()?;
        Some((entry.id, entry.object.clone()))
    }

    /// How many objects there are, and the highest place that one has: 0 if there are none, as on Linux.
    pub fn count(&self) -> (usize, usize) {
        let table = self.table.lock();
        let highest = table.entries.iter().rposition(Option::is_some).unwrap_or(0);
        (table.entries.iter().flatten().count(), highest)
    }

    /// Makes an object one that is not found by its key any more.
    pub fn hide(&self, id: i32) {
        for entry in self.table.lock().entries.iter_mut().flatten().filter(|entry| entry.id == id) {
            entry.key = PRIVATE;
        }
    }

    /// Removes an object from the table; false if it was not there.
    pub fn remove(&self, id: i32) -> bool {
        let before = self.count().0;
        self.retain(|entry, _| entry != id);
        self.count().0 < before
    }

    /// Removes the objects that `keep` does not want, given id and object.
    pub fn retain(&self, keep: impl Fn(i32, &T) -> bool) {
        let mut table = self.table.lock();
        let mut removed = Vec::new();
        for slot in &mut table.entries {
            if slot.as_ref().is_some_and(|entry| !keep(entry.id, &entry.object)) {
                removed.push(slot.take());
            }
        }
        if table.entries.iter().all(Option::is_none) {
            table.entries = Vec::new();
        }
        drop(table);
        drop(removed);
    }

    /// All objects.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.table.lock().entries.iter().flatten().map(|entry| entry.object.clone()).collect()
    }
}
