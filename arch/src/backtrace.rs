//! Return addresses by the chain of frame pointers.
//!
//! Makes no assumption about the state of the kernel: memory is read by probes that survive a fault, the walk
//! only goes up, and it ends after a bounded number of frames. What function an address is in is not known
//! here.

use crate::context::Context;
use crate::copy::{KERNEL_HALF, probe};
use crate::traps::KernelFrame;
use core::arch::asm;
use x86_64::VirtAddr;

/// The most frames that a backtrace shows.
const DEPTH: usize = 64;
/// The furthest that a caller's frame can be above: no kernel stack is larger.
const REACH: u64 = 64 * 1024;

/// The addresses of code that led somewhere, innermost first.
#[derive(Debug, Clone)]
pub struct Backtrace {
    /// An address that is known without a frame.
    first: Option<u64>,
    frame_pointer: u64,
    left: usize,
}

impl Backtrace {
    /// How the caller was reached.
    #[inline(always)]
    pub fn here() -> Self {
        let frame_pointer: u64;
        // SAFETY: only reads a register.
        unsafe { asm!("mov {}, rbp", out(reg) frame_pointer, options(nomem, nostack, preserves_flags)) };
        Self { first: None, frame_pointer, left: DEPTH }
    }

    /// How the code that a trap interrupted was reached. Nothing if that was user code.
    pub fn of_frame(frame: &KernelFrame) -> Self {
        if frame.is_user() {
            return Self { first: None, frame_pointer: 0, left: 0 };
        }
        Self { first: Some(frame.rip), frame_pointer: frame.rbp, left: DEPTH }
    }

    /// How a context that is not running came to give up its CPU.
    pub fn of_context(context: &Context) -> Self {
        let frame_pointer = context.frame_pointer().map_or(0, VirtAddr::as_u64);
        Self { first: None, frame_pointer, left: DEPTH }
    }
}

impl Iterator for Backtrace {
    type Item = VirtAddr;

    fn next(&mut self) -> Option<VirtAddr> {
        if let Some(first) = self.first.take() {
            return VirtAddr::try_new(first).ok();
        }
        self.left = self.left.checked_sub(1)?;
        // The frame pointer leads to the caller's frame pointer; the return address is above it.
        let at = self.frame_pointer;
        if !at.is_multiple_of(8) {
            return None;
        }
        let read = |address: u64| probe(VirtAddr::try_new(address).ok()?).ok();
        let (caller, address) = (read(at)?, read(at.checked_add(8)?)?);
        let goes_up = caller > at && caller - at <= REACH;
        self.frame_pointer = if goes_up { caller } else { 0 };
        VirtAddr::try_new(address).ok().filter(|address| *address >= KERNEL_HALF)
    }
}
