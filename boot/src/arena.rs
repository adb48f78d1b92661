//! Memory for the responses.

use crate::memory::{Memory, PAGE};
use crate::paging::direct;
use core::mem::{align_of, size_of};
use limine::memory_map::EntryType;
use x86_64::{PhysAddr, VirtAddr};

/// A region that is filled from its beginning. What is put there stays, and is known by its address in the kernel's window on
/// physical memory.
pub struct Arena {
    next: PhysAddr,
    end: PhysAddr,
}

/// Enough for a command line and the largest memory map.
const BYTES: u64 = 8 * PAGE;

impl Arena {
    pub fn new(memory: &mut Memory) -> Result<Self, &'static str> {
        let start = memory.allocate(BYTES, EntryType::BOOTLOADER_RECLAIMABLE)?;
        Ok(Self { next: start, end: start + BYTES })
    }

    pub fn put<T: Copy>(&mut self, value: T) -> Result<VirtAddr, &'static str> {
        self.put_all(&[value])
    }

    pub fn put_all<T: Copy>(&mut self, values: &[T]) -> Result<VirtAddr, &'static str> {
        let start = self.next.align_up(align_of::<T>() as u64);
        let end = start + size_of_val(values) as u64;
        if end > self.end {
            return Err("the command line is too long");
        }
        self.next = end;
        let to = start.as_u64() as *mut T;
        // SAFETY: this part of the region is given away once only, is aligned, and the provisional page tables map it at its
        // physical address.
        unsafe { to.copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        debug_assert!(size_of::<T>() > 0);
        Ok(direct(start))
    }
}
