//! The table of processes and the numbers of threads.
//!
//! Sharded by process id, so that forks and exits on different CPUs seldom meet.

use super::{Process, ProcessId, Task};
use crate::cpus;
use crate::lock::{Lock, rank};
use alloc::{collections::BTreeMap, sync::Arc, sync::Weak, vec::Vec};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};
use formats::ThreadId;

const SHARDS: usize = 64;

type Shard = Lock<BTreeMap<ProcessId, Weak<Process>>, { rank::TABLE }>;

static SHARDED: [Shard; SHARDS] = [const { Lock::new(BTreeMap::new()) }; SHARDS];
static NEXT_ID: AtomicU32 = AtomicU32::new(1);
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// The most threads that may live at once; the next fork gets EAGAIN (man 2 fork). Linux's default for a machine with
/// 512 MiB is of the same order (`/proc/sys/kernel/threads-max`).
pub const MAX_THREADS: usize = 16 * 1024;

fn shard(id: ProcessId) -> &'static Shard {
    &SHARDED[id as usize % SHARDS]
}

/// A number for a new thread or process, never used before. The first is 1.
pub(super) fn next_id() -> u32 {
    NEXT_ID.fetch_add(1, Relaxed)
}

/// The last number that was given.
pub fn last_id() -> u32 {
    NEXT_ID.load(Relaxed) - 1
}

/// A living thread's place in their number, from before it is made until its last memory is given back.
pub(super) struct Admission(());

impl Admission {
    /// `None` when there are too many threads.
    pub fn request() -> Option<Self> {
        let admitted =
            THREADS.try_update(Relaxed, Relaxed, |count| (count < MAX_THREADS).then_some(count + 1));
        admitted.ok().map(|_| Self(()))
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if THREADS.fetch_sub(1, Release) == 1 {
            // The run may be over.
            cpus::wake_boot_cpu();
        }
    }
}

/// How many threads live.
pub fn live_threads() -> usize {
    THREADS.load(Acquire)
}

pub(super) fn insert(process: &Arc<Process>) {
    shard(process.id).lock().insert(process.id, Arc::downgrade(process));
}

/// Takes a reaped process out.
pub(super) fn remove(id: ProcessId) {
    let mut shard = shard(id).lock();
    shard.remove(&id);
    if shard.is_empty() {
        // An emptied map would keep its root.
        *shard = BTreeMap::new();
    }
}

/// The process with this id, a zombie included.
pub fn find(id: ProcessId) -> Option<Arc<Process>> {
    shard(id).lock().get(&id)?.upgrade()
}

/// All processes, zombies included, in no order. Nothing is allocated, and nothing is locked between two of them: of those
/// that come or go meanwhile, some are seen.
pub fn iter() -> impl Iterator<Item = Arc<Process>> {
    SHARDED.iter().flat_map(|shard| {
        let mut last = 0;
        core::iter::from_fn(move || {
            let shard = shard.lock();
            let (id, process) = shard.range(last + 1..).find_map(|(id, it)| Some((*id, it.upgrade()?)))?;
            last = id;
            Some(process)
        })
    })
}

/// As [`iter`], collected.
pub fn all() -> Vec<Arc<Process>> {
    iter().collect()
}

/// The thread with this id, if it has not ended.
pub fn find_thread(id: ThreadId) -> Option<Arc<Task>> {
    let is_it = |task: &&Arc<Task>| task.id == id;
    if let Some(process) = find(id.0)
        && let Some(task) = process.threads.lock().iter().find(is_it)
    {
        return Some(task.clone());
    }
    iter().find_map(|process| process.threads.lock().iter().find(is_it).cloned())
}
