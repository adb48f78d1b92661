//! The kernel's first instructions, and the reading of the loader's responses.

use super::image;
use super::info::{BootInfo, MemoryKind, MemoryRegion, Module};
use super::requests::REQUESTS;
use crate::{power, time};
use arrayvec::{ArrayString, ArrayVec};
use limine::file::File;
use limine::memory_map::EntryType;
use spin::Once;
use x86_64::{PhysAddr, VirtAddr};

const PAGE: u64 = 4096;

/// Where the loader jumps to, in 64-bit mode with paging on and interrupts off. Takes no arguments; RSP is the loader's, and
/// is replaced by the top of the boot stack, which the linker script reserves. A zero return address and frame pointer end
/// backtraces.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    core::arch::naked_asm!(
        "lea rsp, [rip + __stack_end]",
        "xor ebp, ebp",
        "push rbp",
        "jmp {start}",
        start = sym start,
    )
}

unsafe extern "Rust" {
    /// The kernel's first function, which [`entry!`](super::entry) names.
    safe fn tine_kernel_main(info: &'static BootInfo) -> !;
}

extern "C" fn start() -> ! {
    time::start_clock();
    static INFO: Once<BootInfo> = Once::new();
    match read() {
        Ok(info) => tine_kernel_main(INFO.call_once(|| info)),
        Err(missing) => power::fail(format_args!("the boot loader does not suit this kernel: {missing}")),
    }
}

/// Reads what the loader says.
///
/// # Errors
/// What is missing or wrong.
fn read() -> Result<BootInfo, &'static str> {
    let hhdm_offset =
        REQUESTS.hhdm.get_response().ok_or("it offers no direct map of physical memory")?.offset();
    let hhdm_offset =
        VirtAddr::try_new(hhdm_offset).map_err(|_| "its direct map has no canonical address")?;
    let file = REQUESTS.file.get_response().map(|response| response.file());
    let address = REQUESTS.address.get_response().ok_or("it does not say where it put the kernel")?;
    Ok(BootInfo {
        memory_map: memory_map()?,
        hhdm_offset,
        rsdp: REQUESTS.rsdp.get_response().map(|response| rsdp(response.address() as u64, hhdm_offset)),
        image: image::segments(PhysAddr::new(address.physical_base())),
        kernel_file: file.map_or(&[], contents),
        cmdline: cmdline(file)?,
        modules: modules()?,
        bootloader: bootloader(),
        base_revision: REQUESTS.base_revision.loaded_revision(),
    })
}

fn memory_map() -> Result<ArrayVec<MemoryRegion, 256>, &'static str> {
    let entries = REQUESTS.memory_map.get_response().ok_or("it gives no memory map")?.entries();
    let mut regions = ArrayVec::<MemoryRegion, 256>::new();
    for entry in entries.iter().filter(|entry| entry.length > 0) {
        let kind = match entry.entry_type {
            EntryType::USABLE => MemoryKind::Usable,
            EntryType::BOOTLOADER_RECLAIMABLE => MemoryKind::Reclaimable,
            EntryType::EXECUTABLE_AND_MODULES => MemoryKind::Kernel,
            EntryType::ACPI_RECLAIMABLE | EntryType::ACPI_NVS => MemoryKind::Firmware,
            EntryType::FRAMEBUFFER => MemoryKind::Framebuffer,
            _ => MemoryKind::Reserved,
        };
        let start = PhysAddr::try_new(entry.base).map_err(|_| "its memory map goes beyond 52 bits")?;
        if matches!(kind, MemoryKind::Usable | MemoryKind::Reclaimable)
            && !(entry.base.is_multiple_of(PAGE) && entry.length.is_multiple_of(PAGE))
        {
            return Err("its memory map splits pages");
        }
        let region = MemoryRegion { start, bytes: entry.length, kind };
        regions.try_push(region).map_err(|_| "its memory map has more than 256 entries")?;
    }
    Ok(regions)
}

/// The RSDP's physical address. Base revision 3 gives that; all others give where it is in the direct map.
fn rsdp(address: u64, hhdm_offset: VirtAddr) -> PhysAddr {
    PhysAddr::new_truncate(address.checked_sub(hhdm_offset.as_u64()).unwrap_or(address))
}

/// The command line: from its own request, which Limine has since version 8.4, else from the kernel file's description.
fn cmdline(file: Option<&'static File>) -> Result<ArrayString<2048>, &'static str> {
    let text = match REQUESTS.cmdline.get_response() {
        Some(response) => response.cmdline(),
        None => file.map_or(c"", File::string),
    };
    let text = text.to_str().map_err(|_| "the command line is not UTF-8")?;
    ArrayString::from(text).map_err(|_| "the command line has more than 2048 bytes")
}

fn modules() -> Result<ArrayVec<Module, 8>, &'static str> {
    let mut modules = ArrayVec::new();
    for file in REQUESTS.modules.get_response().map_or(&[][..], |response| response.modules()) {
        let path = file.path().to_str().ok().and_then(|path| ArrayString::from(path).ok());
        let path = path.ok_or("the path of a module is not UTF-8 or has more than 256 bytes")?;
        let module = Module { path, data: contents(file) };
        modules.try_push(module).map_err(|_| "there are more than 8 modules")?;
    }
    Ok(modules)
}

fn bootloader() -> ArrayString<64> {
    let mut text = ArrayString::new();
    if let Some(response) = REQUESTS.bootloader.get_response() {
        for part in [response.name(), " ", response.version()] {
            // A name that does not fit is cut off: nobody depends on it.
            let _ = text.try_push_str(part);
        }
    }
    text
}

/// The bytes of a file that the loader put into memory.
fn contents(file: &File) -> &'static [u8] {
    if file.size() == 0 {
        return &[];
    }
    // SAFETY: the protocol says that this many bytes are mapped there, in memory that the memory map keeps for the kernel and
    // its modules, which nobody writes to; the kernel maps it at the same address in its own page tables.
    unsafe { core::slice::from_raw_parts(file.addr(), file.size() as usize) }
}
