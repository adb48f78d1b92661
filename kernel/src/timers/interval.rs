//! One timer of a process: it expires at a time, and then again each interval (man 2 timer_create, setitimer).
//!
//! A signal that is still pending is not sent again. The timer stands still meanwhile, and is set for its next time when the
//! signal is taken; the times that it would have expired in between are counted then. So a timer with a short interval
//! cannot keep a CPU busy (as on Linux).

use super::cpu_clock::{CpuClock, Reading};
use super::{Deadline, Expire, Timer, call_at};
use crate::clock;
use crate::limits::Limit;
use crate::lock::{Lock, rank};
use crate::signal::{self, SigInfo, Signal};
use crate::task::{self, ExitStatus, Process, Task};
use alloc::sync::{Arc, Weak};
use formats::Instant;
use linux_raw_sys::general as linux;

/// A timer whose signal is ignored expires at most so often, in nanoseconds.
const IGNORED_AT_MOST: u64 = 1_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// What a timer goes by.
#[derive(Clone)]
pub enum TimerClock {
    Realtime,
    Monotonic,
    Cpu(CpuClock),
}

impl TimerClock {
    /// What it shows; `None` when what it belongs to is gone.
    fn read(&self) -> Option<Reading> {
        match self {
            Self::Realtime => Some(Reading::of_wall(clock::realtime_ns())),
            Self::Monotonic => Some(Reading::of_wall(arch::time::now().as_ticks())),
            Self::Cpu(clock) => clock.read(),
        }
    }

    fn deadline(&self, reading: Reading, at: u64, last: Option<u64>) -> Deadline {
        match self {
            Self::Realtime => Deadline::Realtime(at),
            Self::Monotonic => Deadline::At(Instant::from_ticks(at)),
            Self::Cpu(_) => reading.look_again(at, last),
        }
    }
}

/// What happens when a timer expires.
pub enum Notify {
    /// SIGEV_NONE: somebody may ask.
    Nobody,
    /// A signal to the process, or to one of its threads.
    Signal { thread: Option<Weak<Task>>, info: SigInfo },
    /// RLIMIT_CPU: SIGXCPU each second from the soft limit on, SIGKILL at the hard one.
    CpuLimit,
}

/// When a timer expires next and how often, in nanoseconds; 0: not at all, and once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    pub next: u64,
    pub interval: u64,
}

pub struct IntervalTimer {
    clock: TimerClock,
    notify: Notify,
    process: Weak<Process>,
    this: Weak<Self>,
    state: Lock<State, { rank::INTERVAL }>,
}

#[derive(Default)]
struct State {
    /// When it expires next by its clock; `None`: it is disarmed.
    expires: Option<u64>,
    interval: u64,
    alarm: Option<Timer>,
    /// What the clock showed when it was last looked at.
    last: Option<u64>,
    /// It has expired, and the signal has not been taken.
    is_signalled: bool,
    /// How often it had expired in addition when its signal was last taken.
    overrun: u64,
}

