//! How a thread competes with others for its CPU: what Linux calls its scheduling policy.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use formats::Duration;

/// A scheduling policy with its parameters (man 7 sched). What stands further down here yields to what stands above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// SCHED_DEADLINE: so much time in each period, whatever others do.
    Deadline(Reservation),
    /// SCHED_FIFO: until it blocks or yields, before all of lower priority.
    Fifo { priority: u8 },
    /// SCHED_RR: as SCHED_FIFO, but in turn with others of the same priority.
    RoundRobin { priority: u8 },
    /// SCHED_OTHER.
    Normal(Share),
    /// SCHED_BATCH: as SCHED_OTHER, but it never preempts when it wakes.
    Batch(Share),
    /// SCHED_IDLE: a share so small that it hardly disturbs.
    Idle,
}

/// What a thread of the fair class asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// -20 (most) to 19 (least); other values are clamped.
    pub nice: i8,
    /// How long it would like to run at a time; `None`: as the order has it. Orders that know latency serve shorter
    /// requests sooner (`sched_runtime` of man 2 sched_setattr, for SCHED_OTHER).
    pub slice: Option<Duration>,
}

/// A constant bandwidth: at most `runtime` in each `period`, done within `deadline` of its begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    pub runtime: Duration,
    pub deadline: Duration,
    pub period: Duration,
}

/// How long a SCHED_RR thread runs while others of its priority wait, as in Linux.
pub const REAL_TIME_QUANTUM: Duration = Duration::from_millis(100);

/// The classes in the order in which they go before each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Fair,
    RealTime,
    Deadline,
}

impl Share {
    pub const fn of_nice(nice: i8) -> Self {
        Self { nice, slice: None }
    }
}

impl Reservation {
    /// Bandwidths are parts of this.
    pub const WHOLE: u64 = 1 << 20;

    /// The part of a CPU that it takes, in units of 1 / [`Self::WHOLE`]; at least one. Of one with a deadline before the end
    /// of its period that is the density, runtime / deadline: with it, sums of at most one are enough to meet all deadlines.
    pub fn bandwidth(&self) -> u64 {
        let within = self.deadline.min(self.period).as_ticks().max(1);
        let part = (u128::from(self.runtime.as_ticks()) * u128::from(Self::WHOLE)) / u128::from(within);
        u64::try_from(part).unwrap_or(u64::MAX).max(1)
    }
}

impl Policy {
    pub const fn normal(nice: i8) -> Self {
        Self::Normal(Share::of_nice(nice))
    }

    #[inline]
    pub fn class(&self) -> Class {
        match self {
            Self::Deadline(_) => Class::Deadline,
            Self::Fifo { .. } | Self::RoundRobin { .. } => Class::RealTime,
            Self::Normal(_) | Self::Batch(_) | Self::Idle => Class::Fair,
        }
    }

    /// 1 to 99 for the real-time class, 0 for others (man 7 sched).
    #[inline]
    pub fn priority(&self) -> u8 {
        match self {
            Self::Fifo { priority } | Self::RoundRobin { priority } => *priority,
            _ => 0,
        }
    }

    /// The share relative to others of the fair class: 1024 at nice 0, about 1.25 times less for each nice level more.
    pub fn weight(&self) -> u32 {
        match self {
            Self::Normal(share) | Self::Batch(share) => weight_of(share.nice),
            Self::Idle => IDLE_WEIGHT,
            _ => weight_of(0),
        }
    }

    /// The length of slice that was asked for.
    pub fn slice(&self) -> Option<Duration> {
        match self {
            Self::Normal(share) | Self::Batch(share) => share.slice,
            _ => None,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::normal(0)
    }
}

/// A policy that others may read while it is changed, in interrupt handlers too: without a lock. A reader that meets a
/// change halfway may get parts of both policies; whoever changes it sees to it that they are read again.
pub(crate) struct SharedPolicy([AtomicU64; 4]);

impl SharedPolicy {
    pub fn new(policy: Policy) -> Self {
        Self(encode(policy).map(AtomicU64::new))
    }

    pub fn store(&self, policy: Policy) {
        for (to, from) in self.0.iter().zip(encode(policy)) {
            to.store(from, SeqCst);
        }
    }

    pub fn load(&self) -> Policy {
        decode(core::array::from_fn(|word| self.0[word].load(SeqCst)))
    }

