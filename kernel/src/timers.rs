//! Deadlines: of sleeping threads, and of timers that processes have set. One queue per CPU.
//!
//! The timer interrupt itself does nothing but note that time has passed; due timers are run by [`run_due`] on the way
//! back to user mode and from the idle loop, so that no lock of this module is ever taken in an interrupt.
//!
//! [`process`] has the timers of processes, [`cpu_clock`] the clocks that count processor time.

pub mod cpu_clock;
mod interval;
pub mod process;

use crate::lock::{Lock, rank};
use crate::{clock, cpus};
use alloc::{collections::BTreeMap, sync::Arc, sync::Weak};
use arch::cpu::PerCpu;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use formats::{CpuId, Instant};
use smallvec::SmallVec;
use spin::Once;

/// Deadline and a number that tells equal deadlines apart.
type Key = (Instant, u64);

/// When something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    At(Instant),
    /// When the time of day is so many nanoseconds after 1970; that moment moves when the time of day is set.
    Realtime(u64),
}

impl Deadline {
    /// The moment, as the time of day is now; boot if it is before that.
    pub fn instant(self) -> Instant {
        match self {
            Self::At(instant) => instant,
            Self::Realtime(ns) => Instant::from_ticks(ns.saturating_sub(clock::epoch_ns())),
        }
    }
}

impl From<Instant> for Deadline {
    fn from(instant: Instant) -> Self {
        Self::At(instant)
    }
}

/// What is told that its deadline has passed.
pub trait Expire: Send + Sync {
    /// Called without locks, where a thread is about to go to user mode or a CPU is idle. It may come too early.
    fn expire(&self);
}

/// What happens at a deadline.
#[derive(Clone)]
enum Action {
    Wake(Arc<sched::Thread>),
    Call(Weak<dyn Expire>),
}

struct Alarm {
    action: Action,
    /// It is due at a time of day.
    realtime: bool,
}

impl Action {
    fn run(self) {
        match self {
            Self::Wake(thread) => drop(cpus::wake(&thread)),
            Self::Call(timer) => {
                if let Some(timer) = timer.upgrade() {
                    timer.expire();
                }
            }
        }
    }
}

type Alarms = BTreeMap<Key, Alarm>;

struct Queue {
    alarms: Lock<Alarms, { rank::TIMERS }>,
    /// The earliest deadline in nanoseconds, [`NEVER`] when there is none: read without the lock.
    earliest: AtomicU64,
    added: AtomicU64,
}

/// A deadline that never comes.
pub const NEVER: u64 = u64::MAX;

static QUEUES: Once<PerCpu<Queue>> = Once::new();

/// Makes the queues. Called once, before any thread runs.
pub fn init(cpus: usize) {
    QUEUES.call_once(|| {
        PerCpu::new(cpus, |_| Queue {
            alarms: Lock::new(BTreeMap::new()),
            earliest: AtomicU64::new(NEVER),
            added: AtomicU64::new(0),
        })
    });
}

fn queues() -> &'static PerCpu<Queue> {
    QUEUES.get().expect("timers::init runs before the first thread")
}

impl Queue {
    /// After a change. An emptied map would keep its root, so it is replaced.
    fn note_earliest(&self, alarms: &mut Alarms) {
        if alarms.is_empty() {
            *alarms = BTreeMap::new();
        }
        let earliest = alarms.first_key_value().map_or(NEVER, |((deadline, _), _)| deadline.as_ticks());
        self.earliest.store(earliest, Relaxed);
    }
}

/// Something that will happen at a deadline; dropping it takes it back.
pub struct Timer {
    cpu: CpuId,
    key: Key,
}

/// Wakes `thread` at `deadline`, or a little later; earlier if the time of day is set.
pub fn add(deadline: Deadline, thread: &Arc<sched::Thread>) -> Timer {
    insert(deadline, Action::Wake(thread.clone()))
}

/// Calls `timer` as [`add`] wakes a thread, if it is still there.
pub fn call_at(deadline: Deadline, timer: Weak<dyn Expire>) -> Timer {
    insert(deadline, Action::Call(timer))
}

fn insert(deadline: Deadline, action: Action) -> Timer {
    let cpu = arch::cpu::id();
    let queue = queues().get(cpu);
    let key = (deadline.instant(), queue.added.fetch_add(1, Relaxed));
    {
        let mut alarms = queue.alarms.lock();
        alarms.insert(key, Alarm { action, realtime: matches!(deadline, Deadline::Realtime(_)) });
        queue.note_earliest(&mut alarms);
    }
    clock::arm();
    Timer { cpu, key }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let queue = queues().get(self.cpu);
        let mut alarms = queue.alarms.lock();
        if alarms.remove(&self.key).is_some() {
            queue.note_earliest(&mut alarms);
        }
    }
}

/// When the next timer of this CPU is due, in nanoseconds; [`NEVER`] when there is none.
pub fn earliest_here() -> u64 {
    queues().here().earliest.load(Relaxed)
}

/// Does what is due on this CPU: wakes threads, and calls timers once the queue is no longer locked.
pub fn run_due(now: Instant) {
    let queue = queues().here();
    if queue.earliest.load(Relaxed) > now.as_ticks() {
        return;
    }
    let mut called = SmallVec::<[Action; 4]>::new();
    let mut alarms = queue.alarms.lock();
    while let Some(first) = alarms.first_entry() {
        if first.key().0 > now {
            break;
        }
        match first.remove().action {
            wake @ Action::Wake(_) => wake.run(),
            call @ Action::Call(_) => called.push(call),
        }
    }
    queue.note_earliest(&mut alarms);
    drop(alarms);
    called.into_iter().for_each(Action::run);
}

/// Makes all who wait for a time of day look again, after it has been set.
pub fn time_of_day_was_set() {
    let of_day = |alarm: &&Alarm| alarm.realtime;
    for (_, queue) in queues().iter() {
        let actions: alloc::vec::Vec<Action> =
            queue.alarms.lock().values().filter(of_day).map(|alarm| alarm.action.clone()).collect();
        actions.into_iter().for_each(Action::run);
    }
}
