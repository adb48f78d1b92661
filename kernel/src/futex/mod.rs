//! Futexes: waiting until somebody says that a word of user memory has changed (man 2 futex).
//!
//! The kernel keeps no state of a futex but who waits for it. A waiter first enters the queue and then looks at the word;
//! a waker changes the word and then looks at the queue: whatever the order, one sees the other. No lock is held while
//! user memory is touched. Locks with priority inheritance are the exception: see [`pi`].

mod pi;
mod pi_calls;
mod robust;
mod table;

pub use pi::{own_policy, set_policy};
pub use robust::{exit_robust_list, get_robust_list, set_robust_list};

use crate::errno::Errno;
use crate::syscall::time::{Clock, TimeSpec};
use crate::task::Current;
use crate::timers::Deadline;
use crate::wait::Woken;
use core::mem::size_of;
use core::sync::atomic::AtomicU64;
use formats::Instant;
use linux_raw_sys::general as linux;
use mm::FutexKey;
use x86_64::VirtAddr;

/// What a thread has to do with futexes.
pub struct ThreadFutex {
    place: table::Place,
    /// Where the list of its robust futexes is in its memory; 0 for nowhere.
    robust_list: AtomicU64,
    pi: pi::ThreadPi,
}

impl ThreadFutex {
    pub fn new() -> Self {
        Self { place: table::Place::nowhere(), robust_list: AtomicU64::new(0), pi: pi::ThreadPi::new() }
    }
}

/// The system call. `timeout` is a number in some operations, and so is what `argument` stands for.
pub fn futex(
    current: &Current,
    address: u64,
    operation: u32,
    value: u32,
    timeout: u64,
    address2: u64,
    argument: u32,
) -> Result<u64, Errno> {
    let private = operation & linux::FUTEX_PRIVATE_FLAG != 0;
    let realtime = operation & linux::FUTEX_CLOCK_REALTIME != 0;
    let command = operation & !(linux::FUTEX_PRIVATE_FLAG | linux::FUTEX_CLOCK_REALTIME);
    let on_any_clock =
        [linux::FUTEX_WAIT, linux::FUTEX_WAIT_BITSET, linux::FUTEX_WAIT_REQUEUE_PI, linux::FUTEX_LOCK_PI2];
    if realtime && !on_any_clock.contains(&command) {
        return Err(Errno::ENOSYS);
    }
    let word = Word { current, private };
    let clock = if realtime { Clock::Realtime } else { Clock::Monotonic };
    let deadline = |clock: Clock| TimeSpec::read_if_given(timeout)?.map(|at| clock.deadline(at)).transpose();
    match command {
        linux::FUTEX_WAIT => {
            let deadline = relative_deadline(current, timeout)?;
            let outcome = wait(&word, address, value, u32::MAX, deadline.map(Deadline::At));
            if let (Err(Errno::RESTART_NO_HANDLER), Some(deadline)) = (outcome, deadline) {
                current.task.signals.note_deadline(deadline);
            }
            outcome
        }
        linux::FUTEX_WAIT_BITSET => wait(&word, address, value, argument, deadline(clock)?),
        linux::FUTEX_WAKE => wake_word(&word, address, value, u32::MAX),
        linux::FUTEX_WAKE_BITSET => wake_word(&word, address, value, argument),
        linux::FUTEX_REQUEUE => requeue(&word, address, address2, value, timeout as u32, None),
        linux::FUTEX_CMP_REQUEUE => requeue(&word, address, address2, value, timeout as u32, Some(argument)),
        linux::FUTEX_WAKE_OP => wake_op(&word, address, address2, value, timeout as u32, argument),
        linux::FUTEX_LOCK_PI => pi_calls::lock(&word, address, true, deadline(Clock::Realtime)?),
        linux::FUTEX_LOCK_PI2 => pi_calls::lock(&word, address, true, deadline(clock)?),
        linux::FUTEX_TRYLOCK_PI => pi_calls::lock(&word, address, false, None),
        linux::FUTEX_UNLOCK_PI => pi_calls::unlock(&word, address),
        linux::FUTEX_WAIT_REQUEUE_PI => {
            pi_calls::wait_requeue(&word, address, value, deadline(clock)?, address2)
        }
        linux::FUTEX_CMP_REQUEUE_PI => {
            pi_calls::requeue(&word, address, address2, value, timeout as u32, argument)
        }
        _ => Err(Errno::ENOSYS),
    }
}

