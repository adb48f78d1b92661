//! Locks on files (man 2 flock; man 2 fcntl, "Advisory record locking").
//!
//! Three kinds with two kinds of owners: `flock` and open-file-description locks belong to a description and end with it;
//! record locks belong to a table of descriptors and end when any descriptor for the file is closed there. They live in a
//! table by inode, which is empty as long as nobody locks anything.

use super::{Description, DeviceId};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::task::Current;
use crate::wait::WaitQueue;
use alloc::{collections::BTreeMap, vec::Vec};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Who has a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A table of descriptors, by its address.
    Table(usize),
    /// A description, by its address.
    Description(usize),
}

/// Locks of different spaces do not see each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    Whole,
    Records,
}

/// A lock, or what would be one.
#[derive(Clone, Copy, Debug)]
pub struct FileLock {
    pub space: Space,
    pub owner: Owner,
    /// Bytes from `start` to before `end`; `u64::MAX` is the end of the file, wherever that is.
    pub start: u64,
    pub end: u64,
    pub is_exclusive: bool,
    /// Whose it is, for `F_GETLK`.
    pub process: u32,
}

impl FileLock {
    fn touches(&self, other: &Self) -> bool {
        self.space == other.space && self.start < other.end && other.start < self.end
    }

    fn conflicts(&self, other: &Self) -> bool {
        self.owner != other.owner && self.touches(other) && (self.is_exclusive || other.is_exclusive)
    }
}

type Key = (u32, u64);

static LOCKS: Lock<BTreeMap<Key, Vec<FileLock>>, { rank::CONTENT }> = Lock::new(BTreeMap::new());
/// How many files have locks: what closing a descriptor looks at.
static LOCKED_FILES: AtomicUsize = AtomicUsize::new(0);
/// Woken when a lock is given up.
static RELEASED: WaitQueue = WaitQueue::new();

fn key(description: &Description) -> Key {
    let metadata = description.file().metadata();
    let DeviceId { minor, .. } = metadata.file_system;
    (minor, metadata.number)
}

/// Takes what `owner` has of the range out of `locks`; pieces at its sides stay.
fn cut(locks: &mut Vec<FileLock>, gone: &FileLock) -> bool {
    let mut kept = Vec::with_capacity(locks.len() + 1);
    let mut changed = false;
    for lock in locks.drain(..) {
        if lock.owner != gone.owner || !lock.touches(gone) {
            kept.push(lock);
            continue;
        }
        changed = true;
        if lock.start < gone.start {
            kept.push(FileLock { end: gone.start, ..lock });
        }
        if gone.end < lock.end {
            kept.push(FileLock { start: gone.end, ..lock });
        }
    }
    *locks = kept;
    changed
}

/// After a change: files without locks are forgotten.
fn tidy(map: &mut BTreeMap<Key, Vec<FileLock>>) {
    map.retain(|_, locks| !locks.is_empty());
    LOCKED_FILES.store(map.len(), Relaxed);
    if map.is_empty() {
        // An emptied map would keep its root.
        *map = BTreeMap::new();
    }
}

/// The first lock that forbids `wanted`.
pub fn conflict(description: &Description, wanted: &FileLock) -> Option<FileLock> {
    let key = key(description);
    LOCKS.lock().get(&key)?.iter().find(|lock| lock.conflicts(wanted)).copied()
}

fn try_set(key: Key, wanted: &FileLock) -> Option<bool> {
    let mut map = LOCKS.lock();
    let locks = map.entry(key).or_default();
    if locks.iter().any(|lock| lock.conflicts(wanted)) {
        return None;
    }
    let replaced = cut(locks, wanted);
    locks.push(*wanted);
    LOCKED_FILES.store(map.len(), Relaxed);
    Some(replaced)
}

/// Sets a lock, in place of what its owner has there. With `waits`, sleeps until that is possible.
///
/// # Errors
/// `EAGAIN` when another one forbids it, `RESTART`.
pub fn set(
    current: &Current,
    description: &Description,
    wanted: &FileLock,
    waits: bool,
) -> Result<(), Errno> {
    let key = key(description);
    let attempt = || try_set(key, wanted);
    let replaced = match attempt() {
        Some(replaced) => replaced,
        None if !waits => return Err(Errno::EAGAIN),
        // A converted `flock` is given up first (man 2 flock).
        None => {
            if wanted.space == Space::Whole {
                release(description, wanted);
            }
            RELEASED.wait(current, None, attempt).map_err(|_| Errno::RESTART)?
        }
    };
    description.note_locks();
    if replaced {
        RELEASED.wake_all();
    }
    Ok(())
}

/// Gives up what the owner of `range` has there.
pub fn release(description: &Description, range: &FileLock) {
    let changed = {
        let key = key(description);
        let mut map = LOCKS.lock();
        let changed = map.get_mut(&key).is_some_and(|locks| cut(locks, range));
        tidy(&mut map);
        changed
    };
    if changed {
        RELEASED.wake_all();
    }
}

/// Gives up all that `owner` has of the file.
pub fn release_all(description: &Description, owner: Owner) {
    if LOCKED_FILES.load(Relaxed) == 0 {
        return;
    }
    for space in [Space::Whole, Space::Records] {
        let (start, end) = (0, u64::MAX);
        release(description, &FileLock { space, owner, start, end, is_exclusive: false, process: 0 });
    }
}
