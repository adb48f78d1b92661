//! The real-time class: SCHED_FIFO and SCHED_RR (man 7 sched).
//!
//! ```text
//! next          = the first of those with the highest priority
//! waking up     : to the end of the priority's list; so does who yields, or is given a policy
//! preempted     : to its front, but SCHED_RR at the end of its slice of 100 ms to the end
//! in one second : 95 % for the class while a fair thread waits
//! ```
//!
//! The last line keeps a runaway thread from locking the machine up (`sched_rt_runtime_us` of man 7 sched, fixed here). Nothing
//! is taken from the class for threads that do not exist: while no fair thread wants the rest of the second, it has all of it.

use crate::order::Enqueue;
use crate::policy::REAL_TIME_QUANTUM;
use crate::{Entity, List, Policy, Runnable};
use core::array;
use formats::{CpuId, Duration, Instant, ThreadId};

/// In which the class may use [`RUNTIME`].
const PERIOD: Duration = Duration::from_millis(1_000);
const RUNTIME: Duration = Duration::from_millis(950);

const PRIORITIES: usize = 100;

/// The real-time threads that wait on one CPU.
pub struct RealTime {
    queues: [List; PRIORITIES],
    /// Bit `n`: threads of priority `n` wait.
    occupied: u128,
    /// Of the present period: when it began, and what the class has used of it.
    began: Instant,
    used: Duration,
}

impl RealTime {
    pub fn new() -> Self {
        Self {
            queues: array::from_fn(|_| List::new()),
            occupied: 0,
            began: Instant::from_ticks(0),
            used: Duration::from_ticks(0),
        }
    }

    pub fn enqueue(&mut self, thread: Runnable, why: Enqueue) {
        let priority = usize::from(thread.policy().priority()).min(PRIORITIES - 1);
        let queue = &mut self.queues[priority];
        let turn_over = matches!(thread.policy(), Policy::RoundRobin { .. }) && thread.slice_expired();
        match why {
            // It was preempted by a higher priority: it is the next of its own.
            Enqueue::Preempt if !turn_over => queue.push_front(thread),
            _ => queue.push_back(thread),
        }
        self.occupied |= 1 << priority;
    }

    fn after_removal(&mut self, priority: usize) {
        if self.queues[priority].is_empty() {
            self.occupied &= !(1 << priority);
        }
    }

    /// The highest priority that waits, 0 for none.
    pub fn highest(&self) -> u8 {
        highest_of(self.occupied).map_or(0, |priority| priority as u8)
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.occupied == 0
    }

    /// Whether one that waits should run instead of `current`, of this class.
    pub fn outranks(&self, current: &Entity) -> bool {
        let priority = current.policy().priority();
        let turn_over = matches!(current.policy(), Policy::RoundRobin { .. }) && current.slice_expired();
        self.highest() > priority || turn_over && self.highest() == priority
    }

    pub fn pick(&mut self) -> Option<Runnable> {
        let priority = usize::from(self.highest());
        let picked = self.queues[priority].pop_front();
        self.after_removal(priority);
        picked
    }

    /// Takes out the first of the highest priority for which `wanted` holds.
    pub fn remove(&mut self, wanted: impl Fn(&Entity) -> bool) -> Option<Runnable> {
        let mut occupied = self.occupied;
        let (priority, found) = loop {
            let priority = highest_of(occupied)?;
            if let Some(found) = self.queues[priority].remove(&wanted) {
                break (priority, found);
            }
            occupied &= !(1 << priority);
        };
        self.after_removal(priority);
        Some(found)
    }

    pub fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        self.remove(|entity| entity.id() == id)
    }

    pub fn give(&mut self, to: CpuId) -> Option<Runnable> {
        self.remove(|entity| entity.may_run_on(to))
    }

    /// A thread of the class has run for `ran` up to `now`. The class's first use after a period begins the next one.
    pub fn charge(&mut self, ran: Duration, now: Instant) {
        if now >= self.began + PERIOD {
            self.began = Instant::from_ticks(now.as_ticks().saturating_sub(ran.as_ticks()));
            self.used = Duration::from_ticks(0);
        }
        self.used += ran;
    }

    /// Until when the class must let others run that want to, if it has used its share of the period.
    #[inline]
    pub fn throttled_until(&self, now: Instant) -> Option<Instant> {
        let end = self.began + PERIOD;
        (self.used >= RUNTIME && now < end).then_some(end)
    }

    /// When it will have used its share if it runs on from `now`.
    pub fn runs_out_at(&self, now: Instant) -> Instant {
        let left = RUNTIME.as_ticks().saturating_sub(self.used.as_ticks());
        now + Duration::from_ticks(left)
    }

    pub fn slice(current: &Entity) -> Option<Duration> {
        matches!(current.policy(), Policy::RoundRobin { .. }).then_some(REAL_TIME_QUANTUM)
    }

    /// From the highest priority down.
    pub fn iter(&self) -> impl Iterator<Item = &Entity> {
        let queues = if self.is_empty() { &[][..] } else { &self.queues[..] };
        queues.iter().rev().flat_map(List::iter)
    }
}

/// The highest of the priorities in `occupied`.
fn highest_of(occupied: u128) -> Option<usize> {
    occupied.checked_ilog2().map(|priority| priority as usize)
}
