//! The order in which locks are taken, and the check of it.
//!
//! A CPU that holds a lock takes only locks of a higher rank. Interrupt-safe locks rank above all others: an interrupt may
//! arrive while any [`Lock`](super::Lock) is held, and nobody who holds an [`IrqLock`](super::IrqLock) may wait for one.
//!
//! The numbers leave gaps on purpose. A new lock goes where its holders and its holder's callers put it.

use crate::cpu::local;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

/// The highest rank and one more.
pub const COUNT: u8 = 64;
/// Ranks from here on are those of interrupt-safe locks.
pub const FIRST_IRQ: u8 = 32;

/// The table of processes and the family tree.
pub const PROCESSES: u8 = 2;
/// One process: its threads, its exit status.
pub const PROCESS: u8 = 4;
/// Signal handlers and what is pending.
pub const SIGNALS: u8 = 6;
/// A table of file descriptors.
pub const FILES: u8 = 8;
/// One open file, pipe or directory.
pub const FILE: u8 = 10;
/// A bucket of futex waiters.
pub const FUTEX: u8 = 12;
/// A list of threads that wait for something.
pub const WAITERS: u8 = 14;
/// An address space: its areas and page tables.
pub const SPACE: u8 = 20;
/// Pages that several spaces share.
pub const OBJECT: u8 = 22;
/// The pool of kernel stacks.
pub const STACKS: u8 = 26;
/// The kernel's own page tables.
pub const KERNEL_SPACE: u8 = 28;

/// Timers of threads that sleep until an instant.
pub const TIMERS: u8 = 34;
/// The scheduler's state of one thread.
pub const THREAD: u8 = 36;
/// A run queue. Two may be held at once: the scheduler takes them in CPU order.
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
