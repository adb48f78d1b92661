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
    #[inline]
    pub fn waiting(&self) -> usize {
        self.fair_waiting + self.real_time_waiting + self.deadline.ready()
    }

    /// Whether any waits that is not of the fair class.
    #[inline]
    pub fn has_urgent(&self) -> bool {
        self.real_time_waiting > 0 || !self.deadline.is_empty()
    }

    /// Lets a thread that comes compete by the policy and the order that are in force now. Returns why it comes: a thread
    /// that ran here under others begins anew, and so does one that was to leave and may stay after all.
    pub fn refresh(&mut self, thread: &mut Runnable, why: Enqueue) -> Enqueue {
        let mut why = why;
        let returns = matches!(why, Enqueue::Preempt | Enqueue::Yield);
        if thread.has_new_policy() {
            self.depart(thread);
            thread.entity().refresh_policy();
            if returns {
                why = Enqueue::Policy;
            }
        }
        if thread.policy().class() != Class::Fair {
            return why;
        }
        if thread.order_version != self.order_version {
            thread.entity().refresh_order(self.order_version);
            if why != Enqueue::Fork {
                why = Enqueue::Order;
            }
        }
        if matches!(why, Enqueue::Preempt | Enqueue::Yield) && !thread.competes.get() {
            // It was to leave this CPU, and has departed; then it was allowed to stay.
            why = Enqueue::Policy;
        }
        why
    }

    /// `thread` has been [refreshed](Self::refresh).
    pub fn enqueue(&mut self, thread: Runnable, why: Enqueue, now: Instant) {
        match thread.policy().class() {
            Class::Deadline => self.deadline.enqueue(thread, why, now),
            Class::RealTime => {
                self.real_time.enqueue(thread, why);
                self.real_time_waiting += 1;
            }
            Class::Fair => {
                thread.competes.set(true);
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
        let found = self.fair.dequeue(id).or_else(|| self.leaving.as_mut()?.dequeue(id))?;
        self.left_fair(&found);
        Some(found)
    }

    /// Book-keeping for a thread that waited in the fair class and has been taken out to go elsewhere.
    fn left_fair(&mut self, thread: &Entity) {
        self.fair_waiting -= 1;
        stopped_competing(thread);
    }

    /// The thread that should run instead of `current`, or `None` to keep that.
    pub fn pick(&mut self, current: Option<&Entity>, now: Instant) -> Option<Runnable> {
        let class = current.map(|current| current.policy().class());
        if let Some(current) = current.filter(|_| class == Some(Class::Deadline)) {
            Deadline::replenish_current(current, now);
        }
        if current.is_none_or(|current| self.deadline.outranks(current))
            && let Some(picked) = self.deadline.pick()
        {
            return Some(picked);
        }
        if class == Some(Class::Deadline) && !current.is_some_and(Deadline::is_out_of_budget) {
            return None;
        }
        if !self.is_throttled(class, now) {
            let real_time = current.filter(|_| class == Some(Class::RealTime));
            if real_time.map_or(!self.real_time.is_empty(), |current| self.real_time.outranks(current)) {
                self.real_time_waiting -= 1;
                return self.real_time.pick();
            }
            if real_time.is_some() {
                return None;
            }
        }
        let fair_current = current.filter(|_| class == Some(Class::Fair));
        let picked = self.fair.pick(fair_current, now).or_else(|| match current {
            Some(_) => None,
            None => self.pick_leaving(now),
        });
        self.fair_waiting -= usize::from(picked.is_some());
        picked
    }

    /// Nobody waits in the order in force: one that still waits in the one before.
    fn pick_leaving(&mut self, now: Instant) -> Option<Runnable> {
        let mut picked = take_any(self.leaving.as_mut()?, now)?;
        picked.entity().refresh_order(self.order_version);
        picked.competes.set(true);
        self.fair.adopt(&picked);
        Some(picked)
    }

    /// Whether the real-time class has used its share of the second, and a fair thread wants the rest. A thread of `running`
    /// has the CPU.
    fn is_throttled(&self, running: Option<Class>, now: Instant) -> bool {
        let wanted = self.fair_waiting > 0 || running == Some(Class::Fair);
        wanted && self.real_time.throttled_until(now).is_some()
    }

    /// A waiting thread for `to` to take away, the most urgent class first. Deadline threads stay where they were admitted.
    pub fn give(&mut self, to: CpuId) -> Option<Runnable> {
        if let Some(given) = self.real_time.give(to) {
            self.real_time_waiting -= 1;
            return Some(given);
        }
        let given = self.fair.give(to).or_else(|| self.leaving.as_mut()?.give(to))?;
        self.left_fair(&given);
        Some(given)
    }

    /// A real-time thread for `to` to take away that goes before `rank`.
    pub fn give_real_time(&mut self, to: CpuId, rank: u32) -> Option<Runnable> {
        let wanted = |entity: &Entity| u32::from(entity.policy().priority()) > rank && entity.may_run_on(to);
        let given = self.real_time.remove(wanted)?;
        self.real_time_waiting -= 1;
        Some(given)
    }

    /// The real-time threads that wait, the most urgent one first.
    pub fn real_time(&self) -> impl Iterator<Item = &Entity> {
        self.real_time.iter()
    }

    /// The highest real-time priority that waits, 0 for none.
    #[inline]
    pub fn highest_real_time(&self) -> u32 {
        if self.real_time_waiting == 0 { 0 } else { self.real_time.highest().into() }
    }

    /// Until when the real-time class has used up its share, in nanoseconds; 0: it has not.
    #[inline]
    pub fn throttled_until(&self) -> u64 {
        self.real_time.throttled_until(Instant::from_ticks(0)).map_or(0, |end| end.as_ticks())
    }

    /// Any that waits, to go elsewhere: the CPU goes offline.
    pub fn evict(&mut self, now: Instant) -> Option<Runnable> {
        if let Some(evicted) = self.deadline.evict() {
            return Some(evicted);
        }
        if let Some(evicted) = self.real_time.pick() {
            self.real_time_waiting -= 1;
            return Some(evicted);
        }
        let leaving = &mut self.leaving;
        let evicted = take_any(&mut self.fair, now).or_else(|| take_any(leaving.as_mut()?, now))?;
        self.fair_waiting -= 1;
        self.depart(&evicted);
        Some(evicted)
    }

    pub fn charge(&mut self, current: &Entity, ran: Duration, now: Instant) {
        match current.policy().class() {
            Class::Deadline => Deadline::charge(current, ran, self.waiting() > 0),
            Class::RealTime => self.real_time.charge(ran, now),
            Class::Fair if current.competes.get() => self.fair.charge(current, ran),
            Class::Fair => {}
        }
    }

    /// `current`, which runs here, has come into its class.
    pub fn adopt(&mut self, current: &Entity, now: Instant) {
        match current.policy().class() {
            Class::Deadline => Deadline::adopt(current, now),
            Class::RealTime => {}
            Class::Fair => {
                current.competes.set(true);
                self.fair.adopt(current);
            }
        }
    }

    /// `thread`, which runs or has just run here, does not compete here any more. Does nothing if it does not already.
    pub fn depart(&mut self, thread: &Entity) {
        // What another order knew is no concern of this one.
        if thread.competes.get() && thread.order_version == self.order_version {
            self.fair.depart(thread);
        }
        stopped_competing(thread);
    }

    /// Gives new budgets to those whose period has come; whether there were any.
    #[inline]
    pub fn replenish(&mut self, now: Instant) -> bool {
        self.deadline.replenish(now)
    }

    /// A thread has joined: whether one that waits should run at once instead of `current`.
    pub fn preempts(&self, current: &Entity, now: Instant) -> bool {
        self.outranked(current, now)
            || current.policy().class() == Class::Fair && self.fair_waiting > 0 && self.fair.preempts(current)
    }

    /// Whether `current` must give way at once for a reason that is not the fair class's: a more urgent thread waits, or
    /// others do and it has had its share.
    pub fn outranked(&self, current: &Entity, now: Instant) -> bool {
        if self.deadline.outranks(current) {
            return true;
        }
        match current.policy().class() {
            Class::Deadline => Deadline::is_out_of_budget(current) && self.waiting() > 0,
            Class::RealTime => {
                self.real_time.highest() > current.policy().priority()
                    || self.is_throttled(Some(Class::RealTime), now)
            }
            Class::Fair => !self.real_time.is_empty() && !self.is_throttled(Some(Class::Fair), now),
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

    /// When the CPU must look again although nothing happens: a budget ends or begins. The time of `current` is accounted
    /// up to `since`.
    pub fn next_event(&self, current: &Entity, since: Instant, now: Instant) -> Option<Instant> {
        let replenished = self.deadline.next_replenishment();
        let throttled = self.real_time.throttled_until(now);
        let ends = match current.policy().class() {
            _ if current.is_idle() => None,
            Class::Deadline => Deadline::budget(current).map(|left| since + left),
            Class::RealTime => Some(throttled.unwrap_or_else(|| self.real_time.runs_out_at(since))),
            Class::Fair => throttled.filter(|_| !self.real_time.is_empty()),
        };
        replenished.into_iter().chain(ends).min()
    }

    pub fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.deadline.each(visit);
        self.real_time.iter().for_each(&mut *visit);
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

    /// Moves up to `most` threads of `cpu` from the old order to the new one. Returns the old one when it is empty.
    pub fn move_over(&mut self, most: usize, cpu: CpuId, now: Instant) -> Option<Box<dyn RunQueue>> {
        for _ in 0..most {
            // Which one comes first does not matter, as all begin anew: the one that costs the least to find.
            let leaving = self.leaving.as_mut()?;
            let picked = leaving.give(cpu).or_else(|| take_any(leaving, now));
            let Some(mut thread) = picked else { return self.leaving.take() };
            thread.entity().refresh_order(self.order_version);
            thread.competes.set(true);
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

/// A thread that waits, whether it is due or not: an order that starves a thread would not pick that.
fn take_any(order: &mut Box<dyn RunQueue>, now: Instant) -> Option<Runnable> {
    order.pick(None, now).or_else(|| {
        let mut left = None;
        order.each(&mut |entity| left = Some(entity.id()));
        order.dequeue(left?)
    })
}

fn stopped_competing(thread: &Entity) {
    if thread.competes.replace(false) {
        thread.fair.left_at.set(Some(thread.thread().cpu()));
    }
}
