//! Interrupt vectors that the kernel uses, and the processor's exceptions by name.
//!
//! The local APIC serves higher vectors first; among ours that order does not matter, as each handler runs to
//! its end.

/// The local APIC's timer.
pub const TIMER: u8 = 0xe0;
/// COM1 has received something.
pub const SERIAL: u8 = 0xe1;
/// "Look at your run queue."
pub const RESCHEDULE: u8 = 0xf0;
/// "Serve TLB requests": [`crate::tlb::serve`].
pub const TLB: u8 = 0xf1;
/// "Stop for good": a panic or the end of the run.
pub const STOP: u8 = 0xf2;
/// The local APIC's error interrupt.
pub const ERROR: u8 = 0xfe;
/// The local APIC's spurious interrupt: needs no end-of-interrupt.
pub const SPURIOUS: u8 = 0xff;

/// The first vector that is no exception.
pub const FIRST_INTERRUPT: u8 = 32;

/// Exceptions (Intel SDM vol. 3, table 7-1).
pub mod exception {
    pub const DIVIDE: u8 = 0;
    pub const DEBUG: u8 = 1;
    pub const NMI: u8 = 2;
    pub const BREAKPOINT: u8 = 3;
    pub const OVERFLOW: u8 = 4;
    pub const BOUND: u8 = 5;
    pub const INVALID_OPCODE: u8 = 6;
    pub const DEVICE_NOT_AVAILABLE: u8 = 7;
    pub const DOUBLE_FAULT: u8 = 8;
    pub const INVALID_TSS: u8 = 10;
    pub const SEGMENT_NOT_PRESENT: u8 = 11;
    pub const STACK: u8 = 12;
    pub const GENERAL_PROTECTION: u8 = 13;
    pub const PAGE_FAULT: u8 = 14;
    pub const X87: u8 = 16;
    pub const ALIGNMENT: u8 = 17;
    pub const MACHINE_CHECK: u8 = 18;
    pub const SIMD: u8 = 19;

    /// What the manuals call exception `vector`.
    pub const fn name(vector: u8) -> &'static str {
        match vector {
            DIVIDE => "divide error",
            DEBUG => "debug exception",
            NMI => "non-maskable interrupt",
            BREAKPOINT => "breakpoint",
            OVERFLOW => "overflow",
            BOUND => "bound range exceeded",
            INVALID_OPCODE => "invalid opcode",
            DEVICE_NOT_AVAILABLE => "device not available",
            DOUBLE_FAULT => "double fault",
            INVALID_TSS => "invalid TSS",
            SEGMENT_NOT_PRESENT => "segment not present",
            STACK => "stack fault",
            GENERAL_PROTECTION => "general protection fault",
            PAGE_FAULT => "page fault",
            X87 => "x87 floating-point error",
            ALIGNMENT => "alignment check",
            MACHINE_CHECK => "machine check",
            SIMD => "SIMD floating-point error",
            _ => "reserved exception",
        }
    }
}
