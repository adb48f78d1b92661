//! Clocks that count how long a process or a thread has run (man 3 clock_getcpuclockid).
//!
//! Nothing counts down while a thread runs: switching threads costs the same whether somebody waits for such a clock or
//! not. Who waits looks again when the clock can have got there at the earliest, all threads of the process running at once.

use super::Deadline;
use crate::cpus;
use crate::errno::Errno;
use crate::task::{self, Current, Process, Task};
use alloc::sync::{Arc, Weak};
use formats::{Instant, ThreadId};

/// How often one looks at least at a clock that has stood still, and how often at most at any.
const SELDOM: u64 = 100_000_000;
const OFTEN: u64 = 50_000;

/// The bits of a clock's number (`CPUCLOCK_*` in Linux's `posix-timers.h`): what it counts, whether of a thread, and the
/// negated number of the process or thread above them.
const WHICH: i32 = 3;
const NO_CPU_CLOCK: i32 = 3;
const OF_THREAD: i32 = 4;

/// The clock of a process or a thread, which may have ended. Programs know three of each: for all time, for time in user mode,
/// and for time as the scheduler counts it. They are the same here.
#[derive(Clone)]
pub enum CpuClock {
    Process(Weak<Process>),
    Thread(Weak<Task>),
}

/// What a clock showed.
#[derive(Clone, Copy)]
pub struct Reading {
    pub ns: u64,
    /// How many times faster than real time it can advance.
    rate: u64,
}

impl CpuClock {
    pub fn of_process(process: &Arc<Process>) -> Self {
        Self::Process(Arc::downgrade(process))
    }

    pub fn of_thread(task: &Arc<Task>) -> Self {
        Self::Thread(Arc::downgrade(task))
    }

    /// The clock with a number below 0.
    ///
    /// # Errors
    /// `EINVAL` when there is no such process, or thread of the caller's process.
    pub fn decode(current: &Current, number: i32) -> Result<Self, Errno> {
        let id = !(number >> 3) as u32;
        match number & (WHICH | OF_THREAD) {
            kind if kind & WHICH == NO_CPU_CLOCK => Err(Errno::EINVAL),
            kind if kind & OF_THREAD == 0 && id == 0 => Ok(Self::of_process(&current.task.process)),
            kind if kind & OF_THREAD == 0 => {
                let process = task::find_process(id).ok_or(Errno::EINVAL)?;
                Ok(Self::of_process(&process))
            }
            _ if id == 0 => Ok(Self::of_thread(&current.task)),
            _ => {
                let of_caller = |task: &Arc<Task>| Arc::ptr_eq(&task.process, &current.task.process);
                let task = task::find_thread(ThreadId(id)).filter(of_caller).ok_or(Errno::EINVAL)?;
                Ok(Self::of_thread(&task))
            }
        }
    }

    /// Whether it counts the time of `current` alone.
    pub fn is_own(&self, current: &Current) -> bool {
        matches!(self, Self::Thread(task) if Weak::as_ptr(task) == Arc::as_ptr(&current.task))
    }

    /// What it shows; `None` when what it belongs to is gone.
    pub fn read(&self) -> Option<Reading> {
        match self {
            Self::Process(process) => {
                let process = process.upgrade()?;
                let threads = process.threads.lock().len().min(cpus::online().len());
                Some(Reading { ns: process.cpu_time().as_ticks(), rate: threads.max(1) as u64 })
            }
            Self::Thread(task) => {
                let thread = task.upgrade()?.thread()?;
                Some(Reading { ns: cpus::cpu_time(&thread).as_ticks(), rate: 1 })
            }
        }
    }
}

impl Reading {
    /// The reading of a clock that advances with real time.
    pub fn of_wall(ns: u64) -> Self {
        Self { ns, rate: 1 }
    }

    /// When to look whether the clock has got to `target`, given what it showed the last time; the moment is no later than it
    /// can be, unless the clock stands still.
    pub fn look_again(&self, target: u64, last: Option<u64>) -> Deadline {
        let ahead = (target.saturating_sub(self.ns) / self.rate).max(OFTEN);
        let stands = last == Some(self.ns);
        let ahead = if stands { ahead.max(SELDOM) } else { ahead };
        let now = arch::time::now();
        Deadline::At(Instant::from_ticks(now.as_ticks().saturating_add(ahead)))
    }
}

/// Sleeps until `clock` shows `target`. False when a signal came first.
///
/// # Errors
/// `ESRCH` when the process or thread has ended.
pub fn sleep_until(current: &Current, clock: &CpuClock, target: u64) -> Result<bool, Errno> {
    let mut last = None;
    loop {
        let reading = clock.read().ok_or(Errno::ESRCH)?;
        if reading.ns >= target {
            return Ok(true);
        }
        let look = reading.look_again(target, last);
        last = Some(reading.ns);
        let Err(woken) = current.sleep_until_deadline(Some(look), || None::<core::convert::Infallible>);
        if woken == crate::wait::Woken::BySignal {
            return Ok(false);
        }
    }
}
