//! System calls on clocks, and sleeping (man 2 clock_gettime, clock_nanosleep, getrusage).

use super::process::ResourceUsage;
use crate::clock;
use crate::cpus;
use crate::errno::Errno;
use crate::task::Current;
use crate::user;
use crate::wait::Woken;
use core::convert::Infallible;
use core::sync::atomic::Ordering::Relaxed;
use formats::{Duration, Instant};
use linux_raw_sys::general as linux;
use zerocopy::{FromBytes, Immutable, IntoBytes};

const SECOND_NS: u64 = 1_000_000_000;
/// Linux's unit of `times` (`USER_HZ`, man 7 time).
const TICK_NS: u64 = SECOND_NS / 100;

/// `struct timespec`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct TimeSpec {
    seconds: i64,
    nanoseconds: i64,
}

impl TimeSpec {
    pub fn from_ns(ns: u64) -> Self {
        Self { seconds: (ns / SECOND_NS) as i64, nanoseconds: (ns % SECOND_NS) as i64 }
    }

    /// Reads one from user memory; `None` if `from` is null.
    pub fn read_if_given(from: u64) -> Result<Option<Self>, Errno> {
        if from == 0 { Ok(None) } else { user::read(from).map(Some) }
    }

    /// In nanoseconds; what is too much for 64 bits, 584 years, is the most there is.
    ///
    /// # Errors
    /// `EINVAL` when it is negative or not normalised.
    pub fn to_ns(self) -> Result<u64, Errno> {
        let seconds = u64::try_from(self.seconds).map_err(|_| Errno::EINVAL)?;
        let nanoseconds = u64::try_from(self.nanoseconds).map_err(|_| Errno::EINVAL)?;
        if nanoseconds >= SECOND_NS {
            return Err(Errno::EINVAL);
        }
        Ok(seconds.saturating_mul(SECOND_NS).saturating_add(nanoseconds))
    }

    /// The moment that lies so far ahead.
    ///
    /// # Errors
    /// As [`Self::to_ns`].
    pub fn to_deadline(self) -> Result<Instant, Errno> {
        let ahead = self.to_ns()?;
        Ok(Instant::from_ticks(arch::time::now().as_ticks().saturating_add(ahead)))
    }
}

/// `struct timeval`.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct TimeVal {
    seconds: i64,
    microseconds: i64,
}

/// A clock that programs can name (man 2 clock_getres). All have a resolution of 1 ns: the coarse ones, which are cheaper
/// elsewhere, are not coarser here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Since 1970.
    Realtime,
    /// Since boot. Tine never sleeps as a whole, so that CLOCK_BOOTTIME is the same.
    Monotonic,
    ProcessCpu,
    ThreadCpu,
}

