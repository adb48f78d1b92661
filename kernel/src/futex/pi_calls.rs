//! The futex operations on locks with priority inheritance: waiting for them, and going from a condition to its lock.

use super::pi::{self, Attempt};
use super::{Word, table};
use crate::errno::Errno;
use crate::task::{Current, Task};
use crate::timers::Deadline;
use crate::wait::Woken;
use alloc::sync::Arc;
use core::mem;

/// FUTEX_LOCK_PI and, with `wait` false, FUTEX_TRYLOCK_PI.
///
/// # Errors
/// As [`pi::attempt`]; `ETIMEDOUT`.
pub fn lock(word: &Word, address: u64, wait: bool, deadline: Option<Deadline>) -> Result<u64, Errno> {
    let current = word.current;
    let (key, at) = word.key(address)?;
    loop {
        let found = pi::owner_named(at)?;
        match pi::attempt(&current.task, key, at, &found, wait)? {
            Attempt::Got => return Ok(0),
            Attempt::Again => {}
            Attempt::Queued => break,
        }
    }
    let woken = current.sleep_until_deadline(deadline, || pi::is_granted(current).then_some(()));
    match (pi::end_wait(current, key, at)?, woken) {
        (true, _) => Ok(0),
        (false, Err(Woken::ByDeadline)) => Err(Errno::ETIMEDOUT),
        (false, _) => Err(call_again(current)),
    }
}

/// Lets the program make the call again after any signal, handled or not: the error to return.
fn call_again(current: &Current) -> Errno {
    const SYSCALL_LENGTH: u64 = 2;
    let mut user = current.user.borrow_mut();
    let regs = &mut user.regs;
    // From here on it is as if the call had not been made yet.
    regs.rax = mem::replace(&mut regs.orig_rax, u64::MAX);
    regs.rip = regs.rip.wrapping_sub(SYSCALL_LENGTH);
    Errno::KEEP_REGISTERS
}

/// FUTEX_UNLOCK_PI.
pub fn unlock(word: &Word, address: u64) -> Result<u64, Errno> {
    let (key, at) = word.key(address)?;
    pi::unlock(word.current, key, at)?;
    Ok(0)
}

/// FUTEX_WAIT_REQUEUE_PI: waits at `address` until it is moved to the lock at `lock`, and then until it has that.
///
/// # Errors
/// `EAGAIN` if the word is not `expected`, or when a signal comes after it was moved; `ETIMEDOUT`.
pub fn wait_requeue(
    word: &Word,
    address: u64,
    expected: u32,
    deadline: Option<Deadline>,
    lock: u64,
) -> Result<u64, Errno> {
    let current = word.current;
    let (key, at) = word.key(address)?;
    let (lock, lock_at) = word.key(lock)?;
    if key == lock {
        return Err(Errno::EINVAL);
    }
    table::enter_to_be_moved(current, key, lock)?;
    let outcome = match arch::copy::read_u32(at) {
        Ok(value) if value == expected => {
            current.sleep_until_deadline(deadline, || pi::is_granted(current).then_some(()))
        }
        Ok(_) if table::leave(current) => return Err(Errno::EAGAIN),
        Err(fault) if table::leave(current) => return Err(fault.into()),
        // Moved already, whatever the word is.
        _ => current.sleep_until_deadline(deadline, || pi::is_granted(current).then_some(())),
    };
    let was_moved = !table::leave(current);
    if was_moved && pi::end_wait(current, lock, lock_at)? {
        return Ok(0);
    }
    Err(match outcome {
        Err(Woken::ByDeadline) => Errno::ETIMEDOUT,
        _ if was_moved => Errno::EAGAIN,
        _ => call_again(current),
    })
}

/// FUTEX_CMP_REQUEUE_PI: lets one of those that wait at `from` have the lock at `to`, and `count` others wait for it.
///
/// # Errors
/// `EAGAIN` if the word at `from` is not `expected`, `EINVAL` unless `wake` is 1 and all are to be moved to that lock.
pub fn requeue(word: &Word, from: u64, to: u64, wake: u32, count: u32, expected: u32) -> Result<u64, Errno> {
    let count = usize::try_from(count as i32).map_err(|_| Errno::EINVAL)?;
    let (from, at) = word.key(from)?;
    let (to, to_at) = word.key(to)?;
    if wake != 1 || from == to {
        return Err(Errno::EINVAL);
    }
    let mut moved = 0;
    loop {
        if arch::copy::read_u32(at)? != expected {
            return Err(Errno::EAGAIN);
        }
        let found = pi::owner_named(to_at)?;
        let is_done = table::move_to_lock(from, to, &mut moved, count + 1, |task: &Arc<Task>| {
            if arch::copy::read_u32(at)? != expected {
                return Err(Errno::EAGAIN);
            }
            let attempt = pi::attempt(task, to, to_at, &found, true)?;
            if matches!(attempt, Attempt::Got) {
                pi::grant(task);
            }
            Ok(!matches!(attempt, Attempt::Again))
        });
        match is_done {
            Ok(true) => return Ok(moved as u64),
            Ok(false) => {}
            Err(error) if moved == 0 => return Err(error),
            Err(_) => return Ok(moved as u64),
        }
    }
}
