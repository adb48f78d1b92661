//! What the kernel is told about the machine.

use super::Segment;
use arrayvec::{ArrayString, ArrayVec};
use x86_64::{PhysAddr, VirtAddr};

/// Everything that the loader says, checked and copied.
#[derive(Debug)]
pub struct BootInfo {
    /// All of physical memory that the loader knows of, in ascending order, without overlaps. Usable and reclaimable
    /// regions consist of whole pages.
    pub memory_map: ArrayVec<MemoryRegion, 256>,
    /// Physical address `p` is mapped at `hhdm_offset + p` by the loader's page tables: for certain what is usable,
    /// reclaimable or the kernel's.
    pub hhdm_offset: VirtAddr,
    /// The root of the ACPI tables. It and the tables may lie outside of what the loader has mapped.
    pub rsdp: Option<PhysAddr>,
    /// The parts of the kernel's image, in ascending order. What lies between them is not to be mapped: it guards the stack.
    pub image: [Segment; 4],
    /// The file that the kernel was loaded from, for its symbols. Empty if the loader did not say.
    pub kernel_file: &'static [u8],
    pub cmdline: ArrayString<2048>,
    pub modules: ArrayVec<Module, 8>,
    /// Name and version of the loader.
    pub bootloader: ArrayString<64>,
    /// The base revision of the Limine protocol that the loader followed. Those before Limine 8 do not say.
    pub base_revision: Option<u64>,
}

/// A file that the loader put into memory beside the kernel.
#[derive(Debug, Clone)]
pub struct Module {
    pub path: ArrayString<256>,
    pub data: &'static [u8],
}

/// A region of physical memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryRegion {
    pub start: PhysAddr,
    /// Length in bytes.
    pub bytes: u64,
    pub kind: MemoryKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryKind {
    /// Nobody uses it.
    Usable,
    /// Holds the loader's data and page tables. Nobody uses it once [`BootInfo`] is made and the kernel has page tables and
    /// descriptor tables of its own.
    Reclaimable,
    /// Holds the kernel's image, its file, and the modules.
    Kernel,
    /// Holds tables of the firmware, ACPI's among them.
    Firmware,
    Framebuffer,
    /// Not memory, broken, or the firmware's.
    Reserved,
}
