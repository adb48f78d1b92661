//! What a program finds on its stack: arguments, environment, auxiliary vector (System V ABI, AMD64 supplement,
//! section 3.4.1; man 3 getauxval).

use super::elf::Loaded;
use super::{PAGE, STACK_TOP};
use crate::errno::Errno;
use crate::fs;
use alloc::vec::Vec;
use linux_raw_sys::auxvec::*;
use mm::{AddressSpace, MapRequest, Place, Prot};
use x86_64::VirtAddr;

/// What is mapped below the arguments at the start, as on Linux.
const STACK_START: u64 = 128 << 10;
/// The least that a stack may grow to, whatever the limit says: nothing runs on less.
const SMALLEST_STACK: u64 = 1 << 20;
/// The most, if it is unlimited: below are the mappings.
const LARGEST_STACK: u64 = 1 << 30;

/// What a program is told at its start.
pub struct Contents<'a> {
    pub program: &'a Loaded,
    /// Where its dynamic linker was loaded; 0 without one.
    pub interpreter_base: u64,
    /// Where the vDSO is.
    pub vdso: u64,
    /// The name that was executed.
    pub name: &'a [u8],
    pub arguments: &'a [Vec<u8>],
    pub environment: &'a [Vec<u8>],
}

/// Maps the stack, which grows down when it is touched, up to `limit` bytes, and fills its top. Returns where the stack pointer
/// starts.
///
/// # Errors
/// `ENOMEM`; `E2BIG` when the contents do not leave room below the limit.
pub fn make(
    space: &AddressSpace,
    limit: u64,
    executable: bool,
    contents: &Contents<'_>,
) -> Result<VirtAddr, Errno> {
    let mut strings = Strings { bytes: Vec::new() };
    let platform = strings.push(b"x86_64");
    let name = strings.push(contents.name);
    let mut random = [0; 16];
    fs::random::fill(&mut random);
    let random = strings.push(&random);
    let arguments: Vec<usize> = contents.arguments.iter().map(|word| strings.push(word)).collect();
    let environment: Vec<usize> = contents.environment.iter().map(|word| strings.push(word)).collect();

    let strings_at = (STACK_TOP - strings.bytes.len() as u64) & !15;
    let at = |offset: usize| strings_at + offset as u64;
    let (headers, header_size, header_count) = contents.program.headers;
    let auxiliary = [
        (AT_SYSINFO_EHDR, contents.vdso),
        (AT_MINSIGSTKSZ, crate::signal::MIN_STACK),
        (AT_HWCAP, arch::cpu::hwcap()),
        (AT_PAGESZ, PAGE),
        (AT_CLKTCK, 100),
        (AT_PHDR, headers),
        (AT_PHENT, header_size),
        (AT_PHNUM, header_count),
        (AT_BASE, contents.interpreter_base),
        (AT_FLAGS, 0),
        (AT_ENTRY, contents.program.entry),
        (AT_UID, 0),
        (AT_EUID, 0),
        (AT_GID, 0),
        (AT_EGID, 0),
        (AT_SECURE, 0),
        (AT_RANDOM, at(random)),
        (AT_HWCAP2, arch::cpu::hwcap2()),
        (AT_EXECFN, at(name)),
        (AT_PLATFORM, at(platform)),
        (AT_NULL, 0),
    ];
    let mut words = Vec::from([arguments.len() as u64]);
    words.extend(arguments.into_iter().map(at).chain([0]));
    words.extend(environment.into_iter().map(at).chain([0]));
    words.extend(auxiliary.into_iter().flat_map(|(key, value)| [u64::from(key), value]));

    let words_at = (strings_at - 8 * words.len() as u64) & !15;
    map(space, STACK_TOP - words_at, limit, executable)?;
    space.write(VirtAddr::new(strings_at), &strings.bytes)?;
    space.write(VirtAddr::new(words_at), zerocopy::IntoBytes::as_bytes(words.as_slice()))?;
    Ok(VirtAddr::new(words_at))
}

/// Maps a stack that holds `used` bytes already.
fn map(space: &AddressSpace, used: u64, limit: u64, executable: bool) -> Result<(), Errno> {
    let limit = limit.clamp(SMALLEST_STACK, LARGEST_STACK) & !(PAGE - 1);
    let bytes = (used + STACK_START).next_multiple_of(PAGE);
    if bytes > limit {
        return Err(Errno::E2BIG);
    }
    let prot = if executable { Prot::RW | Prot::EXEC } else { Prot::RW };
    space.map(MapRequest {
        prot,
        grows_down: Some(limit),
        label: "[stack]",
        ..MapRequest::anonymous(Place::Fixed(VirtAddr::new(STACK_TOP - bytes)), bytes)
    })?;
    Ok(())
}

/// The strings at the top of the stack, each with its terminator.
struct Strings {
    bytes: Vec<u8>,
}

impl Strings {
    /// Adds a string and returns its offset.
    fn push(&mut self, string: &[u8]) -> usize {
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(string);
        self.bytes.push(0);
        offset
    }
}
