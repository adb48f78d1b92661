//! Who waits on which futex.
//!
//! A fixed number of buckets, each a short list in order of arrival under a lock of its own. A waiting thread is in at most
//! one bucket and knows in which; being taken out is what wakes it, so that nobody is woken twice or for nothing.

use crate::cpus;
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::task::{Current, Task};
use alloc::sync::Arc;
use arch::sync::LockGuard;
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use crossbeam_utils::CachePadded;
use mm::FutexKey;
use smallvec::SmallVec;

const BUCKETS: usize = 256;
/// Where a thread is that waits on no futex.
const NOWHERE: usize = usize::MAX;

/// In which bucket a thread waits. Changes only under that bucket's lock.
pub struct Place(AtomicUsize);

impl Place {
    pub const fn nowhere() -> Self {
        Self(AtomicUsize::new(NOWHERE))
    }

    fn get(&self) -> usize {
        self.0.load(SeqCst)
    }

    fn set(&self, bucket: usize) {
        self.0.store(bucket, SeqCst);
    }
}

struct Waiter {
    key: FutexKey,
    /// It is woken by wakes that have a bit in common (FUTEX_WAIT_BITSET).
    bits: u32,
    thread: Arc<sched::Thread>,
    /// It is not to be woken, but moved to this lock (FUTEX_WAIT_REQUEUE_PI).
    lock: Option<FutexKey>,
}

impl Waiter {
    fn place(&self) -> &Place {
        &Task::of(&self.thread).expect("idle threads do not wait on futexes").futex.place
    }
}

struct Bucket {
    waiters: SmallVec<[Waiter; 2]>,
    /// How many have ever come.
    arrivals: u64,
}

type Locked = Lock<Bucket, { rank::FUTEX }>;
type Guard = LockGuard<'static, Bucket, { rank::FUTEX }>;
/// Threads that were taken out and are yet to be woken, once no lock is held.
type Taken = SmallVec<[Arc<sched::Thread>; 8]>;

static TABLE: [CachePadded<Locked>; BUCKETS] =
    [const { CachePadded::new(Lock::new(Bucket { waiters: SmallVec::new_const(), arrivals: 0 })) }; BUCKETS];

/// The bucket of a key: the words mixed so that neighbours in memory spread out (Fibonacci hashing).
fn bucket_of(key: FutexKey) -> usize {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let (owner, place) = match key {
        FutexKey::Private { space, address } => (space, address.as_u64()),
        FutexKey::Shared { object, offset } => (!object, offset),
    };
    let mixed = (owner.rotate_left(32) ^ (place / 4)).wrapping_mul(GOLDEN);
    (mixed >> (u64::BITS - BUCKETS.ilog2())) as usize
}

impl Bucket {
    /// Takes out at most `count` of those that wait for `key` with one of `bits`, in order of arrival.
    fn take(&mut self, key: FutexKey, bits: u32, count: usize, mut each: impl FnMut(Waiter)) -> usize {
        let mut taken = 0;
        let mut at = 0;
        while taken < count && at < self.waiters.len() {
            let waiter = &self.waiters[at];
            if waiter.key == key && waiter.bits & bits != 0 && waiter.lock.is_none() {
                each(self.waiters.remove(at));
                taken += 1;
            } else {
                at += 1;
            }
        }
        if self.waiters.is_empty() {
            self.waiters.shrink_to_fit();
        }
        taken
    }
}

/// Puts the current thread in the queue of `key`. From now on a wake can reach it: it looks at the futex after this.
pub fn enter(current: &Current, key: FutexKey, bits: u32) -> Result<(), Errno> {
    enter_with(current, key, bits, None)
}

/// As [`enter`], to be moved to the queue of `lock` by [`move_to_lock`] and not to be woken.
pub fn enter_to_be_moved(current: &Current, key: FutexKey, lock: FutexKey) -> Result<(), Errno> {
    super::pi::begin_wait(current);
    enter_with(current, key, u32::MAX, Some(lock))
}

fn enter_with(current: &Current, key: FutexKey, bits: u32, lock: Option<FutexKey>) -> Result<(), Errno> {
    let index = bucket_of(key);
    let mut bucket = TABLE[index].lock();
    bucket.waiters.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    current.task.futex.place.set(index);
    bucket.waiters.push(Waiter { key, bits, thread: current.thread.clone(), lock });
    bucket.arrivals += 1;
    Ok(())
}

/// Whether the current thread has been taken out of the queue by somebody else.
pub fn was_woken(current: &Current) -> bool {
    current.task.futex.place.get() == NOWHERE
}

