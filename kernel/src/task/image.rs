//! A program's memory before its first instruction: segments, stack, arguments, auxiliary vector.
//!
//! Static and static-pie ELF files (System V ABI, AMD64 supplement, section 3.4 for the stack; man 3 getauxval for the
//! vector). An interpreter is not loaded yet.

use crate::errno::Errno;
use crate::fs::{self, FsContext, Program};
use alloc::{string::String, sync::Arc, vec::Vec};
use elf::abi::{EM_X86_64, ET_DYN, ET_EXEC, PF_R, PF_W, PF_X, PT_INTERP, PT_LOAD, PT_PHDR};
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;
use elf::{ElfBytes, file::FileHeader};
use linux_raw_sys::auxvec::*;
use mm::{AddressSpace, MapRequest, Place, Prot};
use x86_64::VirtAddr;

const PAGE: u64 = 4096;

/// Where position-independent programs go, as on Linux without randomisation (`ELF_ET_DYN_BASE`).
const PIE_BASE: u64 = 0x5555_5555_4000;
/// The page above the stack stays free.
const STACK_TOP: u64 = 0x7fff_ffff_e000;
/// Linux's default RLIMIT_STACK.
const STACK_SIZE: u64 = 8 << 20;
/// What is mapped of it at the start: arguments and environment fit in any case.
const STACK_START: u64 = 3 << 20;

/// What exec and the first start need.
pub struct Image {
    pub space: Arc<AddressSpace>,
    pub entry: VirtAddr,
    pub stack: VirtAddr,
    /// At most 15 bytes, as `comm`.
    pub name: String,
    /// The program's absolute path.
    pub executable: String,
    /// `argv` as in `/proc/PID/cmdline`.
    pub command_line: Vec<u8>,
}

/// Makes the memory of `program` and puts what it expects into it.
///
/// # Errors
/// What opening the file gives; `ENOEXEC` for what is no x86-64 program; `E2BIG`, `ENOMEM`.
pub fn load(
    program: &str,
    context: &FsContext,
    arguments: &[Vec<u8>],
    environment: &[Vec<u8>],
) -> Result<Image, Errno> {
    let file = fs::open_program(program, context)?;
    let elf = ElfBytes::<LittleEndian>::minimal_parse(file.data).map_err(|_| Errno::ENOEXEC)?;
    let segments = elf.segments().ok_or(Errno::ENOEXEC)?;
    let base = check(&elf.ehdr, segments.iter())?;

    let space = Arc::new(AddressSpace::new()?);
    let mut end = 0;
    for segment in segments.iter().filter(|segment| segment.p_type == PT_LOAD) {
        end = map_segment(&space, &file, &segment, base)?.max(end);
    }
    space.set_brk_start(VirtAddr::new(end.next_multiple_of(PAGE)));
    map_stack(&space)?;

    let headers = Headers {
        // Where the program finds its own headers: PT_PHDR, or the segment that holds them.
        address: segments
            .iter()
            .find_map(|segment| match segment.p_type {
                PT_PHDR => Some(base + segment.p_vaddr),
                PT_LOAD if segment.p_offset == 0 => Some(base + segment.p_vaddr + elf.ehdr.e_phoff),
                _ => None,
            })
            .unwrap_or(0),
        entry: base + elf.ehdr.e_entry,
        size: elf.ehdr.e_phentsize.into(),
        count: elf.ehdr.e_phnum.into(),
    };
    let stack = fill_stack(&space, &headers, program, arguments, environment)?;
    Ok(Image {
        space,
        entry: VirtAddr::try_new(headers.entry).map_err(|_| Errno::ENOEXEC)?,
        stack,
        name: comm(program),
        executable: file.path,
        command_line: arguments.iter().flat_map(|word| word.iter().copied().chain([0])).collect(),
    })
}

/// What the auxiliary vector tells a program of itself.
struct Headers {
    address: u64,
    entry: u64,
    size: u64,
    count: u64,
}

/// The address that is added to all of the file's; an error unless it is a program that can be run.
fn check(
    header: &FileHeader<LittleEndian>,
    segments: impl Iterator<Item = ProgramHeader>,
) -> Result<u64, Errno> {
    if header.e_machine != EM_X86_64 {
        return Err(Errno::ENOEXEC);
    }
    let base = match header.e_type {
        ET_EXEC => 0,
        ET_DYN => PIE_BASE,
        _ => return Err(Errno::ENOEXEC),
    };
    let mut loadable = 0;
    for segment in segments {
        match segment.p_type {
            // Without its interpreter it would jump into nowhere.
            PT_INTERP => return Err(Errno::ENOEXEC),
            PT_LOAD => {
                let end = segment.p_vaddr.checked_add(segment.p_memsz).and_then(|end| end.checked_add(base));
                if end.is_none_or(|end| end > STACK_TOP - STACK_SIZE)
                    || segment.p_filesz > segment.p_memsz
                    || segment.p_offset % PAGE != segment.p_vaddr % PAGE
                {
                    return Err(Errno::ENOEXEC);
                }
                loadable += 1;
            }
            _ => {}
        }
    }
    if loadable == 0 { Err(Errno::ENOEXEC) } else { Ok(base) }
}

