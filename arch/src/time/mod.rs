//! The clock, and the one timer of each CPU.
//!
//! The clock counts nanoseconds since the kernel was entered, out of the time-stamp counter; all CPUs read the same.
//! The timer is that of the local APIC, set to one instant at a time; what happens then, and any period, is the caller's
//! business. [`init`] finds out how fast both run.

mod calendar;
mod calibrate;
mod events;
mod reference;
mod rtc;
mod scale;
mod timer;

pub(crate) use events::FrequentEvents;
pub use rtc::realtime;
pub use timer::{arm, disarm, fire_now, init_this_cpu};

use crate::acpi::Machine;
use core::arch::x86_64::_rdtsc;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use formats::Instant;
use scale::Scale;
use spin::Once;
use x86_64::{PhysAddr, VirtAddr};

/// The time-stamp counter when the kernel was entered.
static ENTERED: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds per tick of the time-stamp counter, as in [`Scale`]; 0 before calibration.
static NANOSECONDS: AtomicU64 = AtomicU64::new(0);
static CALIBRATED: Once<Calibrated> = Once::new();

/// What is known of the clocks after [`init`].
#[derive(Debug)]
struct Calibrated {
    source: &'static str,
    tsc_hz: u64,
    /// Ticks of the time-stamp counter per nanosecond.
    tsc: Scale,
    /// Ticks of the local APIC's timer per nanosecond.
    apic: Scale,
    /// Use the timer's TSC-deadline mode.
    deadline: bool,
}

/// Lets the clock start at 0.
pub(crate) fn start_clock() {
    ENTERED.store(tsc(), Relaxed);
}

#[inline]
fn tsc() -> u64 {
    // SAFETY: reads a counter that every x86-64 processor has.
    unsafe { _rdtsc() }
}

/// Nanoseconds since the kernel was entered; 0 before [`init`].
#[inline]
pub fn now() -> Instant {
    let ticks = tsc().saturating_sub(ENTERED.load(Relaxed));
    Instant::from_ticks(Scale(NANOSECONDS.load(Relaxed)).apply(ticks))
}

/// The clocks cannot be used: no reference that is there tells how fast they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoReference;

impl fmt::Display for NoReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no clock of this machine (CPUID, HPET, ACPI PM timer, PIT) tells how fast its time-stamp counter runs")
    }
}

impl core::error::Error for NoReference {}

/// Finds out how fast the time-stamp counter and the APIC timer run, and sets this CPU's timer up. Takes up to 5 ms. `map`
/// makes device registers reachable, uncached and for good.
///
/// # Errors
/// When nothing on this machine tells.
///
/// # Safety
/// To be called once, on the boot CPU with interrupts off, after [`apic::init`](crate::apic::init). What `map` returns is such
/// a mapping of what it is asked for.
pub unsafe fn init(
    machine: &Machine,
    map: impl FnOnce(PhysAddr, usize) -> VirtAddr,
) -> Result<(), NoReference> {
    // SAFETY: our caller promises the mapping.
    let calibrated = unsafe { calibrate::run(machine, map) }.ok_or(NoReference)?;
    NANOSECONDS.store(Scale::new(scale::NANOSECONDS_PER_SECOND, calibrated.tsc_hz).0, Relaxed);
    CALIBRATED.call_once(|| calibrated);
    init_this_cpu();
    Ok(())
}

/// What makes the clock out of the time-stamp counter, for programs that do it themselves: the counter when the clock was 0, and
/// nanoseconds per tick with 32 fractional bits.
pub fn parameters() -> (u64, u64) {
    (ENTERED.load(Relaxed), NANOSECONDS.load(Relaxed))
}

/// What the clock was calibrated against; empty before [`init`].
pub fn source() -> &'static str {
    CALIBRATED.get().map_or("", |calibrated| calibrated.source)
}

/// How often the time-stamp counter ticks per second; 0 before [`init`].
pub fn tsc_hz() -> u64 {
    CALIBRATED.get().map_or(0, |calibrated| calibrated.tsc_hz)
}
