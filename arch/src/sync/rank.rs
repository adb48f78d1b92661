//! The order in which locks are taken, and the check of it.
//!
//! A CPU that holds a lock takes only locks of a higher rank. Interrupt-safe locks rank above all others: an
//! interrupt may arrive while any [`Lock`](super::Lock) is held, and nobody who holds an
//! [`IrqLock`](super::IrqLock) may wait for one.
//!
//! The ranks below [`SPACE`] are the kernel's own. The numbers leave gaps on purpose.

use crate::cpu::local;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

/// How many ranks there are.
pub const COUNT: u8 = 64;
/// Ranks from here on are those of interrupt-safe locks.
pub const FIRST_IRQ: u8 = 32;

/// An address space: its areas and page tables.
pub const SPACE: u8 = 20;
/// Pages that several spaces share.
pub const OBJECT: u8 = 22;
/// The pool of kernel stacks.
pub const STACKS: u8 = 26;
/// The kernel's own page tables.
pub const KERNEL_SPACE: u8 = 28;

/// The scheduler's locks: run queues and the states of threads. Several may be held at once: the scheduler
/// orders them itself.
pub const RUN_QUEUE: u8 = 38;
/// The kernel heap.
pub const HEAP: u8 = 48;
/// The frame allocator.
pub const FRAMES: u8 = 52;
/// The log and the serial ports.
pub const LOG: u8 = 60;

/// Ranks of which a CPU may hold several locks at once, in an order that the owner keeps.
const MAY_NEST: u64 = 1 << RUN_QUEUE;

static CHECKED: AtomicBool = AtomicBool::new(cfg!(debug_assertions));

/// What one CPU holds. Written by that CPU only; an interrupt handler leaves it as it found it.
#[derive(Debug)]
pub(crate) struct Held {
    /// Bit `r`: a lock of rank `r` is held.
    mask: AtomicU64,
    count: [AtomicU8; COUNT as usize],
}

impl Held {
    pub(crate) const fn new() -> Self {
        Self { mask: AtomicU64::new(0), count: [const { AtomicU8::new(0) }; COUNT as usize] }
    }
}

/// Stops all checks for good: a panic must be able to report whatever is held.
pub fn stop_checks() {
    CHECKED.store(false, Relaxed);
}

/// Panics if this CPU holds a lock: nobody may give up the CPU with one. Checks only with debug assertions.
pub fn assert_none_held() {
    if CHECKED.load(Relaxed) {
        let mask = local::with(|cpu| cpu.held.mask.load(Relaxed));
        assert!(mask == 0, "locks are held across a context switch: ranks {mask:#x}");
    }
}

/// Panics if a lock of rank `rank` must not be waited for now.
pub(super) fn check(rank: u8) {
    if !CHECKED.load(Relaxed) {
        return;
    }
    let (mask, depth) = local::with(|cpu| (cpu.held.mask.load(Relaxed), cpu.interrupt_depth.load(Relaxed)));
    assert!(rank >= FIRST_IRQ || depth == 0, "a lock of rank {rank} is not for interrupt context");
    let forbidden = mask >> rank & !(MAY_NEST >> rank & 1);
    assert!(forbidden == 0, "lock rank {rank} taken while ranks {mask:#x} are held");
}

/// Notes that this CPU now holds a lock of rank `rank`.
pub(super) fn acquired(rank: u8) {
    if cfg!(debug_assertions) {
        local::with(|cpu| {
            let count = &cpu.held.count[usize::from(rank)];
            count.store(count.load(Relaxed) + 1, Relaxed);
            cpu.held.mask.store(cpu.held.mask.load(Relaxed) | 1 << rank, Relaxed);
        });
    }
}

/// Notes that this CPU gives up a lock of rank `rank`.
pub(super) fn released(rank: u8) {
    if cfg!(debug_assertions) {
        local::with(|cpu| {
            let count = &cpu.held.count[usize::from(rank)];
            let left = count.load(Relaxed) - 1;
            count.store(left, Relaxed);
            if left == 0 {
                cpu.held.mask.store(cpu.held.mask.load(Relaxed) & !(1 << rank), Relaxed);
            }
        });
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::super::{IrqLock, Lock};
    use super::*;

    static SPACE_LOCK: Lock<(), SPACE> = Lock::new(());
    static OBJECT_LOCK: Lock<(), OBJECT> = Lock::new(());

    #[test]
    fn rising_ranks_pass_and_releases_come_in_any_order() {
        let space: Lock<(), SPACE> = Lock::new(());
        let heap: IrqLock<(), HEAP> = IrqLock::new(());
        let frames: IrqLock<(), FRAMES> = IrqLock::new(());
        let (outer, middle, inner) = (space.lock(), heap.lock(), frames.lock());
        drop((middle, outer));
        drop(inner);
        assert_none_held();
        drop((space.lock(), heap.lock()));
    }

    #[test]
    #[should_panic(expected = "lock rank 20 taken")]
    fn a_falling_rank_is_caught() {
        let _outer = OBJECT_LOCK.lock();
        let _inner = SPACE_LOCK.lock();
    }

    #[test]
    #[should_panic(expected = "lock rank 20 taken")]
    fn two_locks_of_one_rank_are_caught() {
        let (first, second) = (Lock::<(), SPACE>::new(()), Lock::<(), SPACE>::new(()));
        let _outer = first.lock();
        let _inner = second.lock();
    }

    #[test]
    fn locks_of_the_scheduler_may_be_held_together_and_still_rank_among_others() {
        let queues = [IrqLock::<(), RUN_QUEUE>::new(()), IrqLock::new(())];
        let (first, second) = (queues[0].lock(), queues[1].lock());
        drop(first);
        let caught = std::panic::catch_unwind(|| drop(SPACE_LOCK.lock()));
        assert!(caught.is_err(), "the second queue is still held");
        drop(second);
        assert_none_held();
    }

    #[test]
    #[should_panic(expected = "not for interrupt context")]
    fn an_ordinary_lock_is_not_taken_in_an_interrupt() {
        local::with(|cpu| cpu.interrupt_depth.store(1, Relaxed));
        let space: Lock<(), SPACE> = Lock::new(());
        let _guard = space.lock();
    }

    #[test]
    #[should_panic(expected = "across a context switch")]
    fn a_lock_held_across_a_context_switch_is_caught() {
        let heap: IrqLock<(), HEAP> = IrqLock::new(());
        let _guard = heap.lock();
        assert_none_held();
    }
}
