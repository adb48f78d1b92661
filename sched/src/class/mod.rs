//! The classes of threads on one CPU: deadline before real-time before fair.
//!
//! The fair class is ordered by the [`RunQueue`] that the user chose; the classes above it are always the same. A thread
//! belongs to the class of its [`Policy`](crate::Policy).

mod deadline;
mod real_time;

use crate::order::{self, Enqueue, RunQueue};
use crate::policy::Class;
use crate::{Config, Entity, Runnable};
use alloc::boxed::Box;
use deadline::Deadline;
use formats::{CpuId, Duration, Instant, ThreadId};
use real_time::RealTime;

/// All threads that wait on one CPU.
pub(crate) struct Classes {
    deadline: Deadline,
    real_time: RealTime,
    fair: Box<dyn RunQueue>,
    /// The order before `fair`, while threads still wait in it.
    leaving: Option<Box<dyn RunQueue>>,
    fair_waiting: usize,
    real_time_waiting: usize,
    /// Which order `fair` is, counted from 0 at the start of the machine.
    order_version: u32,
}

impl Classes {
    pub fn new(order: &order::Entry, config: &Config, order_version: u32) -> Self {
        Self {
            deadline: Deadline::default(),
            real_time: RealTime::new(),
            fair: (order.new)(config),
            leaving: None,
            fair_waiting: 0,
            real_time_waiting: 0,
            order_version,
        }
    }

    /// How many wait that could run.
    pub fn waiting(&self) -> usize {
        self.fair_waiting + self.real_time_waiting + self.deadline.ready()
    }

    /// Whether any waits that is not of the fair class.
    pub fn has_urgent(&self) -> bool {
        self.real_time_waiting > 0 || !self.deadline.is_empty()
    }

    pub fn enqueue(&mut self, mut thread: Runnable, why: Enqueue, now: Instant) {
        thread.entity().refresh_policy();
        match thread.policy().class() {
            Class::Deadline => {
                if why == Enqueue::Yield {
                    Deadline::forgo(&thread);
                }
                self.deadline.enqueue(thread, now);
            }
            Class::RealTime => {
                self.real_time.enqueue(thread, why);
                self.real_time_waiting += 1;
            }
            Class::Fair => {
                thread.entity().refresh_order(self.order_version);
                self.fair.enqueue(thread, why, now);
                self.fair_waiting += 1;
            }
        }
    }

