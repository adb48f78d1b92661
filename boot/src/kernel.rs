//! The kernel: found in the archive, and loaded.

use crate::memory::{Memory, PAGE};
use core::slice;
use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_EXEC, PF_W, PF_X, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::segment::ProgramHeader;
use limine::memory_map::EntryType;
use x86_64::{PhysAddr, VirtAddr};

/// Its name in the archive.
const NAME: &str = "kernel";

/// A kernel in memory.
pub struct Kernel {
    elf: ElfBytes<'static, LittleEndian>,
    /// Its image, where the provisional page tables have it.
    pub memory: *mut [u8],
    pub physical: PhysAddr,
    pub start: VirtAddr,
    pub entry: VirtAddr,
}

/// A part of the image that is to be mapped: whole pages.
pub struct Segment {
    pub start: VirtAddr,
    pub physical: PhysAddr,
    pub bytes: u64,
    pub write: bool,
    pub execute: bool,
}

/// The kernel's file in the archive.
pub fn find(archive: &'static [u8]) -> Result<&'static [u8], &'static str> {
    let name = |member: &newc::Member<'static>| member.name.trim_start_matches("./").trim_start_matches('/');
    let file = newc::members(archive).find(|member| name(member) == NAME);
    Ok(file.ok_or("the archive that -initrd names is not cpio, or has no file `kernel` in it")?.data)
}

/// Loads an ELF file into memory of its own.
pub fn load(file: &'static [u8], memory: &mut Memory) -> Result<Kernel, &'static str> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|_| "the kernel is not an ELF file")?;
    let header = &elf.ehdr;
    if header.class != Class::ELF64 || header.e_machine != EM_X86_64 || header.e_type != ET_EXEC {
        return Err("the kernel is not an executable for x86-64 with fixed addresses");
    }
    let (mut start, mut end) = (u64::MAX, 0);
    for header in loadable(&elf) {
        start = start.min(header.p_vaddr / PAGE * PAGE);
        end = end.max(header.p_vaddr.saturating_add(header.p_memsz));
    }
    if start >= end || VirtAddr::try_new(start).is_err() || start < UPPER_HALF {
        return Err("the kernel has no segments in the upper half of the address space");
    }
    let bytes = end.checked_next_multiple_of(PAGE).ok_or("the kernel's image ends beyond memory")? - start;
    let physical = memory.allocate(bytes, EntryType::EXECUTABLE_AND_MODULES)?;
    let image = core::ptr::slice_from_raw_parts_mut(physical.as_u64() as *mut u8, bytes as usize);
    // SAFETY: the memory was just taken for the image, and the provisional page tables map it at its physical address.
    let contents = unsafe {
        image.cast::<u8>().write_bytes(0, bytes as usize);
        slice::from_raw_parts_mut(image.cast::<u8>(), bytes as usize)
    };
    for header in loadable(&elf) {
        let data = elf.segment_data(&header).map_err(|_| "the kernel's file is cut off")?;
        let offset = (header.p_vaddr - start) as usize;
        contents
            .get_mut(offset..offset + data.len())
            .ok_or("a segment of the kernel is longer in the file than in memory")?
            .copy_from_slice(data);
    }
    let start = VirtAddr::new_truncate(start);
    Ok(Kernel { memory: image, physical, start, entry: VirtAddr::new_truncate(header.e_entry), elf })
}

const UPPER_HALF: u64 = 0xffff_8000_0000_0000;

impl Kernel {
    /// What to map, with which access.
    pub fn segments(&self) -> Result<impl Iterator<Item = Segment>, &'static str> {
        let mut end = 0;
        for header in loadable(&self.elf) {
            if header.p_vaddr / PAGE * PAGE < end {
                return Err("two segments of the kernel are in one page, or not in order");
            }
            end = (header.p_vaddr + header.p_memsz).next_multiple_of(PAGE);
        }
        Ok(loadable(&self.elf).map(|header| {
            let start = VirtAddr::new_truncate(header.p_vaddr).align_down(PAGE);
            let end = header.p_vaddr + header.p_memsz;
            Segment {
                start,
                physical: self.physical + (start - self.start),
                bytes: end.next_multiple_of(PAGE) - start.as_u64(),
                write: header.p_flags & PF_W != 0,
                execute: header.p_flags & PF_X != 0,
            }
        }))
    }
}

fn loadable(elf: &ElfBytes<'static, LittleEndian>) -> impl Iterator<Item = ProgramHeader> + use<> {
    let headers = elf.segments().into_iter().flat_map(|table| table.iter());
    headers.filter(|header| header.p_type == PT_LOAD && header.p_memsz > 0)
}
