//! How the kernel is entered, and what it is told about the machine.
//!
//! Speaks the Limine boot protocol, base revisions 0 to 6, with Limine itself or with Tine's own loader on the other side.
//! Everything that the loader says is checked and copied, so the loader's memory may be used for other things afterwards.
//! Does not start other CPUs, and does not change the loader's page tables.
//!
//! A kernel names its first function with [`entry!`](crate::boot_entry); it gets a [`BootInfo`].

mod image;
mod info;
mod requests;
mod start;

pub use crate::boot_entry as entry;
pub use image::Segment;
pub use info::{BootInfo, MemoryKind, MemoryRegion, Module};

/// Makes a `fn(&'static BootInfo) -> !` the kernel's first function. It runs on the boot CPU with interrupts off, on
/// a guarded stack of 64 KiB that stays its own, with the loader's page tables and descriptors.
#[macro_export]
macro_rules! boot_entry {
    ($main:path) => {
        #[allow(unsafe_code)]
        const _: () = {
            /// What `arch::boot` calls.
            #[unsafe(no_mangle)]
            fn tine_kernel_main(info: &'static $crate::boot::BootInfo) -> ! {
                let main: fn(&'static $crate::boot::BootInfo) -> ! = $main;
                main(info)
            }
        };
    };
}
