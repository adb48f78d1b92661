//! What happens on the CPUs, noted while it happens and written out when the machine ends.
//!
//! Each CPU notes [`Event`]s in a [`ring`] of its own, without locks and without allocating, so interrupt and switch paths
//! may. The rings keep the newest events: what matters is most often how a run ended. Names and births have rings to
//! themselves, so that the events of a long run can still be told by name.
//!
//! Off unless `trace=` asks for it; then each trace point is one branch that is never taken. The rings go out on the debug
//! console in the format of [`formats::trace`], when the run is concluded, fails, or the kernel panics.

mod ring;

use crate::options::Options;
use crate::task::Task;
use alloc::{string::String, vec::Vec};
use arch::cpu::PerCpu;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering::*};
use formats::trace::{Event, Header, Name, Place, Record, file};
use formats::{Instant, ThreadId};
use ring::Ring;
use sched::Topology;
use spin::Once;

/// How much is noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    #[default]
    Off,
    /// What the scheduler does.
    Sched,
    /// System calls, faults, interrupts and contended locks as well.
    All,
}

impl Level {
    pub const ALL: [(&'static str, Self); 3] =
        [("off", Self::Off), ("sched", Self::Sched), ("all", Self::All)];
}

/// The ring for names and births has this part of the room that the ring for events has.
const LABELS: usize = 8;

static LEVEL: AtomicU8 = AtomicU8::new(Level::Off as u8);

struct Rings {
    events: Ring,
    labels: Ring,
}

struct Tracer {
    /// What the trace begins with. Made in advance: a panic must not allocate.
    preamble: Vec<u8>,
    per_cpu: PerCpu<Rings>,
    written: AtomicBool,
}

static TRACER: Once<Tracer> = Once::new();

/// Begins to trace, if `options` say so.
///
/// # Errors
/// A sentence that says why that is impossible.
pub fn init(options: &Options, topology: &Topology) -> Result<(), &'static str> {
    if options.trace == Level::Off {
        return Ok(());
    }
    if !arch::debugcon::is_there() {
        return Err("trace: the machine has no debug console (port 0xe9) to write it to");
    }
    let preamble = file::preamble(&header(options, topology)).ok_or("trace: the header is too long")?;
    let records = options.trace_kib as usize * 1024 / Record::SIZE;
    let rings = |_| Some(Rings { events: Ring::new(records)?, labels: Ring::new(records / LABELS)? });
    let mut made: Vec<Option<Rings>> = (0..topology.cpus()).map(rings).collect();
    if made.iter().any(Option::is_none) {
        return Err("trace.buffer: there is not enough memory for one on each CPU");
    }
    TRACER.call_once(|| Tracer {
        preamble,
        per_cpu: PerCpu::new(made.len(), |cpu| made[cpu.index()].take().expect("none is missing")),
        written: AtomicBool::new(false),
    });
    if options.trace == Level::All {
        arch::sync::set_contention_hook(arch::time::now, |rank, waited| {
            all(|| Event::Contended { rank: rank.into(), nanoseconds: waited.as_ticks() });
        });
    }
    LEVEL.store(options.trace as u8, Release);
    Ok(())
}

fn header(options: &Options, topology: &Topology) -> Header {
    let places = topology.all().iter().map(|cpu| {
        let place = topology.place(cpu);
        Place { socket: place.socket, core: place.core, thread: place.thread, node: place.node }
    });
    let (orders, balancers) = (sched::order::orders(), sched::balance::balancers());
    let order = orders.iter().position(|entry| core::ptr::eq(*entry, options.order));
    let balancer = balancers.iter().position(|entry| core::ptr::eq(*entry, options.balancer));
    let level = Level::ALL.iter().find(|(_, level)| *level == options.trace);
    Header {
        places: places.collect(),
        orders: orders.iter().map(|entry| String::from(entry.name)).collect(),
        balancers: balancers.iter().map(|entry| String::from(entry.name)).collect(),
        order: order.unwrap_or_default() as u32,
        balancer: balancer.unwrap_or_default() as u32,
        seed: options.seed,
        clock: String::from(arch::time::source()),
        level: level.map(|(name, _)| String::from(*name)).unwrap_or_default(),
    }
}

/// Whether events of `level` are noted.
#[inline]
pub fn is_on(level: Level) -> bool {
    LEVEL.load(Relaxed) >= level as u8
}

/// Notes what the scheduler does.
#[inline]
pub fn sched(event: impl FnOnce() -> Event) {
    if is_on(Level::Sched) {
        note(event);
    }
}

/// Notes what only a full trace shows.
#[inline]
pub fn all(event: impl FnOnce() -> Event) {
    if is_on(Level::All) {
        note(event);
    }
}

/// Makes the event out of the way of those who do not trace, and where it is known which one it is.
#[cold]
#[inline(never)]
fn note(event: impl FnOnce() -> Event) {
    push(Record::new(Instant::from_ticks(0), &event()));
}

#[inline(never)]
fn push(record: Record) {
    if let Some(tracer) = TRACER.get() {
        tracer.per_cpu.here().events.push(record.at(arch::time::now()));
    }
}

#[cold]
fn label(event: &Event) {
    if let Some(tracer) = TRACER.get() {
        tracer.per_cpu.here().labels.push(Record::new(arch::time::now(), event));
    }
}

/// Notes that `task` was made. Takes the lock of its process's name.
pub fn born(task: &Task, parent: ThreadId) {
    if is_on(Level::Sched) {
        label(&Event::Born { thread: task.id, process: task.process.id, parent });
        named(task);
    }
}

/// Notes the name of `task`, which is that of its process. Takes the lock of that name.
pub fn named(task: &Task) {
    if is_on(Level::Sched) {
        let name = Name::new(task.process.identity.lock().name.as_bytes());
        label(&Event::Named { thread: task.id, name });
    }
}

/// Stops tracing and writes out what was noted. To be called when the machine is about to end, by whichever CPU ends it;
/// only the first call does something. Neither allocates nor waits for a lock.
///
/// Other CPUs may still be at work if the machine ends by a failure: the record that one is writing at this moment may
/// then be garbled.
pub fn write_out() {
    let Some(tracer) = TRACER.get() else { return };
    LEVEL.store(Level::Off as u8, Release);
    if tracer.written.swap(true, AcqRel) {
        return;
    }
    arch::debugcon::write(&tracer.preamble);
    for (cpu, rings) in tracer.per_cpu.iter() {
        for ring in [&rings.labels, &rings.events] {
            arch::debugcon::write(&file::block(cpu, ring.kept(), ring.lost()));
            ring.for_each_chunk(arch::debugcon::write);
        }
    }
}
