//! x86-64 hardware: what the kernel needs of it, as safe as it can be made.
//!
//! Runs on the bare machine (`target_os = "none"`). On an x86-64 host only what other crates' host tests use
//! is there: locks, per-CPU data, and no-op stand-ins for interrupts and the TLB. Knows nothing of processes,
//! address spaces or scheduling: the kernel registers what to do on a trap and calls in for the rest.
//!
//! Start at [`cpu`], then [`user`](user/index.html) for how user mode is entered and left, and [`traps`] for
//! what hits the kernel itself.
#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;

pub mod cpu;
pub mod interrupts;
pub mod numa;
pub mod sync;
pub mod tlb;
pub mod topology;
pub mod traps;
pub mod user;
pub mod vectors;

#[cfg(target_os = "none")]
pub mod backtrace;
#[cfg(target_os = "none")]
pub mod context;
#[cfg(target_os = "none")]
pub mod copy;
#[cfg(target_os = "none")]
mod descriptors;
#[cfg(target_os = "none")]
pub mod fpu;
#[cfg(target_os = "none")]
pub mod guard;

#[cfg(target_os = "none")]
pub mod acpi;
#[cfg(target_os = "none")]
pub mod apic;
#[cfg(target_os = "none")]
pub mod boot;
#[cfg(target_os = "none")]
pub mod debugcon;
#[cfg(target_os = "none")]
pub mod io_apic;
#[cfg(target_os = "none")]
pub mod power;
#[cfg(target_os = "none")]
pub mod serial;
#[cfg(target_os = "none")]
pub mod smp;
#[cfg(target_os = "none")]
pub mod time;

/// Arithmetic of [`time`] that the host can test.
#[cfg(all(test, not(target_os = "none")))]
#[path = "time"]
mod time_arithmetic {
    mod calendar;
    mod scale;
}
