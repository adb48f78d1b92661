//! System calls on clocks, and sleeping (man 2 clock_gettime, clock_nanosleep). [`super::timers`] has those on timers.

use crate::clock;
use crate::errno::Errno;
use crate::task::Current;
use crate::timers::Deadline;
use crate::timers::cpu_clock::{self, CpuClock};
use crate::user;
use crate::wait::Woken;
use core::convert::Infallible;
use formats::Instant;
use linux_raw_sys::general as linux;
use zerocopy::{FromBytes, Immutable, IntoBytes};

const SECOND_NS: u64 = 1_000_000_000;

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
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct TimeVal {
    seconds: i64,
    microseconds: i64,
}

impl TimeVal {
    pub fn from_ns(ns: u64) -> Self {
        Self { seconds: (ns / SECOND_NS) as i64, microseconds: (ns % SECOND_NS / 1000) as i64 }
    }

    /// In nanoseconds, as [`TimeSpec::to_ns`].
    ///
    /// # Errors
    /// `EINVAL` when it is negative or not normalised.
    pub fn to_ns(self) -> Result<u64, Errno> {
        let nanoseconds = self.microseconds.checked_mul(1000).ok_or(Errno::EINVAL)?;
        TimeSpec { seconds: self.seconds, nanoseconds }.to_ns()
    }
}

/// A clock that advances whatever runs (man 2 clock_getres). All have a resolution of 1 ns: the coarse ones, which are
/// cheaper elsewhere, are not coarser here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Since 1970. No leap second has ever been told, so that CLOCK_TAI is the same.
    Realtime,
    /// Since boot. Tine never sleeps as a whole, so that CLOCK_BOOTTIME is the same.
    Monotonic,
}

impl Clock {
    /// What it shows, in nanoseconds.
    pub fn now_ns(self) -> u64 {
        match self {
            Self::Realtime => clock::realtime_ns(),
            Self::Monotonic => arch::time::now().as_ticks(),
        }
    }

    /// When this clock shows `time`.
    ///
    /// # Errors
    /// As [`TimeSpec::to_ns`].
    pub fn deadline(self, time: TimeSpec) -> Result<Deadline, Errno> {
        let ns = time.to_ns()?;
        Ok(match self {
            Self::Realtime => Deadline::Realtime(ns),
            Self::Monotonic => Deadline::At(Instant::from_ticks(ns)),
        })
    }
}

/// A clock that programs can name.
pub enum AnyClock {
    Wall(Clock),
    Cpu(CpuClock),
}

