//! When each CPU's timer fires, and what happens then.
//!
//! There is one hardware timer per CPU, armed for the earliest of three: the next tick, the end of the time slice in
//! one-shot mode, and the first sleeping thread's deadline. It is armed again only after an interrupt has been handled,
//! at the next phase-aligned tick that is still to come: a handler that outlasts the period skips ticks instead of
//! starving user code. An idle CPU has no tick.

use crate::options::Options;
use crate::timers::{self, NEVER};
use crate::tty::serial;
use crate::{cpus, vdso, watchdog};
use arch::cpu::PerCpu;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use formats::{CpuId, Duration, Instant};
use sched::{Progress, Tick, Timer};
use spin::Once;

/// How often an idle CPU looks whether another one is stuck.
const WATCH: Duration = Duration::from_secs(5);

/// How many different phases the ticks of CPUs have.
const PHASES: u32 = 16;

/// In one-shot mode two ticks on the same thread are at least the period divided by this apart.
const PAUSE: u32 = 16;

/// One CPU's timer. Written by that CPU only, read by the watchdog of others.
struct Clock {
    /// When the next tick is due, far away while idle. In one-shot mode a slice's end is the tick, and this is the time
    /// before which there is none.
    next_tick: AtomicU64,
    idle: AtomicBool,
    /// When the scheduler wants to look again: see [`cpus::next_event`].
    event: AtomicU64,
    /// For when the hardware is armed.
    armed: AtomicU64,
    /// A sleeping thread's deadline has passed, and [`run_due`] has not run since.
    timers_due: AtomicBool,
    /// R3 re-armed the timer: no storm on the next entry to user mode.
    spared: AtomicBool,
}

struct Clocks {
    period: Duration,
    timer: Timer,
    storm: bool,
    /// When our clock was 0, in nanoseconds since 1970.
    epoch_ns: AtomicU64,
    per_cpu: PerCpu<Clock>,
}

static CLOCKS: Once<Clocks> = Once::new();

pub fn init(options: &Options, cpus: usize) {
    CLOCKS.call_once(|| Clocks {
        period: options.tick(),
        timer: options.timer,
        storm: options.storm,
        epoch_ns: AtomicU64::new(
            (arch::time::realtime() * 1_000_000_000).saturating_sub(arch::time::now().as_ticks()),
        ),
        per_cpu: PerCpu::new(cpus, |_| Clock {
            next_tick: AtomicU64::new(0),
            idle: AtomicBool::new(true),
            event: AtomicU64::new(NEVER),
            armed: AtomicU64::new(NEVER),
            timers_due: AtomicBool::new(false),
            spared: AtomicBool::new(false),
        }),
    });
}

fn clocks() -> &'static Clocks {
    CLOCKS.get().expect("clock::init runs before the first thread")
}

impl Clocks {
    /// The first tick after `now` in the phase of `cpu`. Phases are spread over the period, so that CPUs do not tick at the
    /// same moment.
    fn next_tick(&self, now: Instant, cpu: CpuId) -> Instant {
        let period = self.period.as_ticks();
        let phase = period * u64::from(cpu.0 % PHASES) / u64::from(PHASES);
        let since_phase = now.as_ticks().saturating_sub(phase);
        Instant::from_ticks((since_phase / period + 1) * period + phase)
    }

    /// When `clock`, this CPU's, ticks again if nothing demands otherwise.
    fn regular_tick(&self, clock: &Clock, now: Instant) -> u64 {
        match self.timer {
            _ if clock.idle.load(Relaxed) => (now + WATCH).as_ticks(),
            Timer::Periodic => self.next_tick(now, arch::cpu::id()).as_ticks(),
            Timer::OneShot => 0,
        }
    }

    /// When `clock`, this CPU's, ticks again after a tick at `now`, if nothing demands otherwise.
    ///
    /// A slice that is over stays so until the thread gives way, which kernel code does not do for a while: armed for its
    /// end, the timer would fire without end. So there is a pause, until the next thread runs.
    fn tick_after(&self, clock: &Clock, now: Instant) -> u64 {
        match self.timer {
            Timer::OneShot if !clock.idle.load(Relaxed) => (now + self.period / PAUSE).as_ticks(),
            _ => self.regular_tick(clock, now),
        }
    }

    /// When `clock`, this CPU's, has its next tick.
    fn due(&self, clock: &Clock) -> u64 {
        let next = clock.next_tick.load(Relaxed);
        if self.timer == Timer::Periodic || clock.idle.load(Relaxed) {
            return next;
        }
        cpus::slice_end().map_or(NEVER, |end| end.as_ticks().max(next))
    }
}

/// The timer has fired. Interrupts are off.
pub fn timer_interrupt(progress: impl FnOnce() -> Progress) {
    let clocks = clocks();
    let clock = clocks.per_cpu.here();
    let now = arch::time::now();
    clock.armed.store(NEVER, Relaxed);
    watchdog::look(now);
    if timers::earliest_here() <= now.as_ticks() {
        clock.timers_due.store(true, Relaxed);
        cpus::request_reschedule();
    }
    let event_due = clock.event.load(Relaxed) <= now.as_ticks();
    if event_due {
        // Asked for again when this one has been seen to: armed in the past, it would hit kernel code without end.
        clock.event.store(NEVER, Relaxed);
    }
    if event_due || watchdog::plan_audit(now) {
        cpus::request_reschedule();
    }

    if clocks.storm || clocks.due(clock) <= now.as_ticks() {
        let answer = cpus::tick(progress());
        let now = arch::time::now();
        let next = match answer {
            Tick::Continue | Tick::Reschedule => clocks.tick_after(clock, now),
            Tick::Rearm => {
                clock.spared.store(true, Relaxed);
                (now + clocks.period).as_ticks()
            }
            Tick::Livelock(livelock) => watchdog::on_livelock(&livelock),
        };
        clock.next_tick.store(next, Relaxed);
    }
    arm();
}

