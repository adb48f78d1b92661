//! Deadlines of sleeping threads and of timers that programs set: one queue per CPU.
//!
//! The timer interrupt itself does nothing but note that time has passed; due timers are run by [`run_due`] on the way
//! back to user mode and from the idle loop, so that no lock of this module is ever taken in an interrupt.

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

/// What is to be told that time has passed. Called with no lock held, on a thread's way to user mode or in the idle loop.
pub trait Expire: Send + Sync {
    fn expire(&self);
}

/// What happens at a deadline.
enum Due {
    Wake(Arc<sched::Thread>),
    Call(Weak<dyn Expire>),
}

struct Queue {
    threads: Lock<BTreeMap<Key, Due>, { rank::TIMERS }>,
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
            threads: Lock::new(BTreeMap::new()),
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
    fn note_earliest(&self, threads: &mut BTreeMap<Key, Due>) {
        if threads.is_empty() {
            *threads = BTreeMap::new();
        }
        let earliest = threads.first_key_value().map_or(NEVER, |((deadline, _), _)| deadline.as_ticks());
        self.earliest.store(earliest, Relaxed);
    }
}

/// A timer that wakes a thread at its deadline; dropping it takes it back.
pub struct Timer {
    cpu: CpuId,
    key: Key,
}

/// Wakes `thread` at `deadline`, or a little later.
pub fn add(deadline: Instant, thread: &Arc<sched::Thread>) -> Timer {
    insert(deadline, Due::Wake(thread.clone()))
}

/// Calls `alarm` at `deadline`, or a little later, unless it is gone.
pub fn call_at(deadline: Instant, alarm: Weak<dyn Expire>) -> Timer {
    insert(deadline, Due::Call(alarm))
}

fn insert(deadline: Instant, due: Due) -> Timer {
    let cpu = arch::cpu::id();
    let queue = queues().get(cpu);
    let key = (deadline, queue.added.fetch_add(1, Relaxed));
    {
        let mut threads = queue.threads.lock();
        threads.insert(key, due);
        queue.note_earliest(&mut threads);
    }
    clock::arm();
    Timer { cpu, key }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let queue = queues().get(self.cpu);
        let mut threads = queue.threads.lock();
        if threads.remove(&self.key).is_some() {
            queue.note_earliest(&mut threads);
        }
    }
}

/// When the next timer of this CPU is due, in nanoseconds; [`NEVER`] when there is none.
pub fn earliest_here() -> u64 {
    queues().here().earliest.load(Relaxed)
}

/// Wakes the threads of this CPU whose deadline has passed.
pub fn run_due(now: Instant) {
    let queue = queues().here();
    if queue.earliest.load(Relaxed) > now.as_ticks() {
        return;
    }
    let mut alarms = SmallVec::<[Weak<dyn Expire>; 4]>::new();
    {
        let mut threads = queue.threads.lock();
        while let Some(first) = threads.first_entry() {
            if first.key().0 > now {
                break;
            }
            match first.remove() {
                Due::Wake(thread) => {
                    cpus::wake(&thread);
                }
                Due::Call(alarm) => alarms.push(alarm),
            }
        }
        queue.note_earliest(&mut threads);
    }
    for alarm in alarms.iter().filter_map(Weak::upgrade) {
        alarm.expire();
    }
}
