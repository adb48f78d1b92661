//! Where the kernel's own image is. The bounds come from the kernel's linker script.

use x86_64::{PhysAddr, VirtAddr};

/// A part of the kernel's image with one kind of access. Addresses and length are multiples of the page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub start: VirtAddr,
    pub physical: PhysAddr,
    /// Length in bytes.
    pub bytes: u64,
    pub write: bool,
    pub execute: bool,
}

unsafe extern "C" {
    safe static __image_start: u8;
    safe static __text_start: u8;
    safe static __text_end: u8;
    safe static __rodata_start: u8;
    safe static __rodata_end: u8;
    safe static __data_start: u8;
    safe static __data_end: u8;
    safe static __stack_start: u8;
    safe static __stack_end: u8;
}

/// The parts of the image, whose first byte is at `physical`.
pub(super) fn segments(physical: PhysAddr) -> [Segment; 4] {
    let base = VirtAddr::from_ptr(&raw const __image_start);
    let part = |start: *const u8, end: *const u8, write, execute| {
        let start = VirtAddr::from_ptr(start);
        Segment {
            start,
            physical: physical + (start - base),
            bytes: VirtAddr::from_ptr(end) - start,
            write,
            execute,
        }
    };
    [
        part(&raw const __text_start, &raw const __text_end, false, true),
        part(&raw const __rodata_start, &raw const __rodata_end, false, false),
        part(&raw const __data_start, &raw const __data_end, true, false),
        part(&raw const __stack_start, &raw const __stack_end, true, false),
    ]
}