/// Arms the timer of this CPU for the earliest of what it waits for.
pub fn arm() {
    let _off = arch::interrupts::off();
    let clocks = clocks();
    let clock = clocks.per_cpu.here();
    let mut earliest = clocks.due(clock).min(clock.event.load(Relaxed));
    if !clock.timers_due.load(Relaxed) {
        earliest = earliest.min(timers::earliest_here());
    }
    if earliest == clock.armed.load(Relaxed) {
        return;
    }
    clock.armed.store(earliest, Relaxed);
    match earliest {
        NEVER => arch::time::disarm(),
        deadline => arch::time::arm(Instant::from_ticks(deadline)),
    }
}

/// A user thread begins to run on this CPU: it needs a tick. Interrupts are off.
pub fn start_tick() {
    let clocks = clocks();
    let clock = clocks.per_cpu.here();
    let was_idle = clock.idle.load(Relaxed);
    if was_idle || clocks.timer == Timer::OneShot {
        clock.idle.store(false, Relaxed);
        clock.next_tick.store(clocks.regular_tick(clock, arch::time::now()), Relaxed);
    }
    plan_event(clock, was_idle || clocks.timer == Timer::OneShot);
}

/// The running thread goes on although another was looked for: if one waits now, the slice has an end, which only
/// one-shot mode must be told of. Interrupts are off.
pub fn limit_slice() {
    let clocks = clocks();
    plan_event(clocks.per_cpu.here(), clocks.timer == Timer::OneShot);
}

/// This CPU is about to sleep: it needs no tick, but now and then a look at the others. Interrupts are off.
pub fn stop_tick() {
    let clocks = clocks();
    let clock = clocks.per_cpu.here();
    if !clock.idle.swap(true, Relaxed) {
        clock.next_tick.store(clocks.regular_tick(clock, arch::time::now()), Relaxed);
    }
    plan_event(clock, true);
}

/// Notes when the scheduler wants to look again, and arms the timer if that or something else has changed.
fn plan_event(clock: &Clock, changed: bool) {
    let event = cpus::next_event().map_or(NEVER, |event| event.as_ticks());
    if clock.event.load(Relaxed) != event || changed {
        clock.event.store(event, Relaxed);
        arm();
    }
}

/// Does what interrupts have found due: wakes the threads of this CPU whose deadline has passed, looks after the policies,
/// passes on what was typed. Interrupts are off, and are off when it returns; not for interrupt handlers.
pub fn run_due() {
    if watchdog::is_audit_due() {
        arch::interrupts::enable();
        watchdog::audit();
        arch::interrupts::disable();
    }
    if serial::is_due() {
        arch::interrupts::enable();
        serial::run_due();
        arch::interrupts::disable();
    }
    if clocks().per_cpu.here().timers_due.swap(false, Relaxed) {
        arch::interrupts::enable();
        timers::run_due(arch::time::now());
        arm();
        arch::interrupts::disable();
    }
}

/// A thread has left this CPU before it has run timers, or passed on what was typed, that are due, as one does that falls asleep in a system call: the
/// next thread must see to them, although the switch has lowered the flag. Interrupts are off.
pub fn remember_due_timers() {
    if clocks().per_cpu.here().timers_due.load(Relaxed) || serial::is_due() {
        cpus::request_reschedule();
    }
}

/// Makes the timer interrupt pending if a storm is wanted and the thread has not had its first run: it will hit before the
/// first instruction. Returns whether the thread's next entry to user mode is to be hit as well. Interrupts are off.
pub fn storm_before_user_mode(thread: &sched::Thread) -> bool {
    let clocks = clocks();
    if !clocks.storm || thread.has_had_first_run() {
        return false;
    }
    let clock = clocks.per_cpu.here();
    if !clock.spared.swap(false, Relaxed) {
        clock.armed.store(NEVER, Relaxed);
        arch::time::fire_now();
    }
    true
}

/// A CPU whose timer should have fired more than `bound` before `now`, and when it should have.
pub fn overdue(now: Instant, bound: Duration) -> Option<(CpuId, Instant)> {
    let latest = now.as_ticks().saturating_sub(bound.as_ticks());
    let mut clocks = clocks().per_cpu.iter();
    clocks.find_map(|(cpu, clock)| {
        let armed = clock.armed.load(Relaxed);
        (armed < latest).then_some((cpu, Instant::from_ticks(armed)))
    })
}

/// The time as programs see it, in nanoseconds since 1970: what the battery-backed clock said at boot, or who has set it
/// since, and our clock from then on.
pub fn realtime_ns() -> u64 {
    epoch_ns() + arch::time::now().as_ticks()
}

/// When our clock was 0, in nanoseconds since 1970.
pub fn epoch_ns() -> u64 {
    clocks().epoch_ns.load(SeqCst)
}

/// Sets the time of day to `ns` after 1970, which is not before boot, and makes all who wait for one look again.
pub fn set_realtime(ns: u64) {
    clocks().epoch_ns.store(ns.saturating_sub(arch::time::now().as_ticks()), SeqCst);
    vdso::update_clocks();
    timers::time_of_day_was_set();
}