impl Clock {
    /// # Errors
    /// `EINVAL` for what is no clock. Clocks of other processes and of devices (negative numbers) are not there.
    fn of(id: i32) -> Result<Self, Errno> {
        match u32::try_from(id).map_err(|_| Errno::EINVAL)? {
            linux::CLOCK_REALTIME | linux::CLOCK_REALTIME_COARSE | linux::CLOCK_TAI => Ok(Self::Realtime),
            linux::CLOCK_MONOTONIC
            | linux::CLOCK_MONOTONIC_RAW
            | linux::CLOCK_MONOTONIC_COARSE
            | linux::CLOCK_BOOTTIME => Ok(Self::Monotonic),
            linux::CLOCK_PROCESS_CPUTIME_ID => Ok(Self::ProcessCpu),
            linux::CLOCK_THREAD_CPUTIME_ID => Ok(Self::ThreadCpu),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The clock with this number, if one can sleep on it.
    ///
    /// # Errors
    /// `EINVAL` for no clock and for the thread's own CPU time, `EOPNOTSUPP` for others that only tell the time.
    pub fn to_sleep_on(id: i32) -> Result<Self, Errno> {
        match Self::of(id)? {
            Self::ThreadCpu => Err(Errno::EINVAL),
            clock @ (Self::Realtime | Self::Monotonic) if !tells_the_time_only(id as u32) => Ok(clock),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn now_ns(self, current: &Current) -> u64 {
        match self {
            Self::Realtime => clock::realtime_ns(),
            Self::Monotonic => arch::time::now().as_ticks(),
            Self::ProcessCpu => current.task.process.cpu_time().as_ticks(),
            Self::ThreadCpu => cpus::cpu_time(&current.thread).as_ticks(),
        }
    }

    /// The moment at which this clock, which is one to sleep on, shows `time`; long past if that is before boot.
    ///
    /// # Errors
    /// As [`TimeSpec::to_ns`].
    pub fn deadline(self, time: TimeSpec) -> Result<Instant, Errno> {
        let time = time.to_ns()?;
        let now = arch::time::now().as_ticks();
        let ahead = match self {
            Self::Realtime => time.saturating_sub(clock::realtime_ns()),
            _ => time.saturating_sub(now),
        };
        Ok(Instant::from_ticks(now.saturating_add(ahead)))
    }
}

fn tells_the_time_only(id: u32) -> bool {
    matches!(id, linux::CLOCK_MONOTONIC_RAW | linux::CLOCK_MONOTONIC_COARSE | linux::CLOCK_REALTIME_COARSE)
}

pub fn clock_gettime(current: &Current, clock: i32, to: u64) -> Result<u64, Errno> {
    user::write(to, &TimeSpec::from_ns(Clock::of(clock)?.now_ns(current)))?;
    Ok(0)
}

pub fn clock_getres(_: &Current, clock: i32, to: u64) -> Result<u64, Errno> {
    Clock::of(clock)?;
    user::write_if_wanted(to, &TimeSpec::from_ns(1))?;
    Ok(0)
}

pub fn gettimeofday(_: &Current, time: u64, zone: u64) -> Result<u64, Errno> {
    let ns = clock::realtime_ns();
    let now = TimeVal { seconds: (ns / SECOND_NS) as i64, microseconds: (ns % SECOND_NS / 1000) as i64 };
    user::write_if_wanted(time, &now)?;
    // `struct timezone`: UTC.
    user::write_if_wanted(zone, &[0_u32; 2])?;
    Ok(0)
}

pub fn time(_: &Current, to: u64) -> Result<u64, Errno> {
    let seconds = clock::realtime_ns() / SECOND_NS;
    user::write_if_wanted(to, &seconds)?;
    Ok(seconds)
}

pub fn nanosleep(current: &Current, time: u64, remaining: u64) -> Result<u64, Errno> {
    sleep(current, user::read(time)?, remaining)
}

pub fn clock_nanosleep(
    current: &Current,
    clock: i32,
    flags: u32,
    time: u64,
    remaining: u64,
) -> Result<u64, Errno> {
    let clock = Clock::to_sleep_on(clock)?;
    let time: TimeSpec = user::read(time)?;
    if flags & linux::TIMER_ABSTIME == 0 {
        return sleep(current, time, remaining);
    }
    if sleep_until(current, clock.deadline(time)?) { Ok(0) } else { Err(Errno::RESTART_NO_HANDLER) }
}

/// Sleeps for `time`. When a handler interrupts it, the time that was left is written to `remaining`; when a signal comes
/// that has no handler, the sleep goes on to the end that it had at first.
fn sleep(current: &Current, time: TimeSpec, remaining: u64) -> Result<u64, Errno> {
    let resumed = current.task.signals.take_deadline();
    let deadline = time.to_deadline()?;
    let deadline = resumed.unwrap_or(deadline);
    if sleep_until(current, deadline) {
        return Ok(0);
    }
    let left = deadline.as_ticks().saturating_sub(arch::time::now().as_ticks());
    user::write_if_wanted(remaining, &TimeSpec::from_ns(left))?;
    current.task.signals.note_deadline(deadline);
    Err(Errno::RESTART_NO_HANDLER)
}

/// False when a signal came first.
fn sleep_until(current: &Current, deadline: Instant) -> bool {
    let Err(woken) = current.sleep_until(Some(deadline), || None::<Infallible>);
    woken == Woken::ByDeadline
}

/// `struct tms`, in ticks. All time is booked as user time.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Times {
    user: u64,
    system: u64,
    children_user: u64,
    children_system: u64,
}

pub fn times(current: &Current, to: u64) -> Result<u64, Errno> {
    let process = &current.task.process;
    let times = Times {
        user: process.cpu_time().as_ticks() / TICK_NS,
        system: 0,
        children_user: process.children_ns.load(Relaxed) / TICK_NS,
        children_system: 0,
    };
    user::write_if_wanted(to, &times)?;
    Ok(arch::time::now().as_ticks() / TICK_NS)
}

pub fn getrusage(current: &Current, who: i32, to: u64) -> Result<u64, Errno> {
    const SELF: i32 = linux::RUSAGE_SELF as i32;
    const THREAD: i32 = linux::RUSAGE_THREAD as i32;
    let process = &current.task.process;
    let cpu_time = match who {
        SELF => process.cpu_time(),
        THREAD => cpus::cpu_time(&current.thread),
        linux::RUSAGE_CHILDREN => Duration::from_ticks(process.children_ns.load(Relaxed)),
        _ => return Err(Errno::EINVAL),
    };
    user::write(to, &ResourceUsage::of(cpu_time))?;
    Ok(0)
}
