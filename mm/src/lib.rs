//! Memory: physical frames, the kernel's heap and stacks, page tables, and the address spaces of programs.
//!
//! Knows nothing of processes, files or system calls: the kernel asks an [`AddressSpace`] for what a system call or a page
//! fault means, and gives it a [`Pager`] where pages come from a file. Out of memory is an error value everywhere but in
//! the heap's infallible users, for which a reserve is kept ([`frames::is_low`]).
//!
//! Start at [`AddressSpace`], then [`frames`]. `docs/memory.md` walks one fork and one fault through it.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod frames;
pub mod heap;
pub mod kernel;
pub mod layout;
mod machine;
mod object;
mod pages;
mod region;
mod space;
pub mod stacks;
mod tables;
#[cfg(test)]
mod tests;

pub use frames::Frame;
pub use object::{Object, Pager};
pub use pages::{Page, PageRange};
pub use region::{Region, RegionKind, Segment};
pub use space::{
    Access, AddressSpace, AreaInfo, Backing, FaultError, FutexKey, MapError, MapRequest, Move, OnFork, Place,
    Prot,
};
pub use x86_64::{PhysAddr, VirtAddr};

use core::fmt;

/// The size of a page and of a frame in bytes.
pub const PAGE: usize = 4096;

/// There is no memory left for what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("out of memory")
    }
}

impl core::error::Error for OutOfMemory {}

/// What the machine and the boot loader leave to memory management.
pub struct Boot<'a, R> {
    /// The memory map.
    pub regions: R,
    /// Where the boot loader has mapped physical memory, and where the kernel will have it mapped as well.
    pub hhdm: VirtAddr,
    /// The kernel's image.
    pub image: &'a [Segment],
    /// Whether the CPUs have pages of 1 GiB (CPUID 8000_0001h, EDX bit 26).
    pub gib_pages: bool,
}

/// Starts memory management: frames, heap, and the kernel's own page tables, which [`kernel::enter`] loads.
///
/// # Errors
/// When the memory is too small to hold the frame table and the kernel's page tables.
///
/// # Safety
/// Called once, on the CPU that booted, before anything else of this crate. The regions say the truth: what is usable is
/// memory that nobody uses, and what is usable or reclaimable is readable and writable at `hhdm`. The segments are where
/// the kernel runs.
pub unsafe fn init<R: Iterator<Item = Region> + Clone>(boot: Boot<'_, R>) -> Result<(), OutOfMemory> {
    // SAFETY: passed on to our caller.
    unsafe { frames::init(boot.regions.clone(), boot.hhdm)? };
    kernel::init(boot.regions, boot.hhdm, boot.image, boot.gib_pages)
}

/// Gives back what is kept for speed alone: empty slabs, pooled stacks, and the free frames that CPUs have at hand.
///
/// [`frames::free`] after this, on a quiet machine, is exact: it comes back to the same count when the same objects are
/// alive again.
pub fn trim() {
    stacks::trim();
    heap::trim();
    frames::drain_caches();
}

/// Bytes of memory that the kernel itself takes, by purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub image: u64,
    pub frame_table: u64,
    pub page_tables: u64,
    pub heap: u64,
    pub stacks: u64,
}

impl Usage {
    pub fn total(&self) -> u64 {
        self.image + self.frame_table + self.page_tables + self.heap + self.stacks
    }
}

/// What the kernel takes at this moment; pooled stacks and slabs are in it.
pub fn usage() -> Usage {
    Usage {
        image: kernel::image_bytes(),
        frame_table: frames::table_bytes(),
        page_tables: kernel::table_bytes(),
        heap: heap::bytes(),
        stacks: stacks::bytes(),
    }
}