/// When a wait with a relative timeout ends: if it goes on with one that was interrupted, when that should have ended.
fn relative_deadline(current: &Current, timeout: u64) -> Result<Option<Instant>, Errno> {
    let Some(timeout) = TimeSpec::read_if_given(timeout)? else { return Ok(None) };
    let resumed = current.task.signals.take_deadline();
    Ok(Some(match resumed {
        Some(deadline) => deadline,
        None => timeout.to_deadline()?,
    }))
}

/// How a call names futexes.
struct Word<'a> {
    current: &'a Current,
    /// FUTEX_PRIVATE_FLAG: the caller knows that no other process waits for it.
    private: bool,
}

impl Word<'_> {
    /// The futex at `address`.
    ///
    /// # Errors
    /// `EINVAL` if the address is not a multiple of 4, `EFAULT` if nothing is mapped there.
    fn key(&self, address: u64) -> Result<(FutexKey, VirtAddr), Errno> {
        if !address.is_multiple_of(size_of::<u32>() as u64) {
            return Err(Errno::EINVAL);
        }
        let at = VirtAddr::try_new(address).map_err(|_| Errno::EFAULT)?;
        arch::copy::check(at, size_of::<u32>())?;
        let key = if self.private {
            FutexKey::Private { space: self.current.space().id(), address: at }
        } else {
            shared_key(self.current, at)?
        };
        Ok((key, at))
    }
}

/// The futex at `at`, found by all processes that share the memory behind it.
fn shared_key(current: &Current, at: VirtAddr) -> Result<FutexKey, Errno> {
    current.space().futex_key(at).ok_or(Errno::EFAULT)
}

/// FUTEX_WAIT: sleeps if the word is `expected`, until woken.
///
/// # Errors
/// `EAGAIN` if it is not; `ETIMEDOUT`; a restart when a signal comes.
fn wait(
    word: &Word,
    address: u64,
    expected: u32,
    bits: u32,
    deadline: Option<Deadline>,
) -> Result<u64, Errno> {
    let current = word.current;
    if bits == 0 {
        return Err(Errno::EINVAL);
    }
    let (key, at) = word.key(address)?;
    table::enter(current, key, bits)?;
    let outcome = match arch::copy::read_u32(at) {
        Ok(value) if value == expected => sleep(current, deadline),
        Ok(_) => Err(Errno::EAGAIN),
        Err(fault) => Err(fault.into()),
    };
    match outcome {
        // Not waiting any more; unless a waker was faster, who counts this thread as woken, and so must we.
        Err(error) if table::leave(current) => Err(error),
        _ => Ok(0),
    }
}

fn sleep(current: &Current, deadline: Option<Deadline>) -> Result<(), Errno> {
    let woken = current.sleep_until_deadline(deadline, || table::was_woken(current).then_some(()));
    woken.map_err(|woken| match (woken, deadline) {
        (Woken::ByDeadline, _) => Errno::ETIMEDOUT,
        (Woken::BySignal, None) => Errno::RESTART,
        (Woken::BySignal, Some(_)) => Errno::RESTART_NO_HANDLER,
    })
}

/// FUTEX_WAKE: a `count` of 0 wakes one, as on Linux.
fn wake_word(word: &Word, address: u64, count: u32, bits: u32) -> Result<u64, Errno> {
    if bits == 0 {
        return Err(Errno::EINVAL);
    }
    let (key, _) = word.key(address)?;
    Ok(table::wake(key, bits, at_least_one(count)) as u64)
}

fn at_least_one(count: u32) -> usize {
    (count as i32).max(1) as usize
}

