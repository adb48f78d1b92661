//! What is measured about waiting and running: delays, slices, and work that waited while a CPU idled.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use formats::{Duration, Histogram, Instant};

/// Whether anything is measured: not with the feature `unmeasured`, which shows what measuring costs. What the scheduler
/// decides by is kept all the same.
pub(crate) const MEASURED: bool = !cfg!(feature = "unmeasured");

/// One CPU's histograms, in nanoseconds, guarded by its queue's lock.
#[derive(Default)]
pub(crate) struct Delays {
    /// From being made runnable to running: Linux's run delay.
    pub run_delay: Histogram,
    /// The same for threads that were woken.
    pub wake_latency: Histogram,
    /// From the start of a new thread to its first user instruction.
    pub first_run: Histogram,
    /// How long a thread ran from dispatch to leaving.
    pub slices: Histogram,
}

impl Delays {
    pub fn merge(&mut self, other: &Self) {
        self.run_delay.merge(&other.run_delay);
        self.wake_latency.merge(&other.wake_latency);
        self.first_run.merge(&other.first_run);
        self.slices.merge(&other.slices);
    }
}

/// Of a thread that waits for its turn.
#[derive(Clone, Copy)]
pub(crate) struct Wait {
    /// Since when; `None` while it does not wait.
    pub since: Option<Instant>,
    pub woken: bool,
    /// What [`Violations::total`] said then.
    pub violations: Duration,
}

impl Wait {
    pub const NONE: Self = Self { since: None, woken: false, violations: Duration::from_ticks(0) };
}

/// How many buckets a thread's own histogram has.
const BUCKETS: usize = 24;

/// The first bucket is for delays below 2^10 ns, about a microsecond.
const FIRST_BITS: u32 = 10;

/// A thread's own figures. Written by the CPU that has its token, read by anyone.
#[derive(Default)]
pub struct ThreadStats {
    run_delay_ns: AtomicU64,
    longest_delay_ns: AtomicU64,
    dispatches: AtomicU64,
    voluntary: AtomicU64,
    involuntary: AtomicU64,
    violation_ns: AtomicU64,
    delays: [AtomicU32; BUCKETS],
}

/// Without a read-modify-write: the figure has one writer at a time.
fn add(figure: &AtomicU64, count: u64) {
    figure.store(figure.load(Relaxed).wrapping_add(count), Relaxed);
}

impl ThreadStats {
    #[inline]
    pub(crate) fn waited(&self, delay: Duration, violation: Duration) {
        if !MEASURED {
            return;
        }
        let delay = delay.as_ticks();
        add(&self.run_delay_ns, delay);
        add(&self.dispatches, 1);
        add(&self.violation_ns, violation.as_ticks());
        self.longest_delay_ns.store(self.longest_delay_ns.load(Relaxed).max(delay), Relaxed);
        let bits = u64::BITS - delay.leading_zeros();
        let bucket = &self.delays[(bits.saturating_sub(FIRST_BITS) as usize).min(BUCKETS - 1)];
        bucket.store(bucket.load(Relaxed).saturating_add(1), Relaxed);
    }

    #[inline]
    pub(crate) fn left(&self, voluntarily: bool) {
        if !MEASURED {
            return;
        }
        add(if voluntarily { &self.voluntary } else { &self.involuntary }, 1);
    }

    /// How long it has waited for its turn in all, up to its last dispatch.
    pub fn run_delay(&self) -> Duration {
        Duration::from_ticks(self.run_delay_ns.load(Relaxed))
    }

    pub fn longest_delay(&self) -> Duration {
        Duration::from_ticks(self.longest_delay_ns.load(Relaxed))
    }

    /// How often it was given a CPU.
    pub fn dispatches(&self) -> u64 {
        self.dispatches.load(Relaxed)
    }

    /// How often it gave its CPU up: to sleep, to yield, to exit.
    pub fn voluntary_switches(&self) -> u64 {
        self.voluntary.load(Relaxed)
    }

    /// How often it was made to leave its CPU.
    pub fn involuntary_switches(&self) -> u64 {
        self.involuntary.load(Relaxed)
    }

    /// How long it waited while work conservation was violated.
    pub fn violation(&self) -> Duration {
        Duration::from_ticks(self.violation_ns.load(Relaxed))
    }

    /// Its delays: how many were below each power of two nanoseconds, and not below the one before.
    pub fn delays(&self) -> impl Iterator<Item = (Duration, u32)> + '_ {
        let bound = |bucket: usize| Duration::from_ticks(1 << (FIRST_BITS as usize + bucket));
        self.delays.iter().enumerate().map(move |(bucket, count)| (bound(bucket), count.load(Relaxed)))
    }
}

/// Violations of work conservation: times in which a thread waited on one CPU while another idled that it could have had
/// (J.-P. Lozi et al., "The Linux scheduler: a decade of wasted cores", EuroSys 2016). A thread that waits for its own idle
/// CPU to wake up does not count.
#[derive(Default)]
pub struct Violations {
    /// When the present one began, in nanoseconds; 0: there is none.
    since: AtomicU64,
    total: AtomicU64,
    longest: AtomicU64,
    count: AtomicU64,
}

impl Violations {
    /// A thread waits and a CPU idles that could have it, from `now` on.
    #[inline]
    pub(crate) fn begin(&self, now: Instant) {
        let _ = self.since.compare_exchange(0, now.as_ticks().max(1), SeqCst, Relaxed);
    }

    /// Whether there is one.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.since.load(SeqCst) != 0
    }

    /// There is none from `now` on.
    #[cold]
    pub(crate) fn end(&self, now: Instant) {
        let since = self.since.swap(0, SeqCst);
        if since != 0 {
            let lasted = now.as_ticks().saturating_sub(since);
            self.total.fetch_add(lasted, Relaxed);
            self.count.fetch_add(1, Relaxed);
            self.longest.fetch_max(lasted, Relaxed);
        }
    }

    /// How long there was one in all, up to `now`.
    #[inline]
    pub fn total(&self, now: Instant) -> Duration {
        if !MEASURED {
            return Duration::from_ticks(0);
        }
        let since = self.since.load(Relaxed);
        let present = if since == 0 { 0 } else { now.as_ticks().saturating_sub(since) };
        Duration::from_ticks(self.total.load(Relaxed) + present)
    }

    /// The longest that has ended.
    pub fn longest(&self) -> Duration {
        Duration::from_ticks(self.longest.load(Relaxed))
    }

    /// How many have ended.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// How long the present one has lasted.
    pub fn present(&self, now: Instant) -> Option<Duration> {
        let since = self.since.load(Relaxed);
        (since != 0).then(|| Duration::from_ticks(now.as_ticks().saturating_sub(since)))
    }
}
