//! What the kernel asks its loader for: the requests of the Limine boot protocol.
//!
//! The request for multi-processing is not among them: the kernel starts the other CPUs by itself.

use limine::BaseRevision;
use limine::request::{
    BootloaderInfoRequest, ExecutableAddressRequest, ExecutableCmdlineRequest, ExecutableFileRequest,
    HhdmRequest, MemoryMapRequest, ModuleRequest, RequestsEndMarker, RequestsStartMarker, RsdpRequest,
};

/// All requests in one piece, so that the linker keeps all or none and the markers are around them.
#[repr(C, align(8))]
pub(super) struct Requests {
    start: RequestsStartMarker,
    pub base_revision: BaseRevision,
    pub bootloader: BootloaderInfoRequest,
    pub hhdm: HhdmRequest,
    pub memory_map: MemoryMapRequest,
    pub file: ExecutableFileRequest,
    pub address: ExecutableAddressRequest,
    pub cmdline: ExecutableCmdlineRequest,
    pub modules: ModuleRequest,
    pub rsdp: RsdpRequest,
    end: RequestsEndMarker,
}

/// The loader finds this by its magic numbers and writes the addresses of its responses into it before the kernel runs.
///
/// Base revision 3 is what Limine 8 and 9 offer. An older loader ignores what it does not know and follows its own latest
/// revision; the kernel relies only on what all of them have in common.
#[used]
#[unsafe(link_section = ".limine_requests")]
pub(super) static REQUESTS: Requests = Requests {
    start: RequestsStartMarker::new(),
    base_revision: BaseRevision::with_revision(3),
    bootloader: BootloaderInfoRequest::new(),
    hhdm: HhdmRequest::new(),
    memory_map: MemoryMapRequest::new(),
    file: ExecutableFileRequest::new(),
    address: ExecutableAddressRequest::new(),
    cmdline: ExecutableCmdlineRequest::new(),
    modules: ModuleRequest::new(),
    rsdp: RsdpRequest::new(),
    end: RequestsEndMarker::new(),
};
