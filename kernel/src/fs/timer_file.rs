//! Timers as files (man 2 timerfd_create).
//!
//! The kernel's timer rings once, for the first expiration. How many have passed is computed when somebody reads or asks,
//! which sets the kernel's timer again: an interval that nobody reads costs nothing.

use super::{DeviceId, File, Kind, Metadata, Readiness, Request, UserBuffer};
use crate::clock;
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::syscall::time::Clock;
use crate::timers::process::Setting;
use crate::timers::{self, Deadline, Expire, Timer};
use crate::wait::WaitQueue;
use alloc::sync::{Arc, Weak};
use core::mem::size_of;
use formats::Instant;

const FILE_SYSTEM: DeviceId = DeviceId::new(0, 14);

/// The times in it are those of its clock, in nanoseconds.
pub struct TimerFile {
    this: Weak<TimerFile>,
    clock: Clock,
    state: Lock<State, { rank::FILE }>,
    /// Woken by an expiration, and when the timer is set.
    queue: WaitQueue,
}

#[derive(Default)]
struct State {
    next: Option<u64>,
    interval: u64,
    /// Expirations that were found and not read.
    count: u64,
    /// The kernel's timer for `next`.
    timer: Option<Timer>,
    /// What the epoch of the time of day was, if setting that cancels the timer.
    cancels: Option<u64>,
}

impl State {
    /// Counts the expirations that have come.
    fn catch_up(&mut self, now: u64) {
        let Some(next) = self.next.filter(|next| *next <= now) else { return };
        self.timer = None;
        let more = (now - next).checked_div(self.interval);
        self.count = self.count.saturating_add(1 + more.unwrap_or(0));
        self.next = more.map(|more| next.saturating_add((more + 1).saturating_mul(self.interval)));
    }

    fn setting(&self, now: u64) -> Setting {
        let left = self.next.map_or(0, |next| next.saturating_sub(now).max(1));
        Setting { next: left, interval: self.interval }
    }

    fn is_cancelled(&self) -> bool {
        self.cancels.is_some_and(|epoch| epoch != clock::epoch_ns())
    }
}

impl TimerFile {
    pub fn new(clock: Clock) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            clock,
            state: Lock::default(),
            queue: WaitQueue::new(),
        })
    }

    fn arm(&self, state: &mut State) {
        if state.timer.is_some() {
            return;
        }
        let deadline = |ns| match self.clock {
            Clock::Realtime => Deadline::Realtime(ns),
            Clock::Monotonic => Deadline::At(Instant::from_ticks(ns)),
        };
        state.timer = state.next.map(|next| timers::call_at(deadline(next), self.this.clone()));
    }

    /// Sets it, to a time of its clock if `absolute`, and returns what it was set to. With `cancels`, reading is an error once
    /// the time of day was set, if it goes by that.
    pub fn set(&self, setting: Setting, absolute: bool, cancels: bool) -> Setting {
        let now = self.clock.now_ns();
        let mut state = self.state.lock();
        state.catch_up(now);
        let before = state.setting(now);
        let from = if absolute { 0 } else { now };
        *state = State {
            next: (setting.next != 0).then(|| from.saturating_add(setting.next)),
            interval: setting.interval,
            cancels: (cancels && absolute && self.clock == Clock::Realtime).then(clock::epoch_ns),
            ..State::default()
        };
        self.arm(&mut state);
        drop(state);
        self.queue.wake_all();
        before
    }

    pub fn get(&self) -> Setting {
        let now = self.clock.now_ns();
        let mut state = self.state.lock();
        state.catch_up(now);
        self.arm(&mut state);
        state.setting(now)
    }

    /// The expirations since they were read last.
    fn take(&self) -> Option<Result<u64, Errno>> {
        let mut state = self.state.lock();
        if state.is_cancelled() {
            state.cancels = Some(clock::epoch_ns());
            return Some(Err(Errno::ECANCELED));
        }
        state.catch_up(self.clock.now_ns());
        self.arm(&mut state);
        let count = core::mem::take(&mut state.count);
        (count > 0).then_some(Ok(count))
    }
}

impl Expire for TimerFile {
    fn expire(&self) {
        self.queue.wake_for(Readiness::READABLE);
    }
}

impl File for TimerFile {
    fn metadata(&self) -> Metadata {
        Metadata::new(Kind::Anonymous, 0o600, 1, FILE_SYSTEM)
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        if to.remaining() < size_of::<u64>() {
            return Err(Errno::EINVAL);
        }
        let count = if request.nonblocking {
            self.take().ok_or(Errno::EAGAIN)??
        } else {
            self.queue.wait(request.current, None, || self.take()).map_err(|_| Errno::RESTART)??
        };
        to.fill(&count.to_ne_bytes())
    }

    fn readiness(&self) -> Readiness {
        let state = self.state.lock();
        let is_due = state.next.is_some_and(|next| next <= self.clock.now_ns());
        if state.count > 0 || is_due || state.is_cancelled() {
            Readiness::READABLE
        } else {
            Readiness::empty()
        }
    }

    fn label(&self) -> &'static str {
        "[timerfd]"
    }

    fn queues<'f>(&'f self, each: &mut dyn FnMut(&'f WaitQueue)) {
        each(&self.queue);
    }
}
