//! The deadline class: earliest deadline first, each thread kept to its reservation by a constant bandwidth server.
//!
//! L. Abeni and G. Buttazzo, "Integrating multimedia applications in hard real-time systems", RTSS 1998; Linux's
//! `sched-deadline.rst`.
//!
//! ```text
//! next         = the earliest deadline among those that have budget left
//! running      : budget -= time
//! budget <= 0  : it waits until its next period begins (deadline - D + P); then budget += Q, deadline += P
//! waking up    : if budget / (deadline - now) > Q / D, or the deadline has passed: budget = Q, deadline = now + D
//! yielding     : budget = 0
//! admission    : sum of Q / min(D, P) <= 95 % on each CPU
//! ```
//!
//! Q is the runtime, D the relative deadline, P the period. With that sum each deadline is met (C. L. Liu and J. W. Layland,
//! Journal of the ACM 20(1), 1973; for D < P the density Q / D stands in for the utilisation). Other than Linux's, the class
//! is partitioned: a thread is admitted to one CPU, and stays there.
//!
//! A thread whose budget ends while nobody else wants the CPU goes on for nothing.

use crate::policy::Reservation;
use crate::{Enqueue, Entity, Policy, Runnable, Tree};
use formats::{Duration, Instant, ThreadId};

/// The deadline threads that wait on one CPU.
#[derive(Default)]
pub struct Deadline {
    /// By absolute deadline.
    ready: Tree,
    /// Those that have used up their budget, by the time at which they get a new one.
    throttled: Tree,
}

fn reservation(entity: &Entity) -> Reservation {
    match entity.policy() {
        Policy::Deadline(reservation) => *reservation,
        // Nothing else is in this class; an empty reservation is served last and harms nobody.
        _ => Reservation {
            runtime: Duration::from_ticks(0),
            deadline: Duration::from_ticks(0),
            period: Duration::from_ticks(1),
        },
    }
}

fn key(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

fn deadline(entity: &Entity) -> u64 {
    entity.budget.deadline.get()
}

fn has_budget(entity: &Entity) -> bool {
    entity.budget.left.get() > 0
}

/// A new deadline and a full budget, from `now` on.
fn begin(entity: &Entity, now: Instant) {
    let reservation = reservation(entity);
    entity.budget.deadline.set((now + reservation.deadline).as_ticks());
    entity.budget.left.set(key(reservation.runtime.as_ticks()));
}

/// Whether what is left of the budget, used until the deadline, would exceed the bandwidth.
fn exceeds_bandwidth(entity: &Entity, now: Instant) -> bool {
    let reservation = reservation(entity);
    let until = deadline(entity).saturating_sub(now.as_ticks());
    let left = u128::try_from(entity.budget.left.get()).unwrap_or(0);
    until == 0
        || left * u128::from(reservation.deadline.as_ticks())
            > u128::from(reservation.runtime.as_ticks()) * u128::from(until)
}

/// When a thread without budget gets more: at the begin of its next period.
fn replenished_at(entity: &Entity) -> u64 {
    let reservation = reservation(entity);
    (deadline(entity) + reservation.period.as_ticks()).saturating_sub(reservation.deadline.as_ticks())
}

/// Its next period has come. An overrun is paid from it. Periods that have gone by unused are lost.
#[inline]
fn replenish(entity: &Entity, now: Instant) {
    let (budget, reservation) = (&entity.budget, reservation(entity));
    budget.left.set(budget.left.get().saturating_add(key(reservation.runtime.as_ticks())));
    budget.deadline.set(budget.deadline.get() + reservation.period.as_ticks());
    if budget.deadline.get() <= now.as_ticks() {
        begin(entity, now);
    }
}

impl Deadline {
    pub fn enqueue(&mut self, thread: Runnable, why: Enqueue, now: Instant) {
        let wakes = why == Enqueue::Wake && has_budget(&thread) && exceeds_bandwidth(&thread, now);
        let is_new = deadline(&thread) == 0;
        if wakes || is_new {
            begin(&thread, now);
        }
        if why == Enqueue::Yield {
            thread.budget.left.set(thread.budget.left.get().min(0));
        }
        self.insert(thread);
    }

    fn insert(&mut self, thread: Runnable) {
        if has_budget(&thread) {
            let deadline = key(deadline(&thread));
            self.ready.insert(thread, deadline, 0);
        } else {
            let at = key(replenished_at(&thread));
            self.throttled.insert(thread, at, 0);
        }
    }

    /// `current`, which runs, has come into the class.
    pub fn adopt(current: &Entity, now: Instant) {
        begin(current, now);
    }

    /// Gives new budgets to those whose period has come; whether there were any.
    #[inline]
    pub fn replenish(&mut self, now: Instant) -> bool {
        let mut any = false;
        while self.throttled.first().is_some_and(|first| replenished_at(first) <= now.as_ticks()) {
            let Some(thread) = self.throttled.pop_first() else { break };
            replenish(&thread, now);
            self.insert(thread);
            any = true;
        }
        any
    }

    /// The same for `current`, which has gone on without budget because nobody wanted the CPU.
    pub fn replenish_current(current: &Entity, now: Instant) {
        if Self::is_out_of_budget(current) && replenished_at(current) <= now.as_ticks() {
            replenish(current, now);
        }
    }

    /// Whether one that waits goes before `current`, which may be of another class.
    pub fn outranks(&self, current: &Entity) -> bool {
        let Some(first) = self.ready.first() else { return false };
        !matches!(current.policy(), Policy::Deadline(_))
            || Self::is_out_of_budget(current)
            || deadline(first) < deadline(current)
    }

    pub fn is_out_of_budget(current: &Entity) -> bool {
        !has_budget(current)
    }

    pub fn pick(&mut self) -> Option<Runnable> {
        self.ready.pop_first()
    }

    pub fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        self.remove(|entity| entity.id() == id)
    }

    /// Takes out any that waits.
    pub fn evict(&mut self) -> Option<Runnable> {
        self.remove(|_| true)
    }

    fn remove(&mut self, wanted: impl Fn(&Entity) -> bool) -> Option<Runnable> {
        self.ready.remove(&wanted).or_else(|| self.throttled.remove(&wanted))
    }

    /// `current` has run for `ran`. What it has run beyond its budget counts only if it is `contested`: others waited.
    pub fn charge(current: &Entity, ran: Duration, contested: bool) {
        let budget = &current.budget.left;
        let left = budget.get() - key(ran.as_ticks());
        budget.set(if contested { left } else { left.max(budget.get().min(0)) });
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.throttled.is_empty()
    }

    /// How many wait that have a budget.
    #[inline]
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// When the next thread gets a new budget.
    pub fn next_replenishment(&self) -> Option<Instant> {
        self.throttled.first().map(|first| Instant::from_ticks(replenished_at(first)))
    }

    /// How long `current` may go on with its budget; `None` if it has none.
    pub fn budget(current: &Entity) -> Option<Duration> {
        let left = u64::try_from(current.budget.left.get()).unwrap_or(0);
        (left > 0).then(|| Duration::from_ticks(left))
    }

    pub fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.ready.each(visit);
        self.throttled.each(visit);
    }
}
