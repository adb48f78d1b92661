//! ELF files in memory: headers, segments, where they go (System V ABI, chapter 5; man 5 elf).

use super::{PAGE, STACK_BOTTOM};
use crate::errno::Errno;
use crate::fs::Program;
use alloc::{string::String, vec, vec::Vec};
use elf::abi::{EM_X86_64, ET_DYN, ET_EXEC, PF_R, PF_W, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_PHDR};
use elf::endian::LittleEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::parse::ParsingTable;
use elf::segment::ProgramHeader;
use mm::{AddressSpace, MapRequest, Place, Prot};
use x86_64::VirtAddr;

/// Bytes of the file header, and of one program header, of a 64-bit file.
const HEADER: usize = 64;
const SEGMENT: usize = 56;
/// The longest table of program headers in bytes, as on Linux.
const MOST_SEGMENTS: usize = 64 << 10;
/// The longest name of a dynamic linker, with its terminator (PATH_MAX).
const PATH_MAX: u64 = 4096;

/// An ELF file that can be loaded.
pub struct Elf<'f> {
    file: &'f Program,
    header: FileHeader<LittleEndian>,
    segments: Vec<ProgramHeader>,
}

/// Where a file goes that may go anywhere.
#[derive(Clone, Copy)]
pub enum Base {
    /// At this address, or below it if the file wants more than a page's alignment.
    At(u64),
    /// Where there is room.
    Anywhere,
}

/// A file in memory.
pub struct Loaded {
    /// What is added to the file's own addresses.
    pub bias: u64,
    pub entry: u64,
    /// The first byte behind the last segment.
    pub end: u64,
    /// Where its program headers are, how long each is, and how many there are.
    pub headers: (u64, u64, u64),
}

impl<'f> Elf<'f> {
    /// # Errors
    /// `ENOEXEC` for what is no program for x86-64, or one whose segments make no sense; `ENOMEM`.
    pub fn parse(file: &'f Program) -> Result<Self, Errno> {
        let mut bytes = [0; HEADER];
        if file.read(0, &mut bytes)? < HEADER {
            return Err(Errno::ENOEXEC);
        }
        let (ident, tail) = bytes.split_at(elf::abi::EI_NIDENT);
        let ident = parse_ident::<LittleEndian>(ident).map_err(|_| Errno::ENOEXEC)?;
        if ident.1 != Class::ELF64 {
            return Err(Errno::ENOEXEC);
        }
        let header = FileHeader::parse_tail(ident, tail).map_err(|_| Errno::ENOEXEC)?;
        let table = usize::from(header.e_phnum) * SEGMENT;
        if header.e_machine != EM_X86_64
            || !matches!(header.e_type, ET_EXEC | ET_DYN)
            || usize::from(header.e_phentsize) != SEGMENT
            || !(SEGMENT..=MOST_SEGMENTS).contains(&table)
        {
            return Err(Errno::ENOEXEC);
        }
        let mut bytes = vec![0; table];
        if file.read(header.e_phoff, &mut bytes)? < table {
            return Err(Errno::ENOEXEC);
        }
        let segments: Vec<ProgramHeader> =
            ParsingTable::new(LittleEndian, Class::ELF64, &bytes).iter().collect();
        let this = Self { file, header, segments };
        this.check()?;
        Ok(this)
    }

    fn loadable(&self) -> impl Iterator<Item = &ProgramHeader> + Clone {
        self.segments.iter().filter(|segment| segment.p_type == PT_LOAD)
    }

    /// Its segments are in order, in the lower half, and in the same place of a page in file and memory.
    fn check(&self) -> Result<(), Errno> {
        let mut last = None;
        for segment in self.loadable() {
            let end = segment.p_vaddr.checked_add(segment.p_memsz).ok_or(Errno::ENOEXEC)?;
            if end > STACK_BOTTOM
                || segment.p_filesz > segment.p_memsz
                || segment.p_offset % PAGE != segment.p_vaddr % PAGE
                || segment.p_offset.checked_add(segment.p_filesz).is_none()
                || last.is_some_and(|last| segment.p_vaddr < last)
            {
                return Err(Errno::ENOEXEC);
            }
            last = Some(end);
        }
        last.map(drop).ok_or(Errno::ENOEXEC)
    }

    /// The dynamic linker that the program wants.
    ///
    /// # Errors
    /// `ENOEXEC` when its name is too long, empty, cut off or not terminated; `ENOENT` when no file has such a name.
    pub fn interpreter(&self) -> Result<Option<String>, Errno> {
        let Some(segment) = self.segments.iter().find(|segment| segment.p_type == PT_INTERP) else {
            return Ok(None);
        };
        if !(2..=PATH_MAX).contains(&segment.p_filesz) {
            return Err(Errno::ENOEXEC);
        }
        let mut name = vec![0; segment.p_filesz as usize];
        if self.file.read(segment.p_offset, &mut name)? < name.len() || name.pop() != Some(0) {
            return Err(Errno::ENOEXEC);
        }
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        String::from_utf8(name).map(Some).map_err(|_| Errno::ENOENT)
    }

