//! Timers as files (man 2 timerfd_create).
//!
//! The kernel's timer rings once, for the first expiration. How many have passed is computed when somebody reads or asks,
//! which sets the kernel's timer again: an interval that nobody reads costs nothing.

use super::{DeviceId, File, Kind, Metadata, Readiness, Request, UserBuffer};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::syscall::time::Clock;
use crate::timers::{self, Expire, Timer};
use crate::wait::WaitQueue;
use alloc::sync::{Arc, Weak};
use core::mem::size_of;
use formats::Instant;

const FILE_SYSTEM: DeviceId = DeviceId::new(0, 14);

/// How a timer is set, or what is left of that: nanoseconds, 0 for never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting {
    pub interval_ns: u64,
    /// Until the next expiration.
    pub next_ns: u64,
}

pub struct TimerFile {
    this: Weak<TimerFile>,
    clock: Clock,
    state: Lock<State, { rank::FILE }>,
    /// Woken by an expiration, and when the timer is set.
    queue: WaitQueue,
}

#[derive(Default)]
struct State {
    next: Option<Instant>,
    interval_ns: u64,
    /// Expirations that were found and not read.
    count: u64,
    /// The kernel's timer for `next`.
    timer: Option<Timer>,
}

impl State {
    /// Counts the expirations that have come.
    fn catch_up(&mut self, now: Instant) {
        let Some(next) = self.next.filter(|next| *next <= now) else { return };
        let late = now.as_ticks() - next.as_ticks();
        self.timer = None;
        match late.checked_div(self.interval_ns) {
            Some(more) => {
                self.count = self.count.saturating_add(1 + more);
                let ahead = (more + 1).saturating_mul(self.interval_ns);
                self.next = Some(Instant::from_ticks(next.as_ticks().saturating_add(ahead)));
            }
            None => {
                self.count = self.count.saturating_add(1);
                self.next = None;
            }
        }
    }

    fn setting(&self, now: Instant) -> Setting {
        let left = self.next.map_or(0, |next| next.as_ticks().saturating_sub(now.as_ticks()).max(1));
        Setting { interval_ns: self.interval_ns, next_ns: left }
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

    pub fn clock(&self) -> Clock {
        self.clock
    }

    fn arm(&self, state: &mut State) {
        let alarm: Weak<dyn Expire> = self.this.clone();
        if state.timer.is_none() {
            state.timer = state.next.map(|next| timers::call_at(next, alarm));
        }
    }

    /// Sets the timer to expire at `next`, and from then on each interval. Returns what it was set to.
    pub fn set(&self, next: Option<Instant>, interval_ns: u64) -> Setting {
        let now = arch::time::now();
        let mut state = self.state.lock();
        state.catch_up(now);
        let before = state.setting(now);
        *state = State { next, interval_ns, count: 0, timer: None };
        self.arm(&mut state);
        drop(state);
        self.queue.wake_all();
        before
    }

    pub fn get(&self) -> Setting {
        let now = arch::time::now();
        let mut state = self.state.lock();
        state.catch_up(now);
        self.arm(&mut state);
        state.setting(now)
    }

    /// The expirations since they were read last.
    fn take(&self) -> Option<u64> {
        let mut state = self.state.lock();
        state.catch_up(arch::time::now());
        self.arm(&mut state);
        Some(core::mem::take(&mut state.count)).filter(|count| *count > 0)
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
            self.take().ok_or(Errno::EAGAIN)?
        } else {
            self.queue.wait(request.current, None, || self.take()).map_err(|_| Errno::RESTART)?
        };
        to.fill(&count.to_ne_bytes())
    }

    fn readiness(&self) -> Readiness {
        let state = self.state.lock();
        let is_due = state.next.is_some_and(|next| next <= arch::time::now());
        if state.count > 0 || is_due { Readiness::READABLE } else { Readiness::empty() }
    }

    fn label(&self) -> &'static str {
        "[timerfd]"
    }

    fn queues<'f>(&'f self, each: &mut dyn FnMut(&'f WaitQueue)) {
        each(&self.queue);
    }
}
