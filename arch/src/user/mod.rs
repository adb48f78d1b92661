//! User mode as a function call.
//!
//! [`UserContext::run`] enters user mode and returns when it is left, with the reason, on the kernel stack it
//! was called on. So the kernel side of a thread is a loop around it. What the reason means is the kernel's
//! business.
//!
//! On the host only the registers are there.

#[cfg(target_os = "none")]
mod context;
#[cfg(target_os = "none")]
mod enter;
mod registers;

#[cfg(target_os = "none")]
pub use context::UserContext;
#[cfg(target_os = "none")]
pub(crate) use enter::init;
pub use registers::Registers;

pub use crate::traps::Fault;
use x86_64::VirtAddr;

/// The first address that is not user space: one page below the end of the lower half, as on Linux, so that
/// no instruction ends at a non-canonical address.
pub const USER_END: VirtAddr = VirtAddr::new(0x7fff_ffff_f000);

/// Why user mode was left. Interrupts are off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// A SYSCALL instruction: the number is in `regs.orig_rax`, the result goes to `regs.rax`.
    Syscall,
    /// An exception.
    Fault(Fault),
    /// An interrupt with this vector.
    Interrupt(u8),
}
