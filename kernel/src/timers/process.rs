//! The timers of a process: those it has made (man 2 timer_create), the three it always has (man 2 setitimer), and its limit
//! of processor time.

use super::cpu_clock::CpuClock;
pub use super::interval::{IntervalTimer, Notify, Setting, TimerClock};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::signal::{SigInfo, Signal};
use crate::task::Process;
use alloc::{collections::BTreeMap, sync::Arc};
use linux_raw_sys::general as linux;
use spin::Once;

/// The most timers of a process, as Linux has with its default RLIMIT_SIGPENDING on a small machine.
const MOST: usize = 4096;

/// Which of the three timers that a process always has (man 2 setitimer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Real,
    Virtual,
    Prof,
}

impl Which {
    const ALL: [Self; 3] = [Self::Real, Self::Virtual, Self::Prof];

    /// # Errors
    /// `EINVAL` for none of them.
    pub fn of(number: i32) -> Result<Self, Errno> {
        usize::try_from(number).ok().and_then(|at| Self::ALL.get(at).copied()).ok_or(Errno::EINVAL)
    }

    fn signal(self) -> Signal {
        match self {
            Self::Real => Signal::ALRM,
            Self::Virtual => Signal::VTALRM,
            Self::Prof => Signal::PROF,
        }
    }
}

pub struct Timers {
    made: Lock<Made, { rank::PROCESS_TIMERS }>,
    /// Made when first set.
    interval: [Once<Arc<IntervalTimer>>; 3],
    cpu_limit: Once<Arc<IntervalTimer>>,
}

/// Timers by their numbers.
struct Made {
    timers: BTreeMap<i32, Arc<IntervalTimer>>,
    next: i32,
}

impl Timers {
    pub const fn new() -> Self {
        Self {
            made: Lock::new(Made { timers: BTreeMap::new(), next: 0 }),
            interval: [const { Once::new() }; 3],
            cpu_limit: Once::new(),
        }
    }

    /// Adds the timer that `make` makes of its number, which is returned.
    ///
    /// # Errors
    /// `EAGAIN` when there are too many.
    pub fn add(&self, make: impl FnOnce(i32) -> Arc<IntervalTimer>) -> Result<i32, Errno> {
        let mut made = self.made.lock();
        if made.timers.len() >= MOST || mm::frames::is_low() {
            return Err(Errno::EAGAIN);
        }
        let mut id = made.next;
        while made.timers.contains_key(&id) {
            id = id.checked_add(1).unwrap_or(0);
        }
        made.next = id.checked_add(1).unwrap_or(0);
        made.timers.insert(id, make(id));
        Ok(id)
    }

    /// # Errors
    /// `EINVAL` for a number that no timer has.
    pub fn get(&self, id: i32) -> Result<Arc<IntervalTimer>, Errno> {
        self.made.lock().timers.get(&id).cloned().ok_or(Errno::EINVAL)
    }

    /// # Errors
    /// As [`Self::get`].
    pub fn delete(&self, id: i32) -> Result<(), Errno> {
        let timer = self.made.lock().timers.remove(&id).ok_or(Errno::EINVAL)?;
        timer.set(Setting::default(), false);
        Ok(())
    }

    /// Deletes those that the program has made: at exec (man 2 execve).
    pub fn delete_all(&self) {
        let timers = core::mem::take(&mut self.made.lock().timers);
        for timer in timers.values() {
            timer.set(Setting::default(), false);
        }
    }

    /// Stops all, for ever: the process has ended.
    pub fn end(&self) {
        self.delete_all();
        for timer in self.interval.iter().chain([&self.cpu_limit]).filter_map(Once::get) {
            timer.set(Setting::default(), false);
        }
    }

    /// Sets one of the three timers of `process`, which these are, and returns what it was set to.
    pub fn set_interval(&self, process: &Arc<Process>, which: Which, setting: Setting) -> Setting {
        let make = || {
            let clock = match which {
                Which::Real => TimerClock::Monotonic,
                Which::Virtual | Which::Prof => TimerClock::Cpu(CpuClock::of_process(process)),
            };
            let info = SigInfo::from_kernel(which.signal());
            IntervalTimer::new(clock, Notify::Signal { thread: None, info }, Arc::downgrade(process))
        };
        self.interval[which as usize].call_once(make).set(setting, false)
    }

    /// What one of the three is set to.
    pub fn interval(&self, which: Which) -> Setting {
        self.interval[which as usize].get().map_or(Setting::default(), |timer| timer.get())
    }

    /// Watches over RLIMIT_CPU of `process`, which these are: to be called when that is set.
    pub fn watch_cpu_limit(&self, process: &Arc<Process>) {
        let make = || {
            let clock = TimerClock::Cpu(CpuClock::of_process(process));
            IntervalTimer::new(clock, Notify::CpuLimit, Arc::downgrade(process))
        };
        // It looks at once, and finds out itself when to look again.
        self.cpu_limit.call_once(make).set(Setting { next: 1, interval: 0 }, true);
    }

    /// A signal is taken: if it is a timer's, that goes on, and `info` says how often it has expired meanwhile.
    pub fn taken(&self, info: &mut SigInfo) {
        if let Some(id) = info.timer_id() {
            if let Ok(timer) = self.get(id)
                && let Some(overrun) = timer.taken()
            {
                info.set_overrun(overrun);
            }
        } else if info.code() == linux::SI_KERNEL as i32 {
            let mine = Which::ALL.into_iter().find(|which| which.signal() == info.signal());
            if let Some(timer) = mine.and_then(|which| self.interval[which as usize].get()) {
                timer.taken();
            }
        }
    }
}
