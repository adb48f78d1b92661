//! Sleeping until something happens.
//!
//! A thread that wants to wait registers on one or more [`WaitQueue`]s, then calls [`Current::sleep_until`], which
//! announces the sleep, looks once more, and only then gives up the CPU; whoever changes the condition wakes the
//! queue after the change. No order of these steps loses a wake-up (the scheduler's wait state decides).

use crate::fs::Readiness;
use crate::lock::{Lock, rank};
use crate::task::{Current, Task};
use crate::timers::Deadline;
use crate::watch::Watchers;
use crate::{cpus, perturb, sabotage, timers};
use alloc::sync::Arc;
use formats::Instant;
use smallvec::SmallVec;

/// Threads that wait for one thing.
pub struct WaitQueue {
    waiters: Lock<SmallVec<[Arc<sched::Thread>; 2]>, { rank::WAIT }>,
    /// Those who are told instead of woken.
    pub watchers: Watchers,
}

/// Why a sleep ended without its condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// A signal is pending, or the process is being killed.
    BySignal,
    /// The deadline has passed.
    ByDeadline,
}

impl WaitQueue {
    pub const fn new() -> Self {
        Self { waiters: Lock::new(SmallVec::new_const()), watchers: Watchers::new() }
    }

    /// Puts the current thread on the queue until the returned guard is dropped.
    pub fn register<'q>(&'q self, current: &Current) -> Registration<'q> {
        self.waiters.lock().push(current.thread.clone());
        Registration { queue: self, thread: current.thread.clone() }
    }

    /// Wakes every waiter; each looks at its condition again.
    pub fn wake_all(&self) {
        self.wake_for(Readiness::all());
    }

    /// As [`Self::wake_all`], for waiters that sleep for `what`: watchers who want something else are not told.
    pub fn wake_for(&self, what: Readiness) {
        {
            let waiters = self.waiters.lock();
            for thread in waiters.iter() {
                cpus::wake(thread);
            }
        }
        self.watchers.tell(what);
    }

    /// Waits on this queue alone until `ready` answers, a signal comes, or `deadline` passes.
    pub fn wait<T>(
        &self,
        current: &Current,
        deadline: Option<Instant>,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<T, Woken> {
        if let Some(value) = ready() {
            return Ok(value);
        }
        let _registration = self.register(current);
        current.sleep_until(deadline, ready)
    }
}

/// A place on a [`WaitQueue`], given up on drop.
pub struct Registration<'q> {
    queue: &'q WaitQueue,
    thread: Arc<sched::Thread>,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut waiters = self.queue.waiters.lock();
        if let Some(at) = waiters.iter().position(|waiter| Arc::ptr_eq(waiter, &self.thread)) {
            waiters.swap_remove(at);
        }
    }
}

impl Current {
    /// Sleeps until `ready` answers, a signal is pending, or `deadline` passes.
    ///
    /// Whoever makes `ready` true must afterwards wake this thread; registering on a [`WaitQueue`] arranges that.
    pub fn sleep_until<T>(
        &self,
        deadline: Option<Instant>,
        ready: impl FnMut() -> Option<T>,
    ) -> Result<T, Woken> {
        self.sleep(deadline.map(Deadline::At), Task::is_interrupted, ready)
    }

    /// As [`Self::sleep_until`], for a deadline that may move while the thread sleeps.
    pub fn sleep_until_deadline<T>(
        &self,
        deadline: Option<Deadline>,
        ready: impl FnMut() -> Option<T>,
    ) -> Result<T, Woken> {
        self.sleep(deadline, Task::is_interrupted, ready)
    }

    /// As [`Self::sleep_until`], but only the end of the thread disturbs it, not a signal that it could handle.
    pub fn sleep_unless_killed<T>(&self, ready: impl FnMut() -> Option<T>) -> Result<T, Woken> {
        self.sleep(None, Task::is_exiting, ready)
    }

    fn sleep<T>(
        &self,
        deadline: Option<Deadline>,
        disturbed: fn(&Task) -> bool,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<T, Woken> {
        let due = || deadline.map(Deadline::instant);
        let mut armed = due();
        let mut _timer = deadline.map(|deadline| timers::add(deadline, &self.thread));
        loop {
            if !sabotage::announces_late() {
                cpus::announce_sleep(&self.thread);
            }
            let due = due();
            let outcome = if let Some(value) = ready() {
                Ok(value)
            } else if disturbed(&self.task) {
                Err(Woken::BySignal)
            } else if due.is_some_and(|due| arch::time::now() >= due) {
                Err(Woken::ByDeadline)
            } else if due != armed {
                cpus::cancel_sleep(&self.thread);
                armed = due;
                _timer = deadline.map(|deadline| timers::add(deadline, &self.thread));
                continue;
            } else {
                perturb::point();
                if sabotage::announces_late() {
                    cpus::announce_sleep(&self.thread);
                }
                self.schedule(sched::Leave::Block);
                continue;
            };
            cpus::cancel_sleep(&self.thread);
            return outcome;
        }
    }
}
