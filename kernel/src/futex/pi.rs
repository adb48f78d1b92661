//! Futexes with priority inheritance (man 2 futex): while a thread waits for a lock, the lock's owner has at least its
//! real-time priority, and so has the one for which that owner waits.
//!
//! The word holds the owner's thread id. The kernel knows a lock only while threads wait for it, and then what it knows
//! counts. One lock guards all of this: who need not wait never comes here. It is held while the word is changed, so that the
//! word and the queue are of one mind.

use crate::cpus;
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::task::{Current, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use formats::ThreadId;
use linux_raw_sys::general as linux;
use mm::FutexKey;
use sched::{Class, Policy};
use x86_64::VirtAddr;

/// What a thread has to do with these locks.
pub struct ThreadPi {
    /// The lock that it waited for is its own.
    granted: AtomicBool,
    /// Somebody has waited for it.
    was_owner: AtomicBool,
    /// It has given up what it held, and owns nothing any more.
    has_exited: AtomicBool,
    /// Changed under the lock of all.
    state: Lock<State, { rank::PI_THREAD }>,
}

#[derive(Default)]
struct State {
    waits_for: Option<FutexKey>,
    /// Its own policy, while it has the priority of another.
    base: Option<Policy>,
}

impl ThreadPi {
    pub fn new() -> Self {
        let no = || AtomicBool::new(false);
        let state = Lock::new(State { waits_for: None, base: None });
        Self { granted: no(), was_owner: no(), has_exited: no(), state }
    }
}

/// A lock for which threads wait, or which is on its way from a dead owner to the next.
struct PiLock {
    key: FutexKey,
    owner: Arc<Task>,
    /// By priority, and by arrival among equals.
    waiters: Vec<Arc<Task>>,
    /// The owner before has died, and this one has not seen to the word yet.
    is_orphan: bool,
}

static LOCKS: Lock<Vec<PiLock>, { rank::PI }> = Lock::new(Vec::new());

/// A number that is the larger the more urgent a thread is; 0 for those that lend nothing.
fn urgency(task: &Task) -> u8 {
    task.thread().map_or(0, |thread| match thread.policy() {
        Policy::Deadline(_) => 99,
        policy => policy.priority(),
    })
}

fn find(locks: &mut [PiLock], key: FutexKey) -> Option<&mut PiLock> {
    locks.iter_mut().find(|lock| lock.key == key)
}

/// Forgets the lock of `key` if nobody waits for it any more.
fn forget_if_free(locks: &mut Vec<PiLock>, key: FutexKey) {
    locks.retain(|lock| lock.key != key || !lock.waiters.is_empty() || lock.is_orphan);
    if locks.is_empty() {
        *locks = Vec::new();
    }
}

impl PiLock {
    fn enqueue(&mut self, task: Arc<Task>) {
        let urgency_of_task = urgency(&task);
        let at = self.waiters.partition_point(|other| urgency(other) >= urgency_of_task);
        self.waiters.insert(at, task);
    }

    /// Takes `task` out; false if it is not there.
    fn dequeue(&mut self, task: &Arc<Task>) -> bool {
        let at = self.waiters.iter().position(|other| Arc::ptr_eq(other, task));
        at.map(|at| self.waiters.remove(at)).is_some()
    }

    /// Makes the most urgent waiter the owner, who is returned and yet to be woken.
    fn pass_on(&mut self) -> Arc<Task> {
        let next = self.waiters.remove(0);
        next.futex.pi.state.lock().waits_for = None;
        next.futex.pi.was_owner.store(true, SeqCst);
        next.futex.pi.granted.store(true, SeqCst);
        self.owner = next.clone();
        next
    }
}

/// Gives `task` the priority that it is to have, and then those for which it waits, one after the other.
fn adjust(locks: &mut [PiLock], task: &Arc<Task>) {
    let mut task = task.clone();
    // There are no circles: who would close one does not get to wait.
    loop {
        adjust_one(locks, &task);
        let Some(key) = task.futex.pi.state.lock().waits_for else { return };
        let Some(lock) = find(locks, key) else { return };
        if lock.dequeue(&task) {
            lock.enqueue(task);
        }
        task = lock.owner.clone();
    }
}

fn adjust_one(locks: &[PiLock], task: &Arc<Task>) {
    let owned = locks.iter().filter(|lock| Arc::ptr_eq(&lock.owner, task));
    let lent = owned.filter_map(|lock| lock.waiters.first()).map(|first| urgency(first)).max().unwrap_or(0);
    let Some(thread) = task.thread() else { return };
    let mut state = task.futex.pi.state.lock();
    let base = state.base.unwrap_or_else(|| thread.policy());
    let is_lent = lent > base.priority() && base.class() != Class::Deadline;
    let wanted = if is_lent { Policy::Fifo { priority: lent } } else { base };
    state.base = is_lent.then_some(base);
    drop(state);
    if thread.policy() != wanted {
        // Only a reservation can fail, and who has one is lent nothing.
        let _ = cpus::set_policy(&thread, wanted);
    }
}

/// The policy of `task` itself, whatever it has been lent.
pub fn own_policy(task: &Task, thread: &sched::Thread) -> Policy {
    task.futex.pi.state.lock().base.unwrap_or_else(|| thread.policy())
}

/// Lets `task` compete by `policy` once what it was lent is given back; at once if that is nothing.
///
/// # Errors
/// When a reservation cannot be met.
pub fn set_policy(
    task: &Arc<Task>,
    thread: &sched::Thread,
    policy: Policy,
) -> Result<(), sched::NoBandwidth> {
    let mut locks = LOCKS.lock();
    if locks.is_empty() {
        drop(locks);
        return cpus::set_policy(thread, policy);
    }
    task.futex.pi.state.lock().base = None;
    cpus::set_policy(thread, policy)?;
    adjust(&mut locks, task);
    Ok(())
}

/// Whether `from` waits, through whatever chain, for a lock that `task` owns.
fn waits_for(locks: &mut [PiLock], from: &Arc<Task>, task: &Arc<Task>) -> bool {
    let mut at = from.clone();
    loop {
        if Arc::ptr_eq(&at, task) {
            return true;
        }
        let Some(key) = at.futex.pi.state.lock().waits_for else { return false };
        let Some(lock) = find(locks, key) else { return false };
        at = lock.owner.clone();
    }
}

/// The thread id in a word, if there is one, and the thread with this id, if there is one.
pub type Named = Option<(u32, Option<Arc<Task>>)>;

/// What an attempt to get a lock has come to.
pub enum Attempt {
    /// It is the thread's own.
    Got,
    /// The thread is in the queue.
    Queued,
    /// The word changed meanwhile.
    Again,
}

/// Tries to make `task` the owner of the lock `key`, whose word is at `at`; puts it into the queue if that is somebody else
/// and `wait` says so. `found` is the thread that the word named when the caller looked.
///
/// # Errors
/// `EDEADLK` when it would wait for itself, `ESRCH` for an owner that is gone, `EAGAIN` when it must not wait.
pub fn attempt(
    task: &Arc<Task>,
    key: FutexKey,
    at: VirtAddr,
    found: &Named,
    wait: bool,
) -> Result<Attempt, Errno> {
    let mut locks = LOCKS.lock();
    let value = arch::copy::read_u32(at)?;
    let named = value & linux::FUTEX_TID_MASK;
    if named == task.id.0 {
        return Err(Errno::EDEADLK);
    }
    let known = find(&mut locks, key).map(|lock| lock.owner.clone());
    if named == 0 && known.is_none() {
        let new = task.id.0 | value & linux::FUTEX_OWNER_DIED;
        let before = arch::copy::compare_exchange_u32(at, value, new)?;
        return Ok(if before == value { Attempt::Got } else { Attempt::Again });
    }
    if !wait {
        return Err(Errno::EAGAIN);
    }
    let is_known = known.is_some();
    let owner = match (known, found) {
        (Some(owner), _) => owner,
        // The caller keeps it beyond the lock: the last of a thread cannot go while that is held.
        (None, Some((id, owner))) if *id == named => owner.clone().ok_or(Errno::ESRCH)?,
        _ => return Ok(Attempt::Again),
    };
    // Either it sees the first when it exits, or we see the second.
    owner.futex.pi.was_owner.store(true, SeqCst);
    if owner.futex.pi.has_exited.load(SeqCst) {
        return Err(Errno::ESRCH);
    }
    if waits_for(&mut locks, &owner, task) {
        return Err(Errno::EDEADLK);
    }
    let room = locks.try_reserve(1).and_then(|()| match find(&mut locks, key) {
        Some(lock) => lock.waiters.try_reserve(1),
        None => Ok(()),
    });
    room.map_err(|_| Errno::ENOMEM)?;
    let marked = value | linux::FUTEX_WAITERS;
    if arch::copy::compare_exchange_u32(at, value, marked)? != value {
        return Ok(Attempt::Again);
    }
    if !is_known {
        locks.push(PiLock { key, owner: owner.clone(), waiters: Vec::new(), is_orphan: false });
    }
    task.futex.pi.granted.store(false, SeqCst);
    task.futex.pi.state.lock().waits_for = Some(key);
    if let Some(lock) = find(&mut locks, key) {
        lock.enqueue(task.clone());
    }
    adjust(&mut locks, &owner);
    Ok(Attempt::Queued)
}

/// Tells `task`, which waits to be moved to a lock, that it has it.
pub fn grant(task: &Task) {
    task.futex.pi.granted.store(true, SeqCst);
    wake(task);
}

/// `current` is going to wait.
pub fn begin_wait(current: &Current) {
    current.task.futex.pi.granted.store(false, SeqCst);
}

/// Whether the lock that `current` waited for is its own now.
pub fn is_granted(current: &Current) -> bool {
    current.task.futex.pi.granted.load(SeqCst)
}

/// Ends the wait of `current` for the lock `key`. Returns whether it is the owner: then it has seen to it that the word says
/// so, even if the owner before died.
pub fn end_wait(current: &Current, key: FutexKey, at: VirtAddr) -> Result<bool, Errno> {
    let mut locks = LOCKS.lock();
    let task = &current.task;
    let granted = task.futex.pi.granted.swap(false, SeqCst);
    let Some(lock) = find(&mut locks, key) else { return Ok(granted) };
    if !granted {
        lock.dequeue(task);
        task.futex.pi.state.lock().waits_for = None;
        let owner = lock.owner.clone();
        forget_if_free(&mut locks, key);
        adjust(&mut locks, &owner);
        return Ok(false);
    }
    if core::mem::take(&mut lock.is_orphan) {
        let waiters = if lock.waiters.is_empty() { 0 } else { linux::FUTEX_WAITERS };
        let changed = arch::copy::update_u32(at, |_| task.id.0 | linux::FUTEX_OWNER_DIED | waiters);
        forget_if_free(&mut locks, key);
        changed?;
    }
    Ok(true)
}

/// Gives up the lock of `key`, whose word is at `at`: the most urgent waiter has it then.
///
/// # Errors
/// `EPERM` when it is not the caller's.
pub fn unlock(current: &Current, key: FutexKey, at: VirtAddr) -> Result<(), Errno> {
    let task = &current.task;
    let mut locks = LOCKS.lock();
    if arch::copy::read_u32(at)? & linux::FUTEX_TID_MASK != task.id.0 {
        return Err(Errno::EPERM);
    }
    let lock =
        find(&mut locks, key).filter(|lock| Arc::ptr_eq(&lock.owner, task) && !lock.waiters.is_empty());
    let Some(lock) = lock else {
        arch::copy::update_u32(at, |_| 0)?;
        return Ok(());
    };
    let waiters = if lock.waiters.len() > 1 { linux::FUTEX_WAITERS } else { 0 };
    let next = lock.waiters[0].id.0;
    // Others may only set FUTEX_WAITERS meanwhile, and under the lock that is held.
    arch::copy::update_u32(at, |_| next | waiters)?;
    let next = lock.pass_on();
    forget_if_free(&mut locks, key);
    adjust(&mut locks, &next);
    adjust(&mut locks, task);
    drop(locks);
    wake(&next);
    Ok(())
}

fn wake(task: &Task) {
    if let Some(thread) = task.thread() {
        cpus::wake(&thread);
    }
}

/// Passes on what the current thread owns, which ends or is about to lose its memory: the next owners find out that it has died.
pub fn thread_exits(current: &Current) {
    let task = &current.task;
    task.futex.pi.has_exited.store(true, SeqCst);
    if task.futex.pi.was_owner.load(SeqCst) {
        pass_on_all(task);
    }
    // With another program, it may own locks again.
    task.futex.pi.has_exited.store(task.is_exiting(), SeqCst);
}

fn pass_on_all(task: &Arc<Task>) {
    let mut woken = Vec::new();
    {
        let mut locks = LOCKS.lock();
        for lock in locks.iter_mut().filter(|lock| Arc::ptr_eq(&lock.owner, task)) {
            lock.is_orphan = !lock.waiters.is_empty();
            if lock.is_orphan {
                woken.push(lock.pass_on());
            }
        }
        locks.retain(|lock| !lock.waiters.is_empty() || lock.is_orphan);
        if locks.is_empty() {
            *locks = Vec::new();
        }
        for next in &woken {
            adjust(&mut locks, next);
        }
    }
    woken.iter().for_each(|task| wake(task));
}

/// The thread that the word at `at` names, which is looked for before any lock is taken.
pub fn owner_named(at: VirtAddr) -> Result<Named, Errno> {
    let id = arch::copy::read_u32(at)? & linux::FUTEX_TID_MASK;
    Ok((id != 0).then(|| (id, crate::task::find_thread(ThreadId(id)))))
}
