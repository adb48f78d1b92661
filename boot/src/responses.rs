//! The kernel's requests, and the answers to them (Limine boot protocol, base revision 3).
//!
//! A request is a structure of 64-bit words in the kernel's image: four of identity, the revision, the address of the response
//! (written here), and what the request has to say. What is not answered stays 0, as the protocol has it.

use crate::arena::Arena;
use crate::kernel::Kernel;
use crate::memory::Memory;
use crate::paging::{WINDOW, direct};
use crate::start_info::StartInfo;
use arrayvec::ArrayVec;
use core::ffi::CStr;
use core::slice;
use limine::request::{
    BootloaderInfoRequest, EntryPointRequest, ExecutableAddressRequest, ExecutableCmdlineRequest,
    ExecutableFileRequest, HhdmRequest, MemoryMapRequest, ModuleRequest, PagingModeRequest,
    RequestsEndMarker, RequestsStartMarker, RsdpRequest, StackSizeRequest,
};
use limine::{BaseRevision, file};
use x86_64::{PhysAddr, VirtAddr};

const BASE_REVISION: u64 = 3;
/// The revision of all responses.
const REVISION: u64 = 0;

/// Words of a request.
const RESPONSE: usize = 5;
const ARGUMENT: usize = 6;
/// The least paging mode that the kernel accepts; there since revision 1.
const LEAST_PAGING_MODE: usize = 8;
const FOUR_LEVELS: u64 = 0;

#[repr(C)]
#[derive(Clone, Copy)]
struct Response<T> {
    revision: u64,
    body: T,
}

/// The part of the kernel's image that may hold requests.
pub struct Requests {
    words: &'static mut [u64],
}

impl Requests {
    /// The requests in the image of a kernel: between the markers, if there are any.
    pub fn find(image: *mut [u8]) -> Self {
        // SAFETY: the loader owns the image, in whole pages, until it enters the kernel.
        let words = unsafe { slice::from_raw_parts_mut(image.cast::<u64>(), image.len() / size_of::<u64>()) };
        let (start, end) = (RequestsStartMarker::new(), RequestsEndMarker::new());
        let (start, end) = (words_of(&start), words_of(&end));
        let first = position(words, start).map_or(0, |at| at + start.len());
        let last = position(&words[first..], end).map_or(words.len(), |at| first + at);
        Self { words: &mut words[first..last] }
    }

    fn request(&mut self, id: &[u64; 4]) -> Option<&mut [u64]> {
        position(self.words, id).map(|at| &mut self.words[at..])
    }

    fn argument(&mut self, id: &[u64; 4]) -> Option<u64> {
        self.request(id)?.get(ARGUMENT).copied()
    }

    /// How much stack the kernel asks for.
    pub fn stack_bytes(&mut self) -> Option<u64> {
        self.argument(StackSizeRequest::new().id())
    }

    /// Where the kernel wants to be entered instead of its file's entry.
    pub fn entry(&mut self) -> Option<VirtAddr> {
        let entry = self.argument(EntryPointRequest::new().id())?;
        VirtAddr::try_new(entry).ok()
    }