impl AnyClock {
    /// # Errors
    /// `EINVAL` for what is no clock, and for that of a process or thread that is not there.
    pub fn of(current: &Current, id: i32) -> Result<Self, Errno> {
        let Ok(number) = u32::try_from(id) else { return CpuClock::decode(current, id).map(Self::Cpu) };
        match number {
            linux::CLOCK_REALTIME | linux::CLOCK_REALTIME_COARSE | linux::CLOCK_TAI => {
                Ok(Self::Wall(Clock::Realtime))
            }
            linux::CLOCK_MONOTONIC
            | linux::CLOCK_MONOTONIC_RAW
            | linux::CLOCK_MONOTONIC_COARSE
            | linux::CLOCK_BOOTTIME => Ok(Self::Wall(Clock::Monotonic)),
            linux::CLOCK_PROCESS_CPUTIME_ID => Ok(Self::Cpu(CpuClock::of_process(&current.task.process))),
            linux::CLOCK_THREAD_CPUTIME_ID => Ok(Self::Cpu(CpuClock::of_thread(&current.task))),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The clock with this number, if one can sleep on it.
    ///
    /// # Errors
    /// `EINVAL` for no clock and for the thread's own CPU time, `EOPNOTSUPP` for others that only tell the time.
    fn to_sleep_on(current: &Current, id: i32) -> Result<Self, Errno> {
        match Self::of(current, id)? {
            Self::Cpu(clock) if clock.is_own(current) => Err(Errno::EINVAL),
            _ if tells_the_time_only(id) => Err(Errno::EOPNOTSUPP),
            clock => Ok(clock),
        }
    }

    fn now_ns(&self) -> Result<u64, Errno> {
        match self {
            Self::Wall(clock) => Ok(clock.now_ns()),
            Self::Cpu(clock) => Ok(clock.read().ok_or(Errno::EINVAL)?.ns),
        }
    }
}

/// Whether neither sleeps nor timers go by the clock.
pub fn tells_the_time_only(id: i32) -> bool {
    const ONLY: [u32; 3] =
        [linux::CLOCK_MONOTONIC_RAW, linux::CLOCK_MONOTONIC_COARSE, linux::CLOCK_REALTIME_COARSE];
    u32::try_from(id).is_ok_and(|id| ONLY.contains(&id))
}

pub fn clock_gettime(current: &Current, clock: i32, to: u64) -> Result<u64, Errno> {
    user::write(to, &TimeSpec::from_ns(AnyClock::of(current, clock)?.now_ns()?))?;
    Ok(0)
}

pub fn clock_getres(current: &Current, clock: i32, to: u64) -> Result<u64, Errno> {
    AnyClock::of(current, clock)?;
    user::write_if_wanted(to, &TimeSpec::from_ns(1))?;
    Ok(0)
}

/// Sets the time of day.
///
/// # Errors
/// `EINVAL` for other clocks, and for a time before the machine was started; `EPERM` for clocks of CPU time.
pub fn clock_settime(current: &Current, id: i32, from: u64) -> Result<u64, Errno> {
    match AnyClock::of(current, id)? {
        AnyClock::Wall(Clock::Realtime) if id == linux::CLOCK_REALTIME as i32 => {}
        AnyClock::Wall(_) => return Err(Errno::EINVAL),
        AnyClock::Cpu(_) => return Err(Errno::EPERM),
    }
    set_time_of_day(user::read::<TimeSpec>(from)?.to_ns()?)
}

fn set_time_of_day(ns: u64) -> Result<u64, Errno> {
    // As on Linux: at most 30 years before the end of what 64 bits can say.
    const LATEST: u64 = i64::MAX as u64 - 30 * 365 * 24 * 3600 * SECOND_NS;
    if ns < Clock::Monotonic.now_ns() || ns > LATEST {
        return Err(Errno::EINVAL);
    }
    clock::set_realtime(ns);
    Ok(0)
}

/// The time zone is taken and forgotten: it has no meaning for the kernel.
pub fn settimeofday(_: &Current, time: u64, zone: u64) -> Result<u64, Errno> {
    let time = if time == 0 { None } else { Some(user::read::<TimeVal>(time)?.to_ns()?) };
    if zone != 0 {
        let [minutes_west, _]: [i32; 2] = user::read(zone)?;
        if minutes_west.unsigned_abs() > 15 * 60 {
            return Err(Errno::EINVAL);
        }
    }
    time.map_or(Ok(0), set_time_of_day)
}

pub fn gettimeofday(_: &Current, time: u64, zone: u64) -> Result<u64, Errno> {
    user::write_if_wanted(time, &TimeVal::from_ns(clock::realtime_ns()))?;
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
    let clock = AnyClock::to_sleep_on(current, clock)?;
    let time: TimeSpec = user::read(time)?;
    let absolute = flags & linux::TIMER_ABSTIME != 0;
    match clock {
        AnyClock::Cpu(clock) => sleep_on_cpu_clock(current, &clock, time, absolute, remaining),
        AnyClock::Wall(_) if !absolute => sleep(current, time, remaining),
        AnyClock::Wall(clock) if sleep_until(current, clock.deadline(time)?) => Ok(0),
        AnyClock::Wall(_) => Err(Errno::RESTART_NO_HANDLER),
    }
}

/// As [`sleep`], until `clock` has advanced by `time`, or shows it.
fn sleep_on_cpu_clock(
    current: &Current,
    clock: &CpuClock,
    time: TimeSpec,
    absolute: bool,
    remaining: u64,
) -> Result<u64, Errno> {
    let resumed = current.task.signals.take_deadline().map(|target| target.as_ticks());
    let now = || clock.read().map_or(0, |reading| reading.ns);
    let time = time.to_ns()?;
    let target = if absolute { time } else { resumed.unwrap_or_else(|| now().saturating_add(time)) };
    if cpu_clock::sleep_until(current, clock, target)? {
        return Ok(0);
    }
    if !absolute {
        user::write_if_wanted(remaining, &TimeSpec::from_ns(target.saturating_sub(now())))?;
        current.task.signals.note_deadline(Instant::from_ticks(target));
    }
    Err(Errno::RESTART_NO_HANDLER)
}

/// Sleeps for `time`. When a handler interrupts it, the time that was left is written to `remaining`; when a signal comes
/// that has no handler, the sleep goes on to the end that it had at first.
fn sleep(current: &Current, time: TimeSpec, remaining: u64) -> Result<u64, Errno> {
    let resumed = current.task.signals.take_deadline();
    let deadline = time.to_deadline()?;
    let deadline = resumed.unwrap_or(deadline);
    if sleep_until(current, Deadline::At(deadline)) {
        return Ok(0);
    }
    let left = deadline.as_ticks().saturating_sub(arch::time::now().as_ticks());
    user::write_if_wanted(remaining, &TimeSpec::from_ns(left))?;
    current.task.signals.note_deadline(deadline);
    Err(Errno::RESTART_NO_HANDLER)
}

/// False when a signal came first.
fn sleep_until(current: &Current, deadline: Deadline) -> bool {
    let Err(woken) = current.sleep_until_deadline(Some(deadline), || None::<Infallible>);
    woken == Woken::ByDeadline
}

/// The part of `struct timex` that is not 0 (man 2 adjtimex).
#[derive(Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Adjustments {
    modes: u64,
    offset: i64,
    /// In units of 2^-16 parts per million, 1 s being 10^6 of them.
    frequency: i64,
    max_error_us: i64,
    estimated_error_us: i64,
    status: u64,
    constant: i64,
    precision_us: i64,
    tolerance: i64,
    seconds: i64,
    microseconds: i64,
    /// Microseconds between clock ticks of `USER_HZ`.
    tick: i64,
    rest: [i64; 14],
}

/// Tells that nobody adjusts the time of day.
///
/// # Errors
/// `EPERM` when it is to be adjusted: nobody may.
pub fn adjtimex(_: &Current, to: u64) -> Result<u64, Errno> {
    const NOT_SYNCHRONISED: u64 = 64;
    const MAX_ERROR_US: i64 = 16_000_000;
    if user::read::<u32>(to)? != 0 {
        return Err(Errno::EPERM);
    }
    let now = TimeVal::from_ns(clock::realtime_ns());
    let adjustments = Adjustments {
        max_error_us: MAX_ERROR_US,
        estimated_error_us: MAX_ERROR_US,
        status: NOT_SYNCHRONISED,
        constant: 2,
        precision_us: 1,
        tolerance: 500 << 16,
        seconds: now.seconds,
        microseconds: now.microseconds,
        tick: 10_000,
        ..Adjustments::default()
    };
    user::write(to, &adjustments)?;
    // `TIME_ERROR` of `linux/timex.h`: the time is not synchronised.
    Ok(5)
}

/// # Errors
/// `EOPNOTSUPP` for clocks other than the time of day, and as [`adjtimex`].
pub fn clock_adjtime(current: &Current, id: i32, to: u64) -> Result<u64, Errno> {
    AnyClock::of(current, id)?;
    if id == linux::CLOCK_REALTIME as i32 { adjtimex(current, to) } else { Err(Errno::EOPNOTSUPP) }
}
