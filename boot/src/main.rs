//! The loader for `qemu-system-x86_64 -kernel`.
//!
//! QEMU enters it by the PVH protocol, in 32-bit mode. `-initrd` is one `newc` cpio archive; the file `kernel` in it is loaded,
//! and handed what Limine would hand it: base revision 3 of the Limine boot protocol, so that the kernel knows one way only to
//! be started. Drives no disk, no screen and no other CPU.
//!
//! Start at [`load`], which is the whole story; [`entry`] is what comes before, [`handoff`] what comes after.
#![no_std]
#![no_main]

mod arena;
mod console;
mod entry;
mod handoff;
mod interrupts;
mod kernel;
mod memory;
mod paging;
mod responses;
mod start_info;

/// The exit statuses, as kernel and host know them. (The rest of their crate wants a heap.)
#[path = "../../tools/formats/src/exit.rs"]
#[expect(dead_code, reason = "a loader can only fail")]
mod exit;

use arena::Arena;
use handoff::Handoff;
use limine::memory_map::EntryType;
use memory::Memory;
use paging::Tables;
use start_info::StartInfo;
use x86_64::PhysAddr;

/// What the kernel gets at least (Limine's is 64 KiB, too).
const STACK_BYTES: u64 = 64 * 1024;

/// Loads the kernel and enters it. `start_info` is what QEMU left in EBX.
///
/// # Errors
/// A sentence for the user.
fn load(start_info: PhysAddr) -> Result<core::convert::Infallible, &'static str> {
    // SAFETY: QEMU promises by the PVH protocol that its structure is there, and the provisional page tables map it.
    let info = unsafe { StartInfo::read(start_info) }?;
    let archive = info.archive.ok_or("there is no archive with the kernel: give QEMU one with -initrd")?;
    let mut memory = Memory::new(info.memory_map, archive)?;

    let file = kernel::find(archive)?;
    let kernel = kernel::load(file, &mut memory)?;
    let mut responses = responses::Requests::find(kernel.memory);
    let stack_bytes = responses.stack_bytes().unwrap_or(0).max(STACK_BYTES);
    let stack = memory.allocate(stack_bytes, EntryType::BOOTLOADER_RECLAIMABLE)?;

    let mut tables = Tables::new(&mut memory)?;
    tables.map_physical(&mut memory)?;
    kernel.segments()?.try_for_each(|segment| tables.map_segment(&segment, &mut memory))?;

    let mut arena = Arena::new(&mut memory)?;
    responses.answer(&kernel, file, &info, &memory, &mut arena)?;
    interrupts::mask();
    handoff::enter(Handoff {
        page_tables: tables.root(),
        stack_top: paging::direct(stack + stack_bytes),
        entry: responses.entry().unwrap_or(kernel.entry),
    })
}
