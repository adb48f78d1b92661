//! The page tables that the kernel starts with: all physical memory in one window of the upper half, and the kernel's image.
//!
//! The loader's own addresses are not in them.

use crate::kernel::Segment;
use crate::memory::Memory;
use raw_cpuid::CpuId;
use x86_64::structures::paging::mapper::MapToError;
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, Page, PageSize, PageTable, PageTableFlags as Flags, PhysFrame,
    Size1GiB, Size2MiB, Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

/// Where physical address 0 is in the window.
pub const WINDOW: VirtAddr = VirtAddr::new_truncate(0xffff_8000_0000_0000);
/// The window has this much in any case: device registers are in its upper part.
const WINDOW_LEAST: u64 = 4 << 30;

const NO_MEMORY: &str = "there is not enough memory for page tables: give QEMU more with -m";

/// Where physical address `address` is in the window.
pub fn direct(address: PhysAddr) -> VirtAddr {
    WINDOW + address.as_u64()
}

pub struct Tables {
    root: PhysFrame,
    mapper: OffsetPageTable<'static>,
}

impl Tables {
    /// Tables that map nothing.
    pub fn new(memory: &mut Memory) -> Result<Self, &'static str> {
        let root = memory.allocate_frame().ok_or(NO_MEMORY)?;
        let table = root.start_address().as_u64() as *mut PageTable;
        // SAFETY: the frame was just taken, and the provisional page tables map all that is taken at its physical address.
        let mapper = unsafe {
            table.write(PageTable::new());
            OffsetPageTable::new(&mut *table, VirtAddr::zero())
        };
        Ok(Self { root, mapper })
    }

    pub fn root(&self) -> PhysFrame {
        self.root
    }

    /// Maps all memory, and at least the first 4 GiB, into the window: in pages of 1 GiB if the processor has them.
    pub fn map_physical(&mut self, memory: &mut Memory) -> Result<(), &'static str> {
        let end = memory.end().max(WINDOW_LEAST);
        // Executable: the loader's last instructions are in there, too.
        let flags = Flags::PRESENT | Flags::WRITABLE;
        let huge = CpuId::new().get_extended_processor_and_feature_identifiers();
        if huge.is_some_and(|info| info.has_1gib_pages()) {
            self.map::<Size1GiB>(WINDOW, PhysAddr::zero(), end, flags, memory)
        } else {
            self.map::<Size2MiB>(WINDOW, PhysAddr::zero(), end, flags, memory)
        }
    }

    /// Maps a part of the kernel's image.
    pub fn map_segment(&mut self, segment: &Segment, memory: &mut Memory) -> Result<(), &'static str> {
        let mut flags = Flags::PRESENT;
        flags.set(Flags::WRITABLE, segment.write);
        let features = CpuId::new().get_extended_processor_and_feature_identifiers();
        let no_execute = features.is_some_and(|info| info.has_execute_disable());
        flags.set(Flags::NO_EXECUTE, no_execute && !segment.execute);
        self.map::<Size4KiB>(segment.start, segment.physical, segment.bytes, flags, memory)
    }

    fn map<S: PageSize>(
        &mut self,
        start: VirtAddr,
        physical: PhysAddr,
        bytes: u64,
        flags: Flags,
        memory: &mut Memory,
    ) -> Result<(), &'static str>
    where
        OffsetPageTable<'static>: Mapper<S>,
    {
        for offset in (0..bytes).step_by(S::SIZE as usize) {
            let page = Page::<S>::containing_address(start + offset);
            let frame = PhysFrame::containing_address(physical + offset);
            // SAFETY: these tables are not in use yet.
            let flush = unsafe { self.mapper.map_to(page, frame, flags, memory) };
            flush
                .map_err(|error| match error {
                    MapToError::FrameAllocationFailed => NO_MEMORY,
                    _ => "the kernel's image is where the window on physical memory is",
                })?
                .ignore();
        }
        Ok(())
    }
}
