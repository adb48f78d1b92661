//! The page that the kernel keeps for the vDSO, which reads it in user mode: what both agree on.

/// Lies at the start of the page before the vDSO's first one.
///
/// The kernel makes `sequence` odd, changes other fields, and makes it even again. Who reads starts over when it was odd or has
/// changed meanwhile.
#[repr(C)]
pub struct Data {
    pub sequence: u32,
    /// How a program learns the number of its CPU: [`ASK`], [`RDTSCP`] or [`RDPID`].
    pub cpu_number: u32,
    /// The time-stamp counter when the monotonic clock was 0.
    pub start: u64,
    /// Nanoseconds per tick of the time-stamp counter, with 32 fractional bits; 0: ask the kernel for the time.
    pub scale: u64,
    /// What the real-time clock is ahead of the monotonic one, in nanoseconds.
    pub epoch_ns: u64,
}

/// By the system call.
pub const ASK: u32 = 0;
/// By the instruction RDTSCP. It and RDPID deliver the CPU's number, and above its [`CPU_BITS`] bits that of the memory node.
pub const RDTSCP: u32 = 1;
/// By the instruction RDPID.
pub const RDPID: u32 = 2;

/// As on Linux (`VDSO_CPUNODE_BITS`).
pub const CPU_BITS: u32 = 12;
