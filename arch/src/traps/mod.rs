//! What hits the kernel: exceptions and interrupts that arrive in kernel mode.
//!
//! Those that arrive in user mode are no business of this module:
//! [`UserContext::run`](crate::user::UserContext::run) returns with them. The kernel registers one
//! [`Handlers`]; nothing here knows what it does about a page fault or a timer.

mod frame;
#[cfg(target_os = "none")]
pub(crate) use frame::FRAME_SIZE;
pub use frame::{Fault, KernelFrame};

#[cfg(target_os = "none")]
mod dispatch;
#[cfg(target_os = "none")]
pub(crate) mod stubs;
#[cfg(target_os = "none")]
pub use dispatch::set_handlers;

use x86_64::VirtAddr;

/// What the kernel does about traps that hit it. Called on the stack that was interrupted, except for
/// [`Self::nmi`] and a [`Self::fatal`] double fault or machine check, which have stacks of their own.
pub trait Handlers: Sync {
    /// An interrupt, with interrupts off. It may not switch to another thread.
    fn interrupt(&self, vector: u8, frame: &KernelFrame);

    /// A page fault at `address`, with the processor's `error` code, at a point where interrupts are as they
    /// were when it happened; user copies cause these. `true`: it is resolved, try again. `false`: let the
    /// copy fail, or else it is fatal.
    fn page_fault(&self, address: VirtAddr, error: u64, frame: &KernelFrame) -> bool;

    /// An exception that the kernel itself caused, with interrupts off.
    fn fatal(&self, fault: &Fault, frame: &KernelFrame) -> !;

    /// A non-maskable interrupt. It may have interrupted anything, the holder of any lock included, and it
    /// must not cause an exception: the end of that would let the next one in, onto the same stack.
    fn nmi(&self, frame: &KernelFrame);
}