/// Wakes at most `count` threads that wait for the futex at `address` of the current thread's memory.
pub fn wake(current: &Current, address: u64, count: u32) {
    // What cannot be a futex has no waiters.
    let _ = wake_word(&Word { current, private: false }, address, count, u32::MAX);
}

/// FUTEX_REQUEUE and, with `expected`, FUTEX_CMP_REQUEUE: wakes `wake` threads and lets `count` others wait at `to`.
/// Returns how many it was in all: man 2 futex says so of the comparing form, and Linux does it in both.
///
/// The comparison holds for all that are moved: it is made again when somebody has come to wait since.
fn requeue(
    word: &Word,
    from: u64,
    to: u64,
    wake: u32,
    count: u32,
    expected: Option<u32>,
) -> Result<u64, Errno> {
    let number = |count: u32| usize::try_from(count as i32).map_err(|_| Errno::EINVAL);
    let (wake, count) = (number(wake)?, number(count)?);
    let (from, at) = word.key(from)?;
    let (to, _) = word.key(to)?;
    loop {
        let arrivals = expected.map(|_| table::arrivals(from));
        if let Some(expected) = expected
            && arch::copy::read_u32(at)? != expected
        {
            return Err(Errno::EAGAIN);
        }
        if let Some((woken, moved)) = table::requeue(from, to, wake, count, arrivals)? {
            return Ok((woken + moved) as u64);
        }
    }
}

/// FUTEX_WAKE_OP: changes the second word, wakes at the first, and at the second if its old value compares as asked.
fn wake_op(
    word: &Word,
    address: u64,
    address2: u64,
    count: u32,
    count2: u32,
    encoded: u32,
) -> Result<u64, Errno> {
    let (key, _) = word.key(address)?;
    let (key2, at2) = word.key(address2)?;
    let operation = Operation::decode(encoded)?;
    let before = arch::copy::update_u32(at2, |value| operation.apply(value))?;
    let mut woken = table::wake(key, u32::MAX, at_least_one(count));
    if operation.compare(before) {
        woken += table::wake(key2, u32::MAX, at_least_one(count2));
    }
    Ok(woken as u64)
}

/// What FUTEX_WAKE_OP does, out of its four packed fields.
struct Operation {
    change: u32,
    operand: i32,
    comparison: u32,
    comparand: i32,
}

impl Operation {
    fn decode(encoded: u32) -> Result<Self, Errno> {
        let signed = |field: u32| (field as i32) << 20 >> 20;
        let mut operand = signed(encoded >> 12 & 0xfff);
        let mut change = encoded >> 28;
        if change & linux::FUTEX_OP_OPARG_SHIFT != 0 {
            change &= !linux::FUTEX_OP_OPARG_SHIFT;
            operand = 1 << (operand & 31);
        }
        let comparison = encoded >> 24 & 0xf;
        if change > linux::FUTEX_OP_XOR || comparison > linux::FUTEX_OP_CMP_GE {
            return Err(Errno::ENOSYS);
        }
        Ok(Self { change, operand, comparison, comparand: signed(encoded & 0xfff) })
    }

    fn apply(&self, value: u32) -> u32 {
        let operand = self.operand as u32;
        match self.change {
            linux::FUTEX_OP_SET => operand,
            linux::FUTEX_OP_ADD => value.wrapping_add(operand),
            linux::FUTEX_OP_OR => value | operand,
            linux::FUTEX_OP_ANDN => value & !operand,
            _ => value ^ operand,
        }
    }

    fn compare(&self, value: u32) -> bool {
        let value = value as i32;
        match self.comparison {
            linux::FUTEX_OP_CMP_EQ => value == self.comparand,
            linux::FUTEX_OP_CMP_NE => value != self.comparand,
            linux::FUTEX_OP_CMP_LT => value < self.comparand,
            linux::FUTEX_OP_CMP_LE => value <= self.comparand,
            linux::FUTEX_OP_CMP_GT => value > self.comparand,
            _ => value >= self.comparand,
        }
    }
}
