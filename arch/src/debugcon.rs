//! QEMU's debug console: bytes out, fast, to whatever the machine's owner attached; nothing in.
//!
//! Needs nothing else of this crate, so that a dying kernel can still write. Who may write when is the caller's concern.

use core::arch::asm;
use x86_64::instructions::port::Port;

/// The port of Bochs's and QEMU's `isa-debugcon`.
const PORT: u16 = 0xe9;
/// What is read from the port if the device is there (QEMU, `docs/system/devices`, `isa-debugcon`: `readback`).
const PRESENT: u8 = 0xe9;

/// Whether the machine has one.
pub fn is_there() -> bool {
    // SAFETY: the port is the debug console's, whose reading changes nothing, or nobody's.
    unsafe { Port::<u8>::new(PORT).read() == PRESENT }
}

/// Writes all of `bytes`. Without the device, nothing comes of it.
pub fn write(bytes: &[u8]) {
    // SAFETY: the instruction reads `bytes.len()` bytes from `bytes` on, upwards, as the direction flag is clear in Rust
    // code; the port is the debug console's or nobody's.
    unsafe {
        asm!(
            "rep outsb",
            in("dx") PORT,
            inout("rcx") bytes.len() => _,
            inout("rsi") bytes.as_ptr() => _,
            options(nostack, preserves_flags, readonly),
        );
    }
}
