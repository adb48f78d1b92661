//! What QEMU tells: `hvm_start_info`, as Xen's public header `arch-x86/hvm/start_info.h` defines it.

use core::ffi::{CStr, c_char};
use core::slice;
use x86_64::PhysAddr;

/// What the loader needs of it. All of it lies where QEMU put it, in memory that the loader does not touch.
pub struct StartInfo {
    pub memory_map: &'static [MemoryMapEntry],
    /// The file that `-initrd` names.
    pub archive: Option<&'static [u8]>,
    pub command_line: &'static CStr,
    /// The root of the ACPI tables.
    pub rsdp: Option<PhysAddr>,
}

#[repr(C)]
struct Raw {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    command_line: u64,
    rsdp: u64,
    // Since version 1.
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

const MAGIC: u32 = 0x336e_c578;

#[repr(C)]
struct Module {
    address: u64,
    bytes: u64,
    command_line: u64,
    reserved: u64,
}

/// A region of physical memory.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MemoryMapEntry {
    pub start: u64,
    pub bytes: u64,
    /// As in the BIOS's memory map: 1 is memory.
    pub kind: u32,
    reserved: u32,
}

impl StartInfo {
    /// Reads the structure at `address`.
    ///
    /// # Errors
    /// When it is not one, or QEMU is too old to give a memory map.
    ///
    /// # Safety
    /// Who entered the loader promises by the PVH protocol that the structure is at `address`. It and what it points to is
    /// mapped at its physical address, and nobody changes it.
    pub unsafe fn read(address: PhysAddr) -> Result<Self, &'static str> {
        // SAFETY: our caller promises the structure; the magic number is in all versions of it.
        let raw = unsafe { &*(address.as_u64() as *const Raw) };
        if raw.magic != MAGIC {
            return Err("it was not entered by the PVH protocol: start it with qemu-system-x86_64 -kernel");
        }
        if raw.version < 1 || raw.memory_map_entries == 0 {
            return Err("QEMU gives no memory map: it has to be version 4.0 or later");
        }
        // SAFETY: our caller promises that what the structure points to is there, of the lengths that it says.
        unsafe {
            let modules = at::<Module>(raw.module_list, raw.modules as usize);
            Ok(Self {
                memory_map: at(raw.memory_map, raw.memory_map_entries as usize),
                archive: modules.first().map(|module| at(module.address, module.bytes as usize)),
                command_line: match raw.command_line {
                    0 => c"",
                    text => CStr::from_ptr(text as *const c_char),
                },
                rsdp: (raw.rsdp != 0).then(|| PhysAddr::new_truncate(raw.rsdp)),
            })
        }
    }
}

/// # Safety
/// Unless `count` is 0, so many values are at `address`, and nobody changes them.
unsafe fn at<T>(address: u64, count: usize) -> &'static [T] {
    match count {
        0 => &[],
        // SAFETY: passed on to our caller.
        _ => unsafe { slice::from_raw_parts(address as *const T, count) },
    }
}
