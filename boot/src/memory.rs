//! Physical memory: what is free, what the loader has taken, and the map of it that the kernel gets.
//!
//! Takes memory above 1 MiB only: what QEMU wrote for the loader to read may lie below.

use crate::start_info::MemoryMapEntry;
use arrayvec::ArrayVec;
use limine::memory_map::{Entry, EntryType};
use x86_64::PhysAddr;
use x86_64::structures::paging::{FrameAllocator, PhysFrame, Size4KiB};

pub const PAGE: u64 = 4096;
/// What the provisional page tables map.
const REACHABLE_END: u64 = 4 << 30;
const LOW_MEMORY_END: u64 = 1 << 20;

unsafe extern "C" {
    safe static __loader_start: u8;
    safe static __loader_end: u8;
}

/// The memory map, in ascending order, without overlaps.
pub struct Memory {
    entries: ArrayVec<Entry, 128>,
}

impl Memory {
    /// The memory of `map`, in which the loader itself and `archive` have their places.
    pub fn new(map: &[MemoryMapEntry], archive: &[u8]) -> Result<Self, &'static str> {
        let mut memory = Self { entries: ArrayVec::new() };
        for entry in map {
            memory.entries.try_push(convert(entry)).map_err(|_| TOO_MANY)?;
        }
        memory.entries.retain(|entry| entry.length > 0);
        memory.entries.sort_unstable_by_key(|entry| entry.base);
        if memory.entries.windows(2).any(|pair| pair[0].base + pair[0].length > pair[1].base) {
            return Err("QEMU's memory map has regions that overlap");
        }
        let archive = archive.as_ptr_range();
        let claims = [
            // Real-mode vectors and the firmware's data.
            (0, PAGE, EntryType::RESERVED),
            (
                (&raw const __loader_start).addr() as u64,
                (&raw const __loader_end).addr() as u64,
                EntryType::BOOTLOADER_RECLAIMABLE,
            ),
            (archive.start.addr() as u64, archive.end.addr() as u64, EntryType::EXECUTABLE_AND_MODULES),
        ];
        for (start, end, kind) in claims {
            memory.claim(start / PAGE * PAGE, end.next_multiple_of(PAGE), kind)?;
        }
        Ok(memory)
    }

    /// Takes `bytes`, rounded up to pages, of free memory that the loader can reach. It holds what it held before.
    pub fn allocate(&mut self, bytes: u64, kind: EntryType) -> Result<PhysAddr, &'static str> {
        let bytes = bytes.next_multiple_of(PAGE);
        let fits = |entry: &&Entry| {
            let start = entry.base.max(LOW_MEMORY_END);
            let end = (entry.base + entry.length).min(REACHABLE_END);
            entry.entry_type == EntryType::USABLE && end.saturating_sub(start) >= bytes
        };
        let entry = self
            .entries
            .iter()
            .find(fits)
            .ok_or("there is not enough memory for the kernel: give QEMU more with -m")?;
        let start = entry.base.max(LOW_MEMORY_END);
        self.claim(start, start + bytes, kind)?;
        Ok(PhysAddr::new(start))
    }

    /// Makes what is usable between `start` and `end`, whole pages, be of another kind.
    fn claim(&mut self, start: u64, end: u64, kind: EntryType) -> Result<(), &'static str> {
        let mut after = ArrayVec::<Entry, 128>::new();
        for &entry in &self.entries {
            let entry_end = entry.base + entry.length;
            let (from, to) = (start.clamp(entry.base, entry_end), end.clamp(entry.base, entry_end));
            let parts = match entry.entry_type {
                EntryType::USABLE => [
                    (entry.base, from, EntryType::USABLE),
                    (from, to, kind),
                    (to, entry_end, EntryType::USABLE),
                ],
                other => [(entry.base, entry_end, other), (0, 0, other), (0, 0, other)],
            };
            for (base, end, entry_type) in parts.into_iter().filter(|(base, end, _)| end > base) {
                match after.last_mut() {
                    Some(last) if last.entry_type == entry_type && last.base + last.length == base => {
                        last.length += end - base;
                    }
                    _ => {
                        let entry = Entry { base, length: end - base, entry_type };
                        after.try_push(entry).map_err(|_| TOO_MANY)?;
                    }
                }
            }
        }
        self.entries = after;
        Ok(())
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The first address beyond all memory.
    pub fn end(&self) -> u64 {
        let memory = self.entries.iter().filter(|entry| entry.entry_type != EntryType::RESERVED);
        memory.map(|entry| entry.base + entry.length).max().unwrap_or(0)
    }
}

const TOO_MANY: &str = "QEMU's memory map has too many regions";

/// Usable memory shrinks to whole pages.
fn convert(entry: &MemoryMapEntry) -> Entry {
    let (start, end) = (entry.start, entry.start + entry.bytes);
    let entry_type = match entry.kind {
        1 => {
            let (base, end) = (start.next_multiple_of(PAGE), end / PAGE * PAGE);
            return Entry { base, length: end.saturating_sub(base), entry_type: EntryType::USABLE };
        }
        3 => EntryType::ACPI_RECLAIMABLE,
        4 => EntryType::ACPI_NVS,
        5 => EntryType::BAD_MEMORY,
        _ => EntryType::RESERVED,
    };
    Entry { base: start, length: entry.bytes, entry_type }
}

// SAFETY: each frame is taken out of the usable memory, so nobody else has it.
unsafe impl FrameAllocator<Size4KiB> for Memory {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let start = self.allocate(PAGE, EntryType::BOOTLOADER_RECLAIMABLE).ok()?;
        Some(PhysFrame::containing_address(start))
    }
}