/// Maps one segment: pages of the file, then zeroes. Returns its end.
fn map_segment(
    space: &AddressSpace,
    file: &Program,
    segment: &ProgramHeader,
    base: u64,
) -> Result<u64, Errno> {
    let start = base + segment.p_vaddr;
    let file_end = start + segment.p_filesz;
    let end = start + segment.p_memsz;
    let first_page = start & !(PAGE - 1);
    let zero_page = if segment.p_filesz == 0 { first_page } else { file_end.next_multiple_of(PAGE) };
    let prot = protection(segment.p_flags);

    if segment.p_filesz > 0 {
        let offset = segment.p_offset & !(PAGE - 1);
        let place = Place::Fixed(VirtAddr::new(first_page));
        space.map(MapRequest::object(place, zero_page - first_page, prot, file.object.clone(), offset))?;
        // What follows the file's bytes in the last page belongs to the zeroes.
        let tail = (zero_page - file_end).min(end - file_end) as usize;
        if tail > 0 && prot.contains(Prot::WRITE) {
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

/// Maps the stack, which grows down when it is touched.
fn map_stack(space: &AddressSpace) -> Result<(), Errno> {
    let place = Place::Fixed(VirtAddr::new(STACK_TOP - STACK_START));
    let request = MapRequest {
        grows_down: Some(STACK_SIZE),
        label: "[stack]",
        ..MapRequest::anonymous(place, STACK_START)
    };
    space.map(request)?;
    Ok(())
}

/// The last part of a path, cut to what `comm` holds.
fn comm(program: &str) -> String {
    let name = program.rsplit('/').next().unwrap_or(program);
    let mut end = name.len().min(15);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    String::from(&name[..end])
}

/// Fills the top of the stack and returns where the stack pointer starts.
fn fill_stack(
    space: &AddressSpace,
    headers: &Headers,
    program: &str,
    arguments: &[Vec<u8>],
    environment: &[Vec<u8>],
) -> Result<VirtAddr, Errno> {
    let mut strings = StackStrings { bytes: Vec::new() };
    let platform = strings.push(b"x86_64");
    let name = strings.push(program.as_bytes());
    let mut random = [0; 16];
    fs::random::fill(&mut random);
    let random = strings.push(&random);
    let arguments: Vec<usize> = arguments.iter().map(|word| strings.push(word)).collect();
    let environment: Vec<usize> = environment.iter().map(|word| strings.push(word)).collect();

    let strings_at = (STACK_TOP - strings.bytes.len() as u64) & !15;
    let at = |offset: usize| strings_at + offset as u64;
    let auxiliary = [
        (AT_HWCAP, arch::cpu::hwcap()),
        (AT_PAGESZ, PAGE),
        (AT_CLKTCK, 100),
        (AT_PHDR, headers.address),
        (AT_PHENT, headers.size),
        (AT_PHNUM, headers.count),
        (AT_BASE, 0),
        (AT_FLAGS, 0),
        (AT_ENTRY, headers.entry),
        (AT_UID, 0),
        (AT_EUID, 0),
        (AT_GID, 0),
        (AT_EGID, 0),
        (AT_SECURE, 0),
        (AT_RANDOM, at(random)),
        (AT_EXECFN, at(name)),
        (AT_PLATFORM, at(platform)),
        (AT_MINSIGSTKSZ, crate::signal::MIN_STACK),
        (AT_NULL, 0),
    ];
    let mut words = Vec::from([arguments.len() as u64]);
    words.extend(arguments.into_iter().map(at).chain([0]));
    words.extend(environment.into_iter().map(at).chain([0]));
    words.extend(auxiliary.into_iter().flat_map(|(key, value)| [u64::from(key), value]));

    let words_at = (strings_at - 8 * words.len() as u64) & !15;
    space.write(VirtAddr::new(strings_at), &strings.bytes)?;
    space.write(VirtAddr::new(words_at), zerocopy::IntoBytes::as_bytes(words.as_slice()))?;
    Ok(VirtAddr::new(words_at))
}

/// The strings at the top of the stack, each with its terminator.
struct StackStrings {
    bytes: Vec<u8>,
}

impl StackStrings {
    /// Adds a string and returns its offset.
    fn push(&mut self, string: &[u8]) -> usize {
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(string);
        self.bytes.push(0);
        offset
    }
}
