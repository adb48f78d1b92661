//! What a policy sees of a thread, and the token that stands for the right to run it.

use crate::{Kind, Thread, first_run::FirstRun};
use alloc::{boxed::Box, sync::Arc};
use core::fmt;
use core::ops::Deref;
use core::sync::atomic::Ordering::Relaxed;
use formats::{CpuId, Duration, ThreadId};

/// The scheduler's own record of a thread. It moves with the thread and is never shared, so that nothing in it needs a
/// lock or an atomic.
pub struct Entity {
    thread: Arc<Thread>,
    weight: u32,
    pub(crate) first_run: FirstRun,
    ran: Duration,
    pub(crate) slice: Slice,
    pub(crate) link: Option<Runnable>,
}

/// How much of its time slice a thread has used.
#[derive(Clone, Copy)]
pub(crate) struct Slice {
    pub ran: Duration,
    pub ticks: u32,
    pub expired: bool,
}

impl Slice {
    /// Nothing of it used yet.
    pub const FRESH: Self = Self { ran: Duration::from_ticks(0), ticks: 0, expired: false };
}

impl Entity {
    pub fn thread(&self) -> &Arc<Thread> {
        &self.thread
    }

    pub fn id(&self) -> ThreadId {
        self.thread.id()
    }

    pub fn kind(&self) -> Kind {
        self.thread.kind()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.kind() == Kind::Idle
    }

    /// Its share relative to others: 1024 at nice 0, 1.25 times less for each nice level more.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// How long it has run in all.
    pub fn ran(&self) -> Duration {
        self.ran
    }

    /// How long it has run in its present time slice.
    pub fn slice_used(&self) -> Duration {
        self.slice.ran
    }

    /// Whether a tick has found its time slice used up.
    pub fn slice_expired(&self) -> bool {
        self.slice.expired
    }

    /// Whether it has had its first tick.
    pub fn has_had_first_run(&self) -> bool {
        self.first_run.is_complete()
    }

    /// How many timer ticks it has been charged with.
    pub fn ticks_run(&self) -> u32 {
        self.first_run.ticks_run()
    }

    pub fn may_run_on(&self, cpu: CpuId) -> bool {
        self.thread.may_run_on(cpu)
    }

    pub(crate) fn charge(&mut self, ran: Duration) {
        self.ran += ran;
        self.slice.ran += ran;
        self.thread.ran.store(self.ran.as_ticks(), Relaxed);
    }
}

/// The right to run a thread. There is one for each thread, it cannot be copied, and whoever holds it decides what
/// happens to the thread: it is in one queue, on one CPU, asleep, or in somebody's hands, never in two places.
///
/// It is one pointer wide, and can be linked into a [`List`](crate::List) without allocation.
pub struct Runnable(Box<Entity>);

impl Runnable {
    pub(crate) fn new(thread: Arc<Thread>, nice: i8) -> Self {
        Self(Box::new(Entity {
            thread,
            weight: weight_of(nice),
            first_run: FirstRun::default(),
            ran: Duration::from_ticks(0),
            slice: Slice::FRESH,
            link: None,
        }))
    }

    /// Only for the core: a policy that could swap two records would make a CPU run one thread in another's name.
    pub(crate) fn entity(&mut self) -> &mut Entity {
        &mut self.0
    }
}

impl Deref for Runnable {
    type Target = Entity;

    fn deref(&self) -> &Entity {
        &self.0
    }
}

impl fmt::Debug for Runnable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token of {:?}", self.thread)
    }
}

fn weight_of(nice: i8) -> u32 {
    let nice = i32::from(nice).clamp(-20, 19);
    let step = |weight: u32, _| if nice > 0 { weight * 4 / 5 } else { weight * 5 / 4 };
    (0..nice.unsigned_abs()).fold(1024, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nice_level_is_a_quarter_more_or_less() {
        assert_eq!(weight_of(0), 1024);
        assert_eq!(weight_of(-1), 1280);
        assert_eq!(weight_of(1), 819);
        assert!(weight_of(19) > 0);
        assert_eq!(weight_of(-128), weight_of(-20));
    }
}
