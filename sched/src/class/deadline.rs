//! The deadline class: earliest deadline first, each thread kept to its reservation by a constant bandwidth server.
//!
//! L. Abeni and G. Buttazzo, "Integrating multimedia applications in hard real-time systems", RTSS 1998; Linux's
//! `sched-deadline.rst`. On each CPU the reservations add up to at most 95 %, so that each is met (C. L. Liu and
//! J. W. Layland, Journal of the ACM 20(1), 1973). Other than Linux's, the class is partitioned: a thread is admitted to one CPU.

use crate::policy::Reservation;
use crate::{Entity, Policy, Runnable, Tree};
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

/// A new deadline and a full budget, from `now` on.
fn begin(entity: &Entity, now: Instant) {
    let reservation = reservation(entity);
    entity.budget.deadline.set((now + reservation.deadline).as_ticks());
    entity.budget.left.set(key(reservation.runtime.as_ticks()));
    entity.budget.begun.set(true);
}

/// The wake-up rule of the constant bandwidth server: what is left may be used only if that does not exceed the bandwidth.
fn wake(entity: &Entity, now: Instant) {
    let reservation = reservation(entity);
    let until = entity.budget.deadline.get().saturating_sub(now.as_ticks());
    let left = u128::try_from(entity.budget.left.get()).unwrap_or(0);
    let exceeds = left * u128::from(reservation.deadline.as_ticks())
        > u128::from(reservation.runtime.as_ticks()) * u128::from(until);
    if !entity.budget.begun.get() || until == 0 || exceeds {
        begin(entity, now);
    }
}

/// When a thread without budget gets its next one: at the begin of its next period.
fn replenished_at(entity: &Entity) -> u64 {
    let reservation = reservation(entity);
    (entity.budget.deadline.get() + reservation.period.as_ticks())
        .saturating_sub(reservation.deadline.as_ticks())
}

impl Deadline {
    pub fn enqueue(&mut self, thread: Runnable, now: Instant) {
        if thread.budget.left.get() > 0 || !thread.budget.begun.get() {
            wake(&thread, now);
        }
        if thread.budget.left.get() > 0 {
            let deadline = key(thread.budget.deadline.get());
            self.ready.insert(thread, deadline, 0);
        } else {
            let at = key(replenished_at(&thread));
            self.throttled.insert(thread, at, 0);
        }
    }

    /// It has yielded: the rest of its budget is forgone (man 2 sched_yield of `sched-deadline.rst`).
    pub fn forgo(thread: &Entity) {
        thread.budget.left.set(thread.budget.left.get().min(0));
    }

    /// Gives new budgets to those whose period has come.
    fn replenish(&mut self, now: Instant) {
        while self.throttled.first().is_some_and(|first| replenished_at(first) <= now.as_ticks()) {
            let Some(thread) = self.throttled.pop_first() else { return };
            let reservation = reservation(&thread);
            let (budget, runtime) = (&thread.budget, key(reservation.runtime.as_ticks()).max(1));
            // An overrun is paid for by later periods.
            while budget.left.get() <= 0 {
                budget.left.set(budget.left.get() + runtime);
                budget.deadline.set(budget.deadline.get() + reservation.period.as_ticks());
            }
            if budget.deadline.get() <= now.as_ticks() {
                begin(&thread, now);
            }
            let deadline = key(budget.deadline.get());
            self.ready.insert(thread, deadline, 0);
        }
    }

    /// Whether one that waits should run instead of `current`, which may be of this class.
    pub fn outranks(&mut self, current: &Entity, now: Instant) -> bool {
        self.replenish(now);
        let Some(first) = self.ready.first() else { return false };
        !matches!(current.policy(), Policy::Deadline(_))
            || Self::is_out_of_budget(current)
            || first.budget.deadline.get() < current.budget.deadline.get()
    }

    /// Whether one that waits has an earlier deadline than `current`, of this class.
    pub fn is_earlier(&self, current: &Entity) -> bool {
        self.ready.first().is_some_and(|first| first.budget.deadline.get() < current.budget.deadline.get())
    }

    pub fn is_out_of_budget(current: &Entity) -> bool {
        current.budget.left.get() <= 0
    }

    pub fn pick(&mut self, now: Instant) -> Option<Runnable> {
        self.replenish(now);
        self.ready.pop_first()
    }

    pub fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        self.remove(|entity| entity.id() == id)
    }

    fn remove(&mut self, wanted: impl Fn(&Entity) -> bool) -> Option<Runnable> {
        self.ready.remove(&wanted).or_else(|| self.throttled.remove(&wanted))
    }

    pub fn charge(current: &Entity, ran: Duration) {
        current.budget.left.set(current.budget.left.get() - key(ran.as_ticks()));
    }

    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.throttled.is_empty()
    }

    /// How many wait that have a budget.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// When the next thread gets a new budget.
    pub fn next_replenishment(&self) -> Option<Instant> {
        self.throttled.first().map(|first| Instant::from_ticks(replenished_at(first)))
    }

    /// How long `current` may go on with its budget.
    pub fn budget(current: &Entity) -> Duration {
        Duration::from_ticks(u64::try_from(current.budget.left.get()).unwrap_or(0))
    }

    pub fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.ready.each(visit);
        self.throttled.each(visit);
    }
}
