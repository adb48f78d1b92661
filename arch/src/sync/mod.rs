//! Spin locks: two types, and a rank on each.
//!
//! [`Lock`] leaves interrupts as they are and must never be taken in interrupt context. [`IrqLock`] keeps
//! interrupts off while it is held. Each lock has a [`rank`]; a CPU takes locks in strictly rising rank.
//! Which type a rank belongs to is checked at compile time, the order at run time when debug assertions are
//! on.
//!
//! Nothing here sleeps or queues threads, and no lock may be held across a context switch.

pub mod rank;
mod raw;
mod watch;

pub use raw::{RawIrqLock, RawLock};
pub use watch::{Spinner, Stuck, set_contention_hook, set_watch};

/// A spin lock that leaves interrupts as they are. `RANK` is below [`rank::FIRST_IRQ`].
pub type Lock<T, const RANK: u8> = lock_api::Mutex<RawLock<RANK>, T>;
/// What [`Lock::lock`] returns.
pub type LockGuard<'a, T, const RANK: u8> = lock_api::MutexGuard<'a, RawLock<RANK>, T>;

/// A spin lock that keeps interrupts off while it is held. `RANK` is [`rank::FIRST_IRQ`] or above.
pub type IrqLock<T, const RANK: u8> = lock_api::Mutex<RawIrqLock<RANK>, T>;
/// What [`IrqLock::lock`] returns.
pub type IrqLockGuard<'a, T, const RANK: u8> = lock_api::MutexGuard<'a, RawIrqLock<RANK>, T>;
