//! What the boot loader says about memory.

use x86_64::{PhysAddr, VirtAddr};

/// A region of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    pub start: PhysAddr,
    pub bytes: u64,
    pub kind: RegionKind,
}

impl Region {
    /// The first address beyond.
    pub fn end(&self) -> PhysAddr {
        self.start + self.bytes
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionKind {
    /// Memory that nobody uses.
    Usable,
    /// Memory that the boot loader uses, and nobody once the kernel has left its tables and data.
    Reclaimable,
    /// The kernel's image and the boot modules.
    Kernel,
    /// Memory with firmware tables, to be read only.
    Firmware,
    /// Not memory, or not to be touched.
    Reserved,
}

/// A part of the kernel's image with one kind of access. Addresses and length are multiples of the page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub start: VirtAddr,
    pub physical: PhysAddr,
    pub bytes: u64,
    pub write: bool,
    pub execute: bool,
}