    fn respond<T: Copy>(&mut self, id: &[u64; 4], body: T, arena: &mut Arena) -> Result<(), &'static str> {
        if let Some(slot) = self.request(id).and_then(|request| request.get_mut(RESPONSE)) {
            *slot = arena.put(Response { revision: REVISION, body })?.as_u64();
        }
        Ok(())
    }

    /// Answers all requests that the loader knows.
    pub fn answer(
        &mut self,
        kernel: &Kernel,
        file: &'static [u8],
        info: &StartInfo,
        memory: &Memory,
        arena: &mut Arena,
    ) -> Result<(), &'static str> {
        self.agree_on_revision();
        let command_line = arena.put_all(info.command_line.to_bytes_with_nul())?.as_u64();
        self.respond(HhdmRequest::new().id(), WINDOW.as_u64(), arena)?;
        self.respond(
            ExecutableAddressRequest::new().id(),
            [kernel.physical.as_u64(), kernel.start.as_u64()],
            arena,
        )?;
        self.respond(ExecutableCmdlineRequest::new().id(), command_line, arena)?;
        self.respond(StackSizeRequest::new().id(), (), arena)?;
        self.respond(EntryPointRequest::new().id(), (), arena)?;
        if let Some(rsdp) = info.rsdp {
            // A physical address in this base revision.
            self.respond(RsdpRequest::new().id(), rsdp.as_u64(), arena)?;
        }

        let name = [put_text(c"Tine PVH loader", arena)?, put_text(VERSION, arena)?];
        self.respond(BootloaderInfoRequest::new().id(), name, arena)?;

        let kernel_file = put_file(c"/kernel", file, command_line, arena)?;
        self.respond(ExecutableFileRequest::new().id(), kernel_file, arena)?;

        let archive =
            put_file(c"/initramfs.cpio", info.archive.unwrap_or_default(), put_text(c"", arena)?, arena)?;
        let modules = arena.put(archive)?.as_u64();
        self.respond(ModuleRequest::new().id(), [1, modules], arena)?;

        self.answer_paging_mode(arena)?;
        self.answer_memory_map(memory, arena)
    }

    /// Writes that the loader follows base revision 3, and that this is what was asked for if it is.
    fn agree_on_revision(&mut self) {
        let tag = BaseRevision::with_revision(BASE_REVISION);
        let [id @ .., _] = words_of(&tag) else { return };
        if let Some([_, loaded, wanted, ..]) = position(self.words, id).map(|at| &mut self.words[at..]) {
            *loaded = BASE_REVISION;
            if *wanted == BASE_REVISION {
                *wanted = 0;
            }
        }
    }

    fn answer_paging_mode(&mut self, arena: &mut Arena) -> Result<(), &'static str> {
        let id = PagingModeRequest::with_revision(1);
        let Some(request) = self.request(id.id()) else { return Ok(()) };
        let revision = request[RESPONSE - 1];
        if revision >= 1 && request.get(LEAST_PAGING_MODE).is_some_and(|&least| least > FOUR_LEVELS) {
            return Err("the kernel wants more than four levels of page tables");
        }
        self.respond(id.id(), FOUR_LEVELS, arena)
    }

    fn answer_memory_map(&mut self, memory: &Memory, arena: &mut Arena) -> Result<(), &'static str> {
        let mut entries = ArrayVec::<u64, 128>::new();
        for entry in memory.entries() {
            entries.push(arena.put(*entry)?.as_u64());
        }
        let list = arena.put_all(&entries)?.as_u64();
        self.respond(MemoryMapRequest::new().id(), [entries.len() as u64, list], arena)
    }
}

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("a version has no zero bytes"),
};

fn position(words: &[u64], pattern: &[u64]) -> Option<usize> {
    let first = pattern.first()?;
    words.windows(pattern.len()).position(|window| window[0] == *first && window == pattern)
}

fn put_text(text: &CStr, arena: &mut Arena) -> Result<u64, &'static str> {
    Ok(arena.put_all(text.to_bytes_with_nul())?.as_u64())
}

/// The protocol's description of a file in memory: only where it is, its name and its string; no medium is known.
fn put_file(path: &CStr, data: &[u8], string: u64, arena: &mut Arena) -> Result<u64, &'static str> {
    let mut words = [0; size_of::<file::File>() / size_of::<u64>()];
    let address = direct(PhysAddr::new(data.as_ptr().addr() as u64)).as_u64();
    words[..5].copy_from_slice(&[REVISION, address, data.len() as u64, put_text(path, arena)?, string]);
    Ok(arena.put(words)?.as_u64())
}

/// A marker or tag of the protocol as the words that it consists of.
fn words_of<T>(value: &T) -> &[u64] {
    const { assert!(size_of::<T>().is_multiple_of(size_of::<u64>()) && align_of::<T>() == align_of::<u64>()) };
    // SAFETY: the structures of the protocol that this is called for consist of initialised words.
    unsafe { slice::from_raw_parts((&raw const *value).cast(), size_of::<T>() / size_of::<u64>()) }
}