    #[inline]
    pub fn class(&self) -> Class {
        match self.0[0].load(SeqCst) & 0xff {
            DEADLINE => Class::Deadline,
            FIFO | ROUND_ROBIN => Class::RealTime,
            _ => Class::Fair,
        }
    }
}

const NORMAL: u64 = 0;
const BATCH: u64 = 1;
const IDLE: u64 = 2;
const FIFO: u64 = 3;
const ROUND_ROBIN: u64 = 4;
const DEADLINE: u64 = 5;

/// The kind in the lowest byte of the first word, nice value or priority above it; then times in nanoseconds, where no
/// slice is the largest number.
fn encode(policy: Policy) -> [u64; 4] {
    let head = |kind: u64, byte: u8| kind | u64::from(byte) << 8;
    let share = |kind, share: Share| {
        [head(kind, share.nice as u8), share.slice.map_or(u64::MAX, |slice| slice.as_ticks()), 0, 0]
    };
    match policy {
        Policy::Normal(of) => share(NORMAL, of),
        Policy::Batch(of) => share(BATCH, of),
        Policy::Idle => [IDLE, 0, 0, 0],
        Policy::Fifo { priority } => [head(FIFO, priority), 0, 0, 0],
        Policy::RoundRobin { priority } => [head(ROUND_ROBIN, priority), 0, 0, 0],
        Policy::Deadline(Reservation { runtime, deadline, period }) => {
            [DEADLINE, runtime.as_ticks(), deadline.as_ticks(), period.as_ticks()]
        }
    }
}

fn decode([head, first, second, third]: [u64; 4]) -> Policy {
    let byte = (head >> 8) as u8;
    let share =
        || Share { nice: byte as i8, slice: (first != u64::MAX).then(|| Duration::from_ticks(first)) };
    match head & 0xff {
        BATCH => Policy::Batch(share()),
        IDLE => Policy::Idle,
        FIFO => Policy::Fifo { priority: byte },
        ROUND_ROBIN => Policy::RoundRobin { priority: byte },
        DEADLINE => {
            let [runtime, deadline, period] = [first, second, third].map(Duration::from_ticks);
            Policy::Deadline(Reservation { runtime, deadline, period })
        }
        _ => Policy::Normal(share()),
    }
}

/// Linux's WEIGHT_IDLEPRIO.
const IDLE_WEIGHT: u32 = 3;

fn weight_of(nice: i8) -> u32 {
    let nice = i32::from(nice).clamp(-20, 19);
    let step = |weight: u32, _| if nice > 0 { weight * 4 / 5 } else { weight * 5 / 4 };
    (0..nice.unsigned_abs()).fold(1024, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nice_level_is_a_quarter_more_or_less() {
        let weight = |nice| Policy::normal(nice).weight();
        assert_eq!([0, -1, 1].map(weight), [1024, 1280, 819]);
        assert!(weight(19) > Policy::Idle.weight());
        assert_eq!(weight(-128), weight(-20));
    }

    #[test]
    fn a_shared_policy_is_what_was_stored() {
        let ticks = Duration::from_ticks;
        let reservation = Reservation { runtime: ticks(1), deadline: ticks(2), period: ticks(3) };
        let share = Share { nice: -7, slice: Some(ticks(0)) };
        let shared = SharedPolicy::new(Policy::default());
        assert_eq!(shared.load(), Policy::default());
        for policy in [
            Policy::Deadline(reservation),
            Policy::Fifo { priority: 99 },
            Policy::RoundRobin { priority: 1 },
            Policy::Normal(share),
            Policy::Batch(Share::of_nice(19)),
            Policy::Idle,
        ] {
            shared.store(policy);
            assert_eq!((shared.load(), shared.class()), (policy, policy.class()));
        }
    }

    #[test]
    fn classes_are_in_order() {
        assert!(Policy::Fifo { priority: 1 }.class() > Policy::normal(-20).class());
        let half = Duration::from_ticks(5);
        let reservation = Reservation {
            runtime: half,
            deadline: Duration::from_ticks(10),
            period: Duration::from_ticks(10),
        };
        assert_eq!(reservation.bandwidth(), Reservation::WHOLE / 2);
        let urgent = Reservation { deadline: half, ..reservation };
        assert_eq!(urgent.bandwidth(), Reservation::WHOLE);
        let tiny = Reservation {
            runtime: Duration::from_ticks(1),
            period: Duration::from_millis(4_000),
            ..reservation
        };
        assert!(tiny.bandwidth() > 0);
        assert!(Policy::Deadline(reservation).class() > Policy::Fifo { priority: 99 }.class());
    }
}
