//! Turning interrupts off and on for this CPU.
//!
//! On the host all of it is a no-op and interrupts count as on. Does not know which device interrupts, or
//! why.

#[cfg(target_os = "none")]
use x86_64::instructions::interrupts as hardware;

/// Stand-ins for the host.
#[cfg(not(target_os = "none"))]
mod hardware {
    pub fn enable() {}
    pub fn disable() {}
    pub fn are_enabled() -> bool {
        true
    }
    pub fn enable_and_hlt() {
        std::thread::yield_now();
    }
}

use crate::cpu::local;
use core::marker::PhantomData;
use core::sync::atomic::Ordering::Relaxed;

/// Lets interrupts in. Not while an interrupt-safe lock is held.
#[inline]
pub fn enable() {
    debug_assert!(
        local::with(|cpu| cpu.irq_locks.load(Relaxed)) == 0,
        "interrupts are let in while a lock keeps them out"
    );
    hardware::enable();
}

/// Keeps interrupts out.
#[inline]
pub fn disable() {
    hardware::disable();
}

/// Whether interrupts are let in.
#[inline]
pub fn are_enabled() -> bool {
    hardware::are_enabled()
}

/// Lets interrupts in and sleeps until one arrives, as one step: none can slip in between and be slept
/// through. Returns with interrupts on.
#[inline]
pub fn wait() {
    hardware::enable_and_hlt();
}

/// Whether this CPU is in an interrupt handler that hit the kernel.
#[inline]
pub fn in_handler() -> bool {
    local::with(|cpu| cpu.interrupt_depth.load(Relaxed)) != 0
}

/// Keeps interrupts out until it is dropped, then restores what was. Guards nest; they are dropped in reverse
/// order.
#[must_use = "interrupts stay off only as long as this lives"]
pub struct Off {
    were_enabled: bool,
    /// The state is that of one CPU.
    not_send: PhantomData<*mut ()>,
}

/// Turns interrupts off until the guard is dropped.
#[inline]
pub fn off() -> Off {
    let were_enabled = are_enabled();
    disable();
    Off { were_enabled, not_send: PhantomData }
}

impl Drop for Off {
    #[inline]
    fn drop(&mut self) {
        if self.were_enabled {
            enable();
        }
    }
}

/// Counts a holder of an interrupt-safe lock in. Interrupts are off afterwards.
#[inline]
pub(crate) fn hold_off() {
    let were_enabled = are_enabled();
    disable();
    local::with(|cpu| {
        let holders = cpu.irq_locks.load(Relaxed);
        if holders == 0 {
            cpu.irqs_were_enabled.store(were_enabled, Relaxed);
        }
        cpu.irq_locks.store(holders + 1, Relaxed);
    });
}

/// Counts a holder out. With the last one, interrupts are as they were before the first.
#[inline]
pub(crate) fn release() {
    let back_on = local::with(|cpu| {
        let holders = cpu.irq_locks.load(Relaxed) - 1;
        cpu.irq_locks.store(holders, Relaxed);
        holders == 0 && cpu.irqs_were_enabled.load(Relaxed)
    });
    if back_on {
        enable();
    }
}