impl IntervalTimer {
    pub fn new(clock: TimerClock, notify: Notify, process: Weak<Process>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            clock,
            notify,
            process,
            this: this.clone(),
            state: Lock::new(State::default()),
        })
    }

    /// Sets it, to a time of its clock if `absolute`, and returns what it was set to.
    pub fn set(&self, setting: Setting, absolute: bool) -> Setting {
        let Some(reading) = self.clock.read() else { return Setting::default() };
        let mut state = self.state.lock();
        let before = self.remaining(&state, reading);
        let from = if absolute { 0 } else { reading.ns };
        let expires = (setting.next != 0).then(|| from.saturating_add(setting.next));
        *state = State { expires, interval: setting.interval, overrun: state.overrun, ..State::default() };
        self.arm(&mut state, reading);
        before
    }

    /// How long until it expires, and its interval.
    pub fn get(&self) -> Setting {
        let Some(reading) = self.clock.read() else { return Setting::default() };
        self.remaining(&self.state.lock(), reading)
    }

    fn remaining(&self, state: &State, reading: Reading) -> Setting {
        let interval = state.interval;
        let Some(expires) = state.expires else { return Setting { next: 0, interval } };
        let late = reading.ns.saturating_sub(expires);
        let next = match expires.checked_sub(reading.ns) {
            Some(next) if next > 0 => next,
            _ if interval > 0 => interval - late % interval,
            _ if matches!(self.notify, Notify::Nobody) => 0,
            // It is about to expire: 0 would mean that it is not set.
            _ => 1,
        };
        Setting { next, interval }
    }

    /// How often it had expired in addition when its signal was last taken; no more than an `int` can say.
    pub fn overrun(&self) -> i32 {
        self.state.lock().overrun.try_into().unwrap_or(i32::MAX)
    }

    /// Its signal is taken. Returns what [`Self::overrun`] is from now on, if the timer is in the state that it had when the
    /// signal was sent.
    pub fn taken(&self) -> Option<i32> {
        let reading = self.clock.read()?;
        {
            let mut state = self.state.lock();
            if !state.is_signalled {
                return None;
            }
            state.overrun = state.forward(reading.ns);
            self.arm(&mut state, reading);
        }
        Some(self.overrun())
    }

    fn arm(&self, state: &mut State, reading: Reading) {
        state.alarm = match state.expires {
            Some(expires) if !matches!(self.notify, Notify::Nobody) => {
                let deadline = self.clock.deadline(reading, expires, state.last);
                state.last = Some(reading.ns);
                Some(call_at(deadline, self.this.clone()))
            }
            _ => None,
        };
    }

    /// Notes that it has expired. False if it has not.
    fn note_expiry(&self, reading: Reading) -> bool {
        let mut state = self.state.lock();
        let Some(expires) = state.expires else { return false };
        if state.is_signalled {
            return false;
        }
        if reading.ns < expires {
            self.arm(&mut state, reading);
            return false;
        }
        state.alarm = None;
        state.is_signalled = true;
        true
    }

    /// Nobody will take the signal: it is ignored, or the process has one of the kind already.
    fn nobody_takes_it(&self) {
        let Some(reading) = self.clock.read() else { return };
        let mut state = self.state.lock();
        if state.is_signalled {
            state.forward(reading.ns.saturating_add(IGNORED_AT_MOST));
            self.arm(&mut state, reading);
        }
    }

    /// Looks at the CPU limits of the process, whose clock is this timer's.
    fn check_cpu_limit(&self, process: &Arc<Process>, reading: Reading) {
        let Ok(limit) = process.limits.lock().get(linux::RLIMIT_CPU) else { return };
        let ns = |seconds: u64| seconds.saturating_mul(SECOND_NS);
        if reading.ns >= ns(limit.hard) {
            task::exit_group(process, ExitStatus::Killed { signal: Signal::KILL.number(), core: false });
            return;
        }
        if reading.ns >= ns(limit.soft) {
            // A standard signal is always pending afterwards.
            let _ = signal::send_to_process(process, SigInfo::from_kernel(Signal::XCPU));
        }
        let next_second = (reading.ns / SECOND_NS + 1) * SECOND_NS;
        let mut state = self.state.lock();
        state.is_signalled = false;
        state.expires = (limit.soft != Limit::UNLIMITED).then(|| next_second.max(ns(limit.soft)));
        self.arm(&mut state, reading);
    }
}

impl State {
    /// Goes on to the first time after `now` at which it expires. Returns how many it has missed.
    fn forward(&mut self, now: u64) -> u64 {
        self.is_signalled = false;
        let Some(expires) = self.expires.take().filter(|_| self.interval > 0) else { return 0 };
        let missed = now.saturating_sub(expires) / self.interval;
        self.expires = Some(expires.saturating_add((missed + 1).saturating_mul(self.interval)));
        missed
    }
}

impl Expire for IntervalTimer {
    fn expire(&self) {
        let process = self.process.upgrade().filter(|process| !process.has_ended());
        let (Some(process), Some(reading)) = (process, self.clock.read()) else { return };
        if !self.note_expiry(reading) {
            return;
        }
        let is_pending = match &self.notify {
            Notify::Nobody => true,
            Notify::Signal { thread, info } => signal::send_timer(&process, thread.as_ref(), info),
            Notify::CpuLimit => return self.check_cpu_limit(&process, reading),
        };
        if !is_pending {
            self.nobody_takes_it();
        }
    }
}
