//! This CPU: which one it is, what it can do, and how it is set up.
//!
//! [`init`] comes first on each CPU, before any lock is taken. Starting the other CPUs is `smp`'s task.

#[cfg(target_os = "none")]
mod control;
#[cfg(target_os = "none")]
pub mod describe;
#[cfg(target_os = "none")]
mod features;
pub(crate) mod local;
#[cfg(target_os = "none")]
mod number;
mod per_cpu;

#[cfg(target_os = "none")]
pub use features::{Features, features, hwcap, hwcap2};
#[cfg(not(target_os = "none"))]
pub use local::pretend_to_be;
#[cfg(target_os = "none")]
pub use local::{ExceptionStacks, prepare, set_exception_stacks};
#[cfg(target_os = "none")]
pub use number::{NumberedBy, numbered_by, set_number};
pub use per_cpu::PerCpu;

use formats::CpuId;

/// The CPU that asks. It stays the same until the next context switch. On the host it is what
/// [`pretend_to_be`] set for the calling thread, 0 at first.
#[inline]
pub fn id() -> CpuId {
    local::id()
}

/// Sets this CPU up: its local area, GDT, TSS, IDT, control registers, SYSCALL and floating-point state.
///
/// CPU 0 may call it before there is a heap; for the others, [`prepare`] was called on a CPU that was up.
///
/// # Safety
/// To be called once on each CPU, with an id that no other CPU has, with interrupts off, before anything else
/// of this crate and before user mode; the kernel's page tables are already in use.
#[cfg(target_os = "none")]
pub unsafe fn init(id: CpuId) {
    control::init();
    // SAFETY: the caller promises that this is the first call on this CPU and that the id is its own.
    let local = unsafe { local::init(id) };
    crate::descriptors::load(local);
    crate::user::init();
    crate::fpu::init();
}