    pub fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        if let Some(found) = self.deadline.dequeue(id) {
            return Some(found);
        }
        if let Some(found) = self.real_time.dequeue(id) {
            self.real_time_waiting -= 1;
            return Some(found);
        }
        let found = self.fair.dequeue(id).or_else(|| self.leaving.as_mut()?.dequeue(id));
        self.fair_waiting -= usize::from(found.is_some());
        found
    }

    /// The thread that should run instead of `current`, or `None` to keep that.
    pub fn pick(&mut self, current: Option<&Entity>, now: Instant) -> Option<Runnable> {
        let class = current.map(|current| current.policy().class());
        let deadline = match current {
            Some(current) => self.deadline.outranks(current, now),
            None => true,
        };
        if deadline && let Some(picked) = self.deadline.pick(now) {
            return Some(picked);
        }
        if class == Some(Class::Deadline) && !current.is_some_and(Deadline::is_out_of_budget) {
            return None;
        }
        let throttled = self.real_time.throttled_until(now).is_some();
        if !throttled && !self.real_time.is_empty() {
            match current {
                Some(current) if class == Some(Class::RealTime) && !self.real_time.outranks(current) => {
                    return None;
                }
                _ => {
                    self.real_time_waiting -= 1;
                    return self.real_time.pick();
                }
            }
        }
        if class == Some(Class::RealTime) && !throttled {
            return None;
        }
        // A deadline thread without budget and a throttled real-time thread give way to all others.
        let fair_current = current.filter(|_| class == Some(Class::Fair));
        let picked = self.fair.pick(fair_current, now).or_else(|| match current {
            Some(_) => None,
            None => self.pick_leaving(now),
        });
        self.fair_waiting -= usize::from(picked.is_some());
        if picked.is_none() && current.is_none() && !self.real_time.is_empty() {
            // Nobody else wants the time that the class must not have.
            self.real_time_waiting -= 1;
            return self.real_time.pick();
        }
        picked
    }

    /// Nobody waits in the order in force: one that still waits in the one before.
    fn pick_leaving(&mut self, now: Instant) -> Option<Runnable> {
        let mut picked = self.leaving.as_mut()?.pick(None, now)?;
        picked.entity().refresh_order(self.order_version);
        Some(picked)
    }

    /// A waiting thread for `to` to take away, the most urgent class first. Deadline threads stay where they were admitted.
    pub fn give(&mut self, to: CpuId) -> Option<Runnable> {
        if let Some(given) = self.real_time.give(to) {
            self.real_time_waiting -= 1;
            return Some(given);
        }
        let given = self.fair.give(to).or_else(|| self.leaving.as_mut()?.give(to));
        self.fair_waiting -= usize::from(given.is_some());
        given
    }

    pub fn charge(&mut self, current: &Entity, ran: Duration, now: Instant) {
        match current.policy().class() {
            Class::Deadline => Deadline::charge(current, ran),
            Class::RealTime => self.real_time.charge(ran, now),
            Class::Fair => self.fair.charge(current, ran),
        }
    }

    /// `current` does not compete here any more.
    pub fn depart(&mut self, current: &Entity) {
        if current.policy().class() == Class::Fair {
            self.fair.depart(current);
        }
    }

    /// A thread has joined: whether one that waits should run at once instead of `current`.
    pub fn preempts(&self, current: &Entity, now: Instant) -> bool {
        self.outranked(current, now)
            || match current.policy().class() {
                Class::Deadline => self.deadline.is_earlier(current),
                Class::RealTime => self.real_time.highest() > current.policy().priority(),
                Class::Fair => self.fair.preempts(current),
            }
    }

    /// Whether a thread of a higher class than `current`'s waits and may run.
    pub fn outranked(&self, current: &Entity, now: Instant) -> bool {
        match current.policy().class() {
            Class::Deadline => false,
            Class::RealTime => self.deadline.ready() > 0,
            Class::Fair => {
                self.deadline.ready() > 0
                    || !self.real_time.is_empty() && self.real_time.throttled_until(now).is_none()
            }
        }
    }

    /// How long `current` may run while others wait.
    pub fn slice(&self, current: &Entity) -> Option<Duration> {
        match current.policy().class() {
            Class::Deadline => None,
            Class::RealTime => RealTime::slice(current),
            Class::Fair => self.fair.slice(current),
        }
    }

    /// When the CPU must look again although nothing happens: a budget ends or begins.
    pub fn next_event(&self, current: &Entity, now: Instant) -> Option<Instant> {
        let replenished = self.deadline.next_replenishment();
        let ends = match current.policy().class() {
            _ if current.is_idle() => None,
            Class::Deadline => Some(now + Deadline::budget(current)),
            Class::RealTime if self.fair_waiting > 0 && self.real_time.throttled_until(now).is_none() => {
                Some(self.real_time.runs_out_at(now))
            }
            Class::Fair if !self.real_time.is_empty() => self.real_time.throttled_until(now),
            _ => None,
        };
        replenished.into_iter().chain(ends).min()
    }

    pub fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.deadline.each(visit);
        self.real_time.each(visit);
        self.fair.each(visit);
        if let Some(leaving) = &self.leaving {
            leaving.each(visit);
        }
    }

    /// Goes on under another order. Those that wait in the old one stay there until they are
    /// [moved over](Self::move_over), or picked because nobody waits in the new one.
    pub fn change_order(&mut self, new: Box<dyn RunQueue>, version: u32) {
        debug_assert!(self.leaving.is_none(), "one change follows the other");
        self.order_version = version;
        self.leaving = Some(core::mem::replace(&mut self.fair, new));
    }

    /// Moves up to `most` threads from the old order to the new one. Returns the old one when it is empty.
    pub fn move_over(&mut self, most: usize, now: Instant) -> Option<Box<dyn RunQueue>> {
        for _ in 0..most {
            let leaving = self.leaving.as_mut()?;
            let picked = leaving.pick(None, now).or_else(|| {
                // An order that is replaced because it starves a thread would not pick that now either.
                let mut left = None;
                leaving.each(&mut |entity| left = Some(entity.id()));
                leaving.dequeue(left?)
            });
            let Some(mut thread) = picked else { return self.leaving.take() };
            thread.entity().refresh_order(self.order_version);
            self.fair.enqueue(thread, Enqueue::Order, now);
        }
        None
    }

    /// Whether threads wait in an old order.
    pub fn is_changing(&self) -> bool {
        self.leaving.is_some()
    }

    pub fn order_version(&self) -> u32 {
        self.order_version
    }
}
