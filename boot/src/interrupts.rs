//! All interrupt controllers masked, as the protocol wants.

use x86_64::instructions::port::Port;

/// Where the I/O APIC is unless somebody moves it, which QEMU's firmware does not.
const IO_APIC: usize = 0xfec0_0000;
const VERSION: u32 = 1;
/// The low halves of the redirection entries are at even indices from here on.
const REDIRECTIONS: u32 = 0x10;
const MASKED: u32 = 1 << 16;

/// Masks all lines of the two 8259As and of the first I/O APIC.
pub fn mask() {
    for data in [0x21, 0xa1] {
        // SAFETY: the ports are the controllers'; all lines masked, they interrupt nobody.
        unsafe { Port::<u8>::new(data).write(u8::MAX) };
    }
    let select = IO_APIC as *mut u32;
    let window = (IO_APIC + 0x10) as *mut u32;
    // SAFETY: the registers are an I/O APIC's, or nobody's, and then all ones are read. Masked, it interrupts nobody.
    unsafe {
        select.write_volatile(VERSION);
        let version = window.read_volatile();
        if version == u32::MAX {
            return;
        }
        let last = version >> 16 & 0xff;
        for entry in 0..=last {
            select.write_volatile(REDIRECTIONS + 2 * entry);
            window.write_volatile(window.read_volatile() | MASKED);
        }
    }
}