/// Takes the current thread out of the queue. False when somebody else has done so: it was woken.
pub fn leave(current: &Current) -> bool {
    let place = &current.task.futex.place;
    loop {
        let index = place.get();
        if index == NOWHERE {
            return false;
        }
        let mut bucket = TABLE[index].lock();
        // It may have been moved to another futex in the meantime.
        if place.get() == index {
            bucket.waiters.retain(|waiter| !Arc::ptr_eq(&waiter.thread, &current.thread));
            if bucket.waiters.is_empty() {
                bucket.waiters.shrink_to_fit();
            }
            place.set(NOWHERE);
            return true;
        }
    }
}

/// Wakes at most `count` threads that wait for `key` with one of `bits`. Returns how many.
pub fn wake(key: FutexKey, bits: u32, count: usize) -> usize {
    let mut taken = Taken::new();
    let woken = TABLE[bucket_of(key)].lock().take(key, bits, count, |waiter| taken.push(release(waiter)));
    wake_all(taken);
    woken
}

/// Marks a waiter that was taken out.
fn release(waiter: Waiter) -> Arc<sched::Thread> {
    waiter.place().set(NOWHERE);
    waiter.thread
}

fn wake_all(taken: Taken) {
    for thread in taken {
        cpus::wake(&thread);
    }
}

/// Takes those that wait for `from` to be moved to `lock` out, one after the other, as long as `take` answers true for them and
/// `moved`, which counts them, is below `most`. Returns false if it has answered false.
///
/// # Errors
/// That of `take`; `EINVAL` for a waiter that waits for something else.
pub fn move_to_lock(
    from: FutexKey,
    lock: FutexKey,
    moved: &mut usize,
    most: usize,
    mut take: impl FnMut(&Arc<Task>) -> Result<bool, Errno>,
) -> Result<bool, Errno> {
    let mut bucket = TABLE[bucket_of(from)].lock();
    while *moved < most
        && let Some(at) = bucket.waiters.iter().position(|waiter| waiter.key == from)
    {
        let waiter = &bucket.waiters[at];
        if waiter.lock != Some(lock) {
            return Err(Errno::EINVAL);
        }
        let task = Task::of(&waiter.thread).and_then(Task::handle).ok_or(Errno::EINVAL)?;
        if !take(&task)? {
            return Ok(false);
        }
        waiter.place().set(NOWHERE);
        bucket.waiters.remove(at);
        if bucket.waiters.is_empty() {
            bucket.waiters.shrink_to_fit();
        }
        *moved += 1;
    }
    Ok(true)
}

/// How many have ever waited in the bucket of `key`: see [`requeue`].
pub fn arrivals(key: FutexKey) -> u64 {
    TABLE[bucket_of(key)].lock().arrivals
}

/// Wakes at most `wake` threads that wait for `from`, and makes at most `count` others wait for `to` instead. Returns how
/// many were woken and moved.
///
/// `None`: somebody came to wait after there were `arrivals`, so that what the caller knows of the futex may not hold for
/// that one; nothing was done.
///
/// # Errors
/// `ENOMEM`, and nothing was done either.
pub fn requeue(
    from: FutexKey,
    to: FutexKey,
    wake: usize,
    count: usize,
    arrivals: Option<u64>,
) -> Result<Option<(usize, usize)>, Errno> {
    let target = bucket_of(to);
    let mut taken = Taken::new();
    let (woken, moved) = {
        let (mut source, mut other) = lock_both(bucket_of(from), target);
        if arrivals.is_some_and(|arrivals| arrivals != source.arrivals) {
            return Ok(None);
        }
        let room = source.waiters.len().min(count);
        if let Some(destination) = &mut other {
            destination.waiters.try_reserve(room).map_err(|_| Errno::ENOMEM)?;
        }
        let mut moving: SmallVec<[Waiter; 8]> = SmallVec::new();
        moving.try_reserve(room).map_err(|_| Errno::ENOMEM)?;
        let woken = source.take(from, u32::MAX, wake, |waiter| taken.push(release(waiter)));
        let moved = source.take(from, u32::MAX, count, |waiter| moving.push(waiter));
        let destination = other.as_mut().unwrap_or(&mut source);
        destination.arrivals += moved as u64;
        for waiter in moving {
            waiter.place().set(target);
            destination.waiters.push(Waiter { key: to, ..waiter });
        }
        (woken, moved)
    };
    wake_all(taken);
    Ok(Some((woken, moved)))
}

/// Locks two buckets; just one if they are the same. All buckets have one rank: instead of an order, whoever cannot get
/// the second gives up the first, so that nobody ever waits with one held.
fn lock_both(first: usize, second: usize) -> (Guard, Option<Guard>) {
    loop {
        let held = TABLE[first].lock();
        if first == second {
            return (held, None);
        }
        if let Some(other) = TABLE[second].try_lock() {
            return (held, Some(other));
        }
        drop(held);
        core::hint::spin_loop();
    }
}
