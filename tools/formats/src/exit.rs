//! How a run ended, as the byte that the guest writes to QEMU's `isa-debug-exit` device.
//!
//! QEMU then exits with `(byte << 1) | 1`, so that none of these can be mistaken for QEMU's own 0 and 1.

/// The program exited with status 0 and no check failed.
pub const PASS: u8 = 0x10;
/// The program exited with another status, or was killed.
pub const PROGRAM_FAILED: u8 = 0x11;
/// The kernel noticed a failure of its own: a live-lock, a dead CPU, a leak.
pub const KERNEL_FAILURE: u8 = 0x12;
/// The kernel panicked.
pub const PANIC: u8 = 0x13;

/// The status with which QEMU exits when the guest writes `byte`.
pub const fn qemu_status(byte: u8) -> i32 {
    ((byte as i32) << 1) | 1
}