    /// Whether the program wants to execute its stack.
    pub fn wants_executable_stack(&self) -> bool {
        self.segments.iter().any(|segment| segment.p_type == PT_GNU_STACK && segment.p_flags & PF_X != 0)
    }

    /// Whether it may go anywhere.
    pub fn is_relocatable(&self) -> bool {
        self.header.e_type == ET_DYN
    }

    /// Maps all segments.
    ///
    /// # Errors
    /// `ENOMEM`, also when the segments do not fit where they must go.
    pub fn load(&self, space: &AddressSpace, base: Base) -> Result<Loaded, Errno> {
        let bias = if self.is_relocatable() { self.bias(space, base)? } else { 0 };
        let mut end = 0;
        for segment in self.loadable().filter(|segment| segment.p_memsz > 0) {
            end = map_segment(space, self.file, segment, bias)?.max(end);
        }
        let table = self.segments.iter().find_map(|segment| match segment.p_type {
            PT_PHDR => Some(segment.p_vaddr),
            // The segment that holds the table.
            PT_LOAD => {
                let within = self.header.e_phoff.checked_sub(segment.p_offset)?;
                (within < segment.p_filesz).then(|| segment.p_vaddr + within)
            }
            _ => None,
        });
        Ok(Loaded {
            bias,
            entry: bias.wrapping_add(self.header.e_entry),
            end,
            headers: (
                table.map_or(0, |table| bias.wrapping_add(table)),
                SEGMENT as u64,
                self.segments.len() as u64,
            ),
        })
    }

    /// What to add to the file's addresses so that it begins at `base`, at a place that all segments' alignments allow.
    fn bias(&self, space: &AddressSpace, base: Base) -> Result<u64, Errno> {
        let alignments = self.loadable().map(|segment| segment.p_align);
        let alignment = alignments.filter(|align| align.is_power_of_two()).max().unwrap_or(PAGE).max(PAGE);
        let start = self.loadable().map(|segment| segment.p_vaddr).min().unwrap_or(0) & !(alignment - 1);
        let end = self.loadable().map(|segment| segment.p_vaddr + segment.p_memsz).max().unwrap_or(0);
        let at = match base {
            Base::At(at) => at & !(alignment - 1),
            Base::Anywhere => {
                let bytes = (end - start).checked_add(alignment - PAGE).ok_or(Errno::ENOMEM)?;
                let bytes = bytes.checked_next_multiple_of(PAGE).ok_or(Errno::ENOMEM)?;
                // Nobody else maps anything in a space that no thread has.
                let free = space.map(MapRequest::anonymous(Place::Anywhere, bytes))?;
                space.unmap(free, bytes)?;
                free.as_u64().next_multiple_of(alignment)
            }
        };
        match (at + (end - start)) > STACK_BOTTOM {
            true => Err(Errno::ENOMEM),
            false => Ok(at.wrapping_sub(start)),
        }
    }
}

/// Maps one segment: pages of the file, then zeroes. Returns its end.
fn map_segment(
    space: &AddressSpace,
    file: &Program,
    segment: &ProgramHeader,
    bias: u64,
) -> Result<u64, Errno> {
    let start = bias.wrapping_add(segment.p_vaddr);
    let file_end = start + segment.p_filesz;
    let end = start + segment.p_memsz;
    let first_page = start & !(PAGE - 1);
    let zero_page = if segment.p_filesz == 0 { first_page } else { file_end.next_multiple_of(PAGE) };
    let prot = protection(segment.p_flags);

    if segment.p_filesz > 0 {
        let offset = segment.p_offset & !(PAGE - 1);
        let place = Place::Fixed(VirtAddr::new(first_page));
        space.map(MapRequest::object(place, zero_page - first_page, prot, file.object.clone(), offset))?;
        // Where zeroes follow, they follow up to the page's end: the dynamic linker uses what is left of its last page.
        let tail = (zero_page - file_end) as usize;
        if end > file_end && prot.contains(Prot::WRITE) {
            space.write(VirtAddr::new(file_end), &[0; PAGE as usize][..tail])?;
        }
    }
    if end > zero_page {
        let place = Place::Fixed(VirtAddr::new(zero_page));
        space.map(MapRequest { prot, ..MapRequest::anonymous(place, end - zero_page) })?;
    }
    Ok(end)
}

fn protection(flags: u32) -> Prot {
    let pairs = [(PF_R, Prot::READ), (PF_W, Prot::WRITE), (PF_X, Prot::EXEC)];
    pairs.into_iter().filter(|(flag, _)| flags & flag != 0).map(|(_, prot)| prot).collect()
}
