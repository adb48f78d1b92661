//! System calls on the timers of a process (man 2 timer_create, setitimer, alarm).

use super::time::{AnyClock, Clock, TimeSpec, TimeVal};
use crate::errno::Errno;
use crate::signal::{SigInfo, Signal};
use crate::task::{self, Current, Task};
use crate::timers::process::{IntervalTimer, Notify, Setting, TimerClock, Which};
use crate::user;
use alloc::sync::{Arc, Weak};
use formats::ThreadId;
use linux_raw_sys::general as linux;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The part of `struct sigevent` that is used (man 3type sigevent).
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Event {
    value: u64,
    signal: i32,
    notify: i32,
    thread: i32,
    pad: i32,
}

/// `struct itimerspec`.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct TimerSpec {
    interval: TimeSpec,
    next: TimeSpec,
}

impl TimerSpec {
    pub fn of(setting: Setting) -> Self {
        Self { interval: TimeSpec::from_ns(setting.interval), next: TimeSpec::from_ns(setting.next) }
    }

    /// # Errors
    /// As [`TimeSpec::to_ns`].
    pub fn setting(self) -> Result<Setting, Errno> {
        Ok(Setting { next: self.next.to_ns()?, interval: self.interval.to_ns()? })
    }
}

/// `struct itimerval`.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct TimerVal {
    interval: TimeVal,
    next: TimeVal,
}

impl TimerVal {
    fn of(setting: Setting) -> Self {
        // Less than a microsecond is not nothing.
        let up = |ns: u64| TimeVal::from_ns(ns.saturating_add(999));
        Self { interval: up(setting.interval), next: up(setting.next) }
    }

    fn setting(self) -> Result<Setting, Errno> {
        Ok(Setting { next: self.next.to_ns()?, interval: self.interval.to_ns()? })
    }
}

/// The clock with this number, if timers can go by it.
///
/// # Errors
/// `EINVAL` for no clock, `EOPNOTSUPP` for one that only tells the time.
fn timer_clock(current: &Current, id: i32) -> Result<TimerClock, Errno> {
    match AnyClock::of(current, id)? {
        _ if super::time::tells_the_time_only(id) => Err(Errno::EOPNOTSUPP),
        AnyClock::Wall(Clock::Realtime) => Ok(TimerClock::Realtime),
        AnyClock::Wall(Clock::Monotonic) => Ok(TimerClock::Monotonic),
        AnyClock::Cpu(clock) => Ok(TimerClock::Cpu(clock)),
    }
}

/// What `event` asks for; a null pointer is SIGALRM with the timer's number as its value.
enum Wanted {
    Nobody,
    Signal { signal: Signal, value: Option<u64>, thread: Option<Weak<Task>> },
}

impl Wanted {
    fn read(current: &Current, event: u64) -> Result<Self, Errno> {
        const NONE: u32 = linux::SIGEV_NONE;
        const SIGNAL: u32 = linux::SIGEV_SIGNAL;
        const THREAD: u32 = linux::SIGEV_THREAD;
        const THREAD_ID: u32 = linux::SIGEV_THREAD_ID;
        if event == 0 {
            return Ok(Self::Signal { signal: Signal::ALRM, value: None, thread: None });
        }
        let event: Event = user::read(event)?;
        let signal = || Signal::new(event.signal as u32);
        match event.notify as u32 {
            NONE => Ok(Self::Nobody),
            SIGNAL | THREAD => Ok(Self::Signal { signal: signal()?, value: Some(event.value), thread: None }),
            THREAD_ID => {
                let of_caller = |task: &Arc<Task>| Arc::ptr_eq(&task.process, &current.task.process);
                let task = task::find_thread(ThreadId(event.thread as u32)).filter(of_caller);
                let thread = Some(Arc::downgrade(&task.ok_or(Errno::EINVAL)?));
                Ok(Self::Signal { signal: signal()?, value: Some(event.value), thread })
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn notify(self, id: i32) -> Notify {
        match self {
            Self::Nobody => Notify::Nobody,
            Self::Signal { signal, value, thread } => {
                let value = value.unwrap_or_else(|| u64::from(id as u32));
                Notify::Signal { thread, info: SigInfo::timer(signal, id, value) }
            }
        }
    }
}

pub fn timer_create(current: &Current, clock: i32, event: u64, to: u64) -> Result<u64, Errno> {
    let clock = timer_clock(current, clock)?;
    let wanted = Wanted::read(current, event)?;
    let process = &current.task.process;
    let timers = &process.signals.timers;
    let id = timers.add(|id| IntervalTimer::new(clock, wanted.notify(id), Arc::downgrade(process)))?;
    if let Err(error) = user::write(to, &id) {
        // Another thread may have guessed the number and been faster.
        let _ = timers.delete(id);
        return Err(error);
    }
    Ok(0)
}

pub fn timer_settime(current: &Current, id: i32, flags: u32, new: u64, old: u64) -> Result<u64, Errno> {
    if new == 0 {
        return Err(Errno::EINVAL);
    }
    let setting = user::read::<TimerSpec>(new)?.setting()?;
    let timer = current.task.process.signals.timers.get(id)?;
    let before = timer.set(setting, flags & linux::TIMER_ABSTIME != 0);
    user::write_if_wanted(old, &TimerSpec::of(before))?;
    Ok(0)
}

pub fn timer_gettime(current: &Current, id: i32, to: u64) -> Result<u64, Errno> {
    let timer = current.task.process.signals.timers.get(id)?;
    user::write(to, &TimerSpec::of(timer.get()))?;
    Ok(0)
}

pub fn timer_getoverrun(current: &Current, id: i32) -> Result<u64, Errno> {
    Ok(current.task.process.signals.timers.get(id)?.overrun() as u64)
}

pub fn timer_delete(current: &Current, id: i32) -> Result<u64, Errno> {
    current.task.process.signals.timers.delete(id)?;
    Ok(0)
}

pub fn getitimer(current: &Current, which: i32, to: u64) -> Result<u64, Errno> {
    let setting = current.task.process.signals.timers.interval(Which::of(which)?);
    user::write(to, &TimerVal::of(setting))?;
    Ok(0)
}

/// As on Linux, a null pointer for `new` disarms the timer.
pub fn setitimer(current: &Current, which: i32, new: u64, old: u64) -> Result<u64, Errno> {
    let setting = if new == 0 { Setting::default() } else { user::read::<TimerVal>(new)?.setting()? };
    let process = &current.task.process;
    let before = process.signals.timers.set_interval(process, Which::of(which)?, setting);
    user::write_if_wanted(old, &TimerVal::of(before))?;
    Ok(0)
}

/// Returns the seconds that were left, rounded as on Linux: to the nearest, but not to 0.
pub fn alarm(current: &Current, seconds: u32) -> Result<u64, Errno> {
    const SECOND_NS: u64 = 1_000_000_000;
    let process = &current.task.process;
    let setting = Setting { next: u64::from(seconds) * SECOND_NS, interval: 0 };
    let left = process.signals.timers.set_interval(process, Which::Real, setting).next;
    let rounded = (left + SECOND_NS / 2) / SECOND_NS;
    Ok(if left > 0 { rounded.max(1) } else { 0 })
}
