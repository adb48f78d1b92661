//! The order of threads on one CPU: the first plug-in point.

mod fifo;
mod round_robin;

use crate::{Config, Entity, Runnable};
use alloc::boxed::Box;
use formats::{CpuId, Duration, Instant, ThreadId};

pub use fifo::FIFO;
pub use round_robin::ROUND_ROBIN;

/// Why a thread joins a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueue {
    Fork,
    Wake,
    /// It ran here and was preempted.
    Preempt,
    /// It ran here and gave way.
    Yield,
    /// It comes from another CPU.
    Migrate,
}

/// The order on one CPU. Each CPU has its own, called under that CPU's lock.
///
/// It owns the tokens of the threads that wait, and only proposes: a wrong answer makes the CPU slow or unfair, never
/// unsound. Nothing here may allocate: keep the tokens in a [`List`](crate::List).
pub trait RunQueue: Send {
    fn enqueue(&mut self, thread: Runnable, why: Enqueue, now: Instant);

    /// Takes `id` out of the queue, because it must go elsewhere.
    fn dequeue(&mut self, id: ThreadId) -> Option<Runnable>;

    /// The thread that should run instead of `current`, or `None` to keep that. Without `current`, because it leaves
    /// or gives way: the thread that should run next.
    fn pick(&mut self, current: Option<&Entity>, now: Instant) -> Option<Runnable>;

    /// A waiting thread that [may run on](Entity::may_run_on) `to`, for that CPU to take away.
    fn give(&mut self, to: CpuId) -> Option<Runnable>;

    /// `current` has run for `ran` more.
    fn charge(&mut self, current: &Entity, ran: Duration) {
        let _ = (current, ran);
    }

    /// Whether `candidate`, just enqueued here, should run at once instead of `current`, which is a user thread.
    fn preempts(&self, candidate: &Entity, current: &Entity) -> bool {
        let _ = (candidate, current);
        false
    }

    /// How long `current` may run while others wait; `None`: for as long as it likes.
    fn slice(&self, current: &Entity) -> Option<Duration>;
}

/// An order that can be chosen by its name.
#[derive(Debug)]
pub struct Entry {
    pub name: &'static str,
    pub summary: &'static str,
    /// Whether each waiting thread gets its turn however long the others run.
    pub preemptive: bool,
    pub new: fn(&Config) -> Box<dyn RunQueue>,
}

/// All orders.
pub fn orders() -> &'static [&'static Entry] {
    static ALL: [&Entry; 2] = [&ROUND_ROBIN, &FIFO];
    &ALL
}

/// The order called `name`.
pub fn by_name(name: &str) -> Option<&'static Entry> {
    orders().iter().copied().find(|entry| entry.name == name)
}
