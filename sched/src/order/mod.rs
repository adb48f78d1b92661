//! The order of threads on one CPU: the first plug-in point.

mod cfs;
mod eevdf;
mod fifo;
mod lottery;
mod round_robin;
mod stride;
mod virtual_time;

use crate::{Config, Entity, Runnable};
use alloc::boxed::Box;
use formats::{CpuId, Duration, Instant, ThreadId};

pub use cfs::CFS;
pub use eevdf::EEVDF;
pub use fifo::FIFO;
pub use lottery::LOTTERY;
pub use round_robin::ROUND_ROBIN;
pub use stride::STRIDE;

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
    /// It waited here all the time, and its policy was changed.
    Policy,
    /// It waited here all the time, under another order.
    Order,
}

/// The order of the fair class on one CPU. Each CPU has its own, called under that CPU's lock.
///
/// It owns the tokens of the threads that wait, and only proposes: a wrong answer makes the CPU slow or unfair, never
/// unsound. Nothing here may allocate: keep the tokens in a [`List`](crate::List) or a [`Tree`](crate::Tree), and what is
/// to be remembered about a thread in [`Entity::fair`].
///
/// A thread *competes* here from when it comes, by `enqueue` or, if it runs already, by `adopt`. `pick` makes it run, and it
/// competes on; then it either comes back by `enqueue` ([`Preempt`](Enqueue::Preempt), [`Yield`](Enqueue::Yield)), or is
/// said to `depart`. While it waits it may also leave by `give` or `dequeue`. Between its `pick` and the return of the thread
/// that ran before, two compete that do not wait. A thread's [weight](Entity::weight) stays the same as long as it competes.
pub trait RunQueue: Send {
    fn enqueue(&mut self, thread: Runnable, why: Enqueue, now: Instant);

    /// Takes `id` out of the queue, because it must go elsewhere, or to change it.
    fn dequeue(&mut self, id: ThreadId) -> Option<Runnable>;

    /// The thread that should run instead of `current`, or `None` to keep that. Without `current`, because it leaves
    /// or gives way: the thread that should run next.
    fn pick(&mut self, current: Option<&Entity>, now: Instant) -> Option<Runnable>;

    /// A waiting thread that [may run on](Entity::may_run_on) `to`, for that CPU to take away.
    fn give(&mut self, to: CpuId) -> Option<Runnable>;

    /// `current`, which runs here, has run for `ran` more.
    fn charge(&mut self, current: &Entity, ran: Duration) {
        let _ = (current, ran);
    }

    /// `current`, which runs here, competes from now on: its policy has changed, or the order has.
    fn adopt(&mut self, current: &Entity) {
        let _ = current;
    }

    /// `current` does not compete here any more: it sleeps, ends, goes elsewhere, or has another policy.
    fn depart(&mut self, current: &Entity) {
        let _ = current;
    }

    /// A thread has joined: whether one that waits should run at once instead of `current`. SCHED_BATCH threads and
    /// SCHED_IDLE threads should not ask for that.
    fn preempts(&self, current: &Entity) -> bool {
        let _ = current;
        false
    }

    /// How long `current` may run while others wait; `None`: for as long as it likes.
    fn slice(&self, current: &Entity) -> Option<Duration>;

    /// Calls `visit` for all threads that wait, in no particular order.
    fn each(&self, visit: &mut dyn FnMut(&Entity));
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
    static ALL: [&Entry; 6] = [&ROUND_ROBIN, &FIFO, &EEVDF, &CFS, &STRIDE, &LOTTERY];
    &ALL
}

/// The order called `name`.
pub fn by_name(name: &str) -> Option<&'static Entry> {
    orders().iter().copied().find(|entry| entry.name == name)
}
