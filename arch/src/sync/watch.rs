//! What waiting in a spin loop has to do: pause, answer TLB requests, and notice that it takes for ever.
//!
//! Decides nothing about a stuck CPU: the registered hook does.

use crate::{cpu, tlb};
use formats::{CpuId, Duration, Instant};
use spin::Once;

/// How long a CPU waits before it is called stuck.
const BOUND: Duration = Duration::from_secs(10);
/// The clock is read once in so many rounds.
const ROUNDS_PER_LOOK: u32 = 4096;

/// A CPU that has waited in a spin loop for longer than any correct kernel makes it wait.
#[derive(Debug, Clone, Copy)]
pub struct Stuck {
    pub cpu: CpuId,
    /// The address of what it waits for: a lock, or what [`Spinner::new`] was given.
    pub waits_for: usize,
    /// The rank of the lock, if it is one.
    pub rank: Option<u8>,
    pub since: Instant,
    pub now: Instant,
}

struct Watch {
    clock: fn() -> Instant,
    hook: fn(&Stuck),
}

static WATCH: Once<Watch> = Once::new();

/// Registers the clock and what to do about a CPU that is stuck. The hook is called on that CPU, with
/// whatever locks it holds and interrupts as they are, and again after each further bound. Only the first
/// registration counts.
pub fn set_watch(clock: fn() -> Instant, hook: fn(&Stuck)) {
    WATCH.call_once(|| Watch { clock, hook });
}

struct Gauge {
    clock: fn() -> Instant,
    hook: fn(u8, Duration),
}

static GAUGE: Once<Gauge> = Once::new();

/// Registers the clock and what to tell of locks that had to be waited for: their rank, and for how long. The hook is
/// called by whoever waited, with the lock held and interrupts as they are then; so it takes no lock. Only the first
/// registration counts.
pub fn set_contention_hook(clock: fn() -> Instant, hook: fn(u8, Duration)) {
    GAUGE.call_once(|| Gauge { clock, hook });
}

/// A wait for a lock that somebody wants to know the length of, from now to [`Self::end`].
pub(super) struct Contention(Option<Instant>);

impl Contention {
    pub(super) fn begin() -> Self {
        Self(GAUGE.get().map(|gauge| (gauge.clock)()))
    }

    pub(super) fn end(self, rank: u8) {
        if let (Some(begun), Some(gauge)) = (self.0, GAUGE.get()) {
            let waited = (gauge.clock)().checked_duration_since(begun);
            (gauge.hook)(rank, waited.unwrap_or(Duration::from_ticks(0)));
        }
    }
}

#[cfg(target_os = "none")]
use core::hint::spin_loop as relax;
/// A thread of the host may be waiting for one that is not running.
#[cfg(not(target_os = "none"))]
use std::thread::yield_now as relax;

/// One wait in a spin loop.
pub struct Spinner {
    waits_for: usize,
    rank: Option<u8>,
    rounds: u32,
    since: Option<Instant>,
}

impl Spinner {
    /// `waits_for` is an address that tells what is waited for.
    pub const fn new(waits_for: usize, rank: Option<u8>) -> Self {
        Self { waits_for, rank, rounds: 0, since: None }
    }

    /// One round: lets the other hardware thread or vCPU go first, and answers TLB requests, as whoever is
    /// waited for may itself wait for this CPU to answer, and interrupts may be off.
    #[inline]
    pub fn pause(&mut self) {
        relax();
        tlb::serve();
        self.rounds += 1;
        if self.rounds == ROUNDS_PER_LOOK {
            self.rounds = 0;
            self.look();
        }
    }

    #[cold]
    fn look(&mut self) {
        let Some(watch) = WATCH.get() else { return };
        let now = (watch.clock)();
        let since = *self.since.get_or_insert(now);
        if now.checked_duration_since(since).is_some_and(|waited| waited > BOUND) {
            let (waits_for, rank) = (self.waits_for, self.rank);
            (watch.hook)(&Stuck { cpu: cpu::id(), waits_for, rank, since, now });
            self.since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{IrqLock, rank};
    use super::*;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

    #[test]
    fn a_cpu_that_waits_for_too_long_is_reported_with_what_it_waits_for() {
        static SECONDS: AtomicU64 = AtomicU64::new(0);
        static REPORTED: AtomicUsize = AtomicUsize::new(0);
        static LOCK: IrqLock<(), { rank::HEAP }> = IrqLock::new(());

        set_watch(
            || Instant::from_ticks(SECONDS.fetch_add(1, SeqCst) * 1_000_000_000),
            |stuck| {
                // Other tests wait as well, and the clock runs fast for them, too.
                if stuck.rank == Some(rank::HEAP) {
                    REPORTED.store(stuck.waits_for, SeqCst);
                }
            },
        );
        let held = LOCK.lock();
        std::thread::scope(|scope| {
            scope.spawn(|| drop(LOCK.lock()));
            while REPORTED.load(SeqCst) == 0 {
                std::thread::yield_now();
            }
            drop(held);
        });
        let lock = core::ptr::from_ref(&LOCK).addr();
        assert!((lock..lock + size_of_val(&LOCK)).contains(&REPORTED.load(SeqCst)));
    }

    #[test]
    fn whoever_had_to_wait_for_a_lock_tells_its_rank_and_for_how_long() {
        static MICROS: AtomicU64 = AtomicU64::new(0);
        static WAITED: AtomicU64 = AtomicU64::new(0);
        static LOCK: IrqLock<(), { rank::FRAMES }> = IrqLock::new(());

        set_contention_hook(
            || Instant::from_ticks(MICROS.fetch_add(1, SeqCst) * 1000),
            |which, waited| {
                if which == rank::FRAMES {
                    WAITED.store(waited.as_ticks(), SeqCst);
                }
            },
        );
        drop(LOCK.lock());
        assert_eq!(WAITED.load(SeqCst), 0, "nobody waited");
        // Other tests may look at the clock too, so that once may be too short.
        for _ in 0..1000 {
            let held = LOCK.lock();
            std::thread::scope(|scope| {
                let before = MICROS.load(SeqCst);
                scope.spawn(|| drop(LOCK.lock()));
                while MICROS.load(SeqCst) == before {
                    std::thread::yield_now();
                }
                drop(held);
            });
            if WAITED.load(SeqCst) > 0 {
                break;
            }
        }
        assert!(WAITED.load(SeqCst) >= 1000);
    }
}
