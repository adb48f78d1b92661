//! The timer of the CPU that asks: one instant, one interrupt.

use super::{CALIBRATED, ENTERED, now};
use crate::apic::{self, Bus, Register};
use crate::vectors;
use core::sync::atomic::Ordering::Relaxed;
use formats::Instant;
use x86_64::registers::model_specific::Msr;

/// The entry of the local vector table: one interrupt at a time-stamp (Intel SDM vol. 3, figure 12-8).
const TSC_DEADLINE_MODE: u32 = 0b10 << 17;
/// The number of the MSR that holds the deadline.
const TSC_DEADLINE: u32 = 0x6e0;

/// Sets up the timer of this CPU; it stays disarmed. To be called after the local APIC is set up, and on CPUs other than the
/// boot CPU after [`init`](super::init).
pub fn init_this_cpu() {
    let deadline = CALIBRATED.get().is_some_and(|calibrated| calibrated.deadline);
    let mode = if deadline { TSC_DEADLINE_MODE } else { 0 };
    Bus::get().write(Register::LvtTimer, mode | u32::from(vectors::TIMER));
    // A write to the deadline must come after the mode's, which in xAPIC mode goes to memory (Intel SDM vol. 3, 12.5.4.1).
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
    disarm();
}

/// Interrupts this CPU with [`vectors::TIMER`] at `deadline`, at once if it has passed, and forgets any earlier deadline. One
/// that is very far away may interrupt too early, after 4 seconds or more: the handler looks at the clock and arms again.
#[inline]
pub fn arm(deadline: Instant) {
    let Some(calibrated) = CALIBRATED.get() else { return };
    if calibrated.deadline {
        let stamp = calibrated.tsc.apply(deadline.as_ticks()).saturating_add(ENTERED.load(Relaxed));
        // SAFETY: the MSR is there, as the mode is in use; it makes the timer's interrupt, which the kernel handles.
        unsafe { Msr::new(TSC_DEADLINE).write(stamp.max(1)) };
    } else {
        let left = deadline.as_ticks().saturating_sub(now().as_ticks());
        let count = u32::try_from(calibrated.apic.apply(left)).unwrap_or(u32::MAX);
        // 0 would stop it.
        Bus::get().write(Register::InitialCount, count.max(1));
    }
}

/// Forgets the deadline. An interrupt that is pending already still comes.
pub fn disarm() {
    if CALIBRATED.get().is_some_and(|calibrated| calibrated.deadline) {
        // SAFETY: as in `arm`; 0 disarms.
        unsafe { Msr::new(TSC_DEADLINE).write(0) };
    } else {
        Bus::get().write(Register::InitialCount, 0);
    }
}

/// Makes the timer's interrupt pending on this CPU before it returns, whatever is armed. With interrupts off it then hits the
/// next instruction that lets interrupts in.
pub fn fire_now() {
    apic::send_self(vectors::TIMER);
}
