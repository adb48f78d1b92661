//! What a program finds on its stack: arguments, environment, auxiliary vector (System V ABI, AMD64 supplement,
//! section 3.4.1; man 3 getauxval).

use super::elf::Loaded;
use super::{Arguments, PAGE, STACK_TOP, Strings};
use crate::errno::Errno;
use crate::fs;
use linux_raw_sys::auxvec::*;
use mm::{AddressSpace, MapRequest, Place, Prot};
use smallvec::SmallVec;
use x86_64::VirtAddr;
use zerocopy::IntoBytes;

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
    pub arguments: &'a Arguments,
    pub environment: &'a Strings,
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
    let Contents { arguments, environment, .. } = contents;
    let mut random = [0; 16];
    fs::random::fill(&mut random);
    let own = [contents.name, b"\0x86_64\0", &random].concat();
    let bytes = own.len() + arguments.len() + environment.len();
    let strings_at = (STACK_TOP - bytes as u64) & !15;
    let platform_at = strings_at + contents.name.len() as u64 + 1;
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
        (AT_RANDOM, strings_at + (own.len() - random.len()) as u64),
        (AT_HWCAP2, arch::cpu::hwcap2()),
        (AT_EXECFN, strings_at),
        (AT_PLATFORM, platform_at),
        (AT_NULL, 0),
    ];
    // The number of arguments, and a null behind each list.
    let words = 1 + arguments.count() + 1 + environment.count() + 1 + 2 * auxiliary.len();
    let words_at = (strings_at - 8 * words as u64) & !15;
    map(space, STACK_TOP - words_at, limit, executable)?;

    let mut strings = Bytes { space, at: strings_at };
    strings.write(&own)?;
    let mut words = Words { to: Bytes { space, at: words_at }, buffer: SmallVec::new() };
    words.push(arguments.count() as u64)?;
    let mut list = List::new(&mut strings, &mut words);
    arguments.pieces(|piece| list.write(piece))?;
    words.push(0)?;
    let mut list = List::new(&mut strings, &mut words);
    environment.pieces(|piece| list.write(piece))?;
    words.push(0)?;
    for (key, value) in auxiliary {
        words.push(key.into())?;
        words.push(value)?;
    }
    words.flush()?;
    Ok(VirtAddr::new(words_at))
}

/// Bytes that are written upwards.
struct Bytes<'s> {
    space: &'s AddressSpace,
    at: u64,
}

impl Bytes<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        self.space.write(VirtAddr::new(self.at), bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// Words that are written upwards, many at a time.
struct Words<'s> {
    to: Bytes<'s>,
    buffer: SmallVec<[u64; BATCH]>,
}

/// How many words are written at once.
const BATCH: usize = 64;

impl Words<'_> {
    fn push(&mut self, word: u64) -> Result<(), Errno> {
        self.buffer.push(word);
        if self.buffer.len() == BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Errno> {
        self.to.write(self.buffer.as_slice().as_bytes())?;
        self.buffer.clear();
        Ok(())
    }
}

/// Writes strings, and where each of them begins.
struct List<'w, 's> {
    strings: &'w mut Bytes<'s>,
    words: &'w mut Words<'s>,
    /// The next byte is the first of a string.
    begins: bool,
}

impl<'w, 's> List<'w, 's> {
    fn new(strings: &'w mut Bytes<'s>, words: &'w mut Words<'s>) -> Self {
        Self { strings, words, begins: true }
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), Errno> {
        for (offset, byte) in (0..).zip(piece) {
            if self.begins {
                self.words.push(self.strings.at + offset)?;
            }
            self.begins = *byte == 0;
        }
        self.strings.write(piece)
    }
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
