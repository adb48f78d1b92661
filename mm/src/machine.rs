//! What memory management asks of the processor: which CPU this is, the page-table register, and TLB shootdowns.
//!
//! On the host there is no page-table register, and tests play the part of the TLBs.

use arch::cpu;
use arch::sync::rank;
use arch::tlb::Flush;
use formats::{CpuId, CpuSet};
use x86_64::PhysAddr;

pub use arch::sync::{IrqLock, Lock};

/// Ranks of the locks in here. The heap's and the frame allocator's are interrupt-safe, since objects are dropped under the
/// scheduler's locks.
pub const SPACE: u8 = rank::SPACE;
pub const OBJECT: u8 = rank::OBJECT;
pub const STACKS: u8 = rank::STACKS;
pub const KERNEL_SPACE: u8 = rank::KERNEL_SPACE;
pub const HEAP_MAGAZINE: u8 = rank::HEAP;
pub const HEAP_CLASS: u8 = rank::HEAP + 1;
pub const FRAME_CACHE: u8 = rank::FRAMES;
pub const FRAMES: u8 = rank::FRAMES + 1;

/// The CPU that runs this code. It stays the same until the next context switch.
#[inline]
pub fn here() -> CpuId {
    cpu::id()
}

/// Loads the page-table register of this CPU, which makes it forget all translations that are not global.
///
/// # Safety
/// `root` is a top-level table whose upper half is the kernel's, and it stays so while it is loaded.
#[cfg(target_os = "none")]
pub unsafe fn load_root(root: PhysAddr) {
    use x86_64::registers::control::{Cr3, Cr3Flags};
    use x86_64::structures::paging::PhysFrame;
    let frame = PhysFrame::containing_address(root);
    // SAFETY: the caller's promise: all that the kernel uses stays mapped as it is.
    unsafe { Cr3::write(frame, Cr3Flags::empty()) }
}

/// Stands in for the page-table register on the host.
///
/// # Safety
/// None is needed: there is nothing to load.
#[cfg(not(target_os = "none"))]
pub unsafe fn load_root(root: PhysAddr) {
    let _ = root;
}

/// Makes `cpus` forget translations, and returns when all have.
pub fn shootdown(cpus: &CpuSet, flush: Flush) {
    #[cfg(test)]
    crate::tests::cpu::shootdown(cpus, flush);
    #[cfg(not(test))]
    arch::tlb::shootdown(cpus, flush);
}
