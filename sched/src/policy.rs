//! How a thread competes with others for its CPU: what Linux calls its scheduling policy.

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

    /// The part of a CPU that it takes, in units of 1 / [`Self::WHOLE`], rounded up. Of one with a deadline before the end
    /// of its period that is the density, runtime / deadline: with it, sums of at most one are enough to meet all deadlines.
    pub fn bandwidth(&self) -> u64 {
        let within = self.deadline.min(self.period).as_ticks().max(1);
        let part =
            (u128::from(self.runtime.as_ticks()) * u128::from(Self::WHOLE)).div_ceil(u128::from(within));
        u64::try_from(part).unwrap_or(u64::MAX).max(1)
    }
}

impl Policy {
    pub const fn normal(nice: i8) -> Self {
        Self::Normal(Share::of_nice(nice))
    }

    pub fn class(&self) -> Class {
        match self {
            Self::Deadline(_) => Class::Deadline,
            Self::Fifo { .. } | Self::RoundRobin { .. } => Class::RealTime,
            Self::Normal(_) | Self::Batch(_) | Self::Idle => Class::Fair,
        }
    }

    /// 1 to 99 for the real-time class, 0 for others (man 7 sched).
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
