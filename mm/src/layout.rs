//! Where things are in the virtual address space.
//!
//! The upper half is the same in all address spaces; its top-level entries are filled in once, at boot. The kernel's image
//! and the window on physical memory are where the boot loader put them.

use x86_64::VirtAddr;

/// The lowest address that a program can map: a null pointer with a large offset still faults (Linux's
/// `vm.mmap_min_addr`).
pub const USER_START: VirtAddr = VirtAddr::new_truncate(0x1_0000);

/// The first address beyond what programs can map. The topmost page of the lower half stays unmapped: a SYSCALL instruction
/// at its end would make SYSRET return to a non-canonical address, which faults in kernel mode on Intel's processors.
pub const USER_END: VirtAddr = VirtAddr::new_truncate(0x7fff_ffff_f000);

/// The top of the first thread's stack.
pub const STACK_TOP: VirtAddr = USER_END;

/// Where the search for a free range starts, downwards. Stacks of up to 8 MiB fit above it with their gap; one page table
/// of each upper level serves stack and mappings.
pub const MMAP_TOP: VirtAddr = VirtAddr::new_truncate(0x7fff_fe00_0000);

/// Where position-independent programs are loaded: below the mappings, under the same tables of the upper levels, so that
/// fork has fewer to copy.
pub const PIE_BASE: VirtAddr = VirtAddr::new_truncate(0x7fff_c000_0000);

/// Pages that stay free below a stack that can grow, as Linux's `stack_guard_gap`.
pub const STACK_GAP_PAGES: u64 = 256;

/// Device registers, see [`crate::kernel::map_device`].
pub(crate) const DEVICES: VirtAddr = VirtAddr::new_truncate(0xffff_fe80_0000_0000);

/// Kernel stacks, see [`crate::stacks`].
pub(crate) const STACKS: VirtAddr = VirtAddr::new_truncate(0xffff_ff00_0000_0000);
