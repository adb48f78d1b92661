//! The place where a starting CPU comes into the kernel: it is let in if it is the one that is expected.

use crate::acpi::ApicId;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use formats::CpuId;
use spin::Once;
use x86_64::VirtAddr;

/// The APIC id of the CPU that may come, or [`NOBODY`]. The CPU that finds its own id here replaces it by [`NOBODY`], and owns
/// the stack and the number that it read before; as no CPU is expected twice, they are those that were meant for it.
static EXPECTED: AtomicU64 = AtomicU64::new(NOBODY);
static STACK: AtomicU64 = AtomicU64::new(0);
static NUMBER: AtomicU32 = AtomicU32::new(0);
/// The physical address of the kernel's top-level page table.
static ROOT: AtomicU64 = AtomicU64::new(0);
static ENTRY: Once<fn(CpuId) -> !> = Once::new();

/// No APIC id has this many bits.
const NOBODY: u64 = u64::MAX;

pub(super) fn set_entry(entry: fn(CpuId) -> !) {
    ENTRY.call_once(|| entry);
}

pub(super) fn set_root(root: u64) {
    ROOT.store(root, Release);
}

/// The CPU that is expected.
pub(super) struct Expected(u64);

/// Lets the CPU of `apic_id` in from now on.
pub(super) fn expect(apic_id: ApicId, cpu: CpuId, stack: VirtAddr) -> Expected {
    STACK.store(stack.as_u64(), Relaxed);
    NUMBER.store(cpu.0, Relaxed);
    EXPECTED.store(apic_id.0.into(), Release);
    Expected(apic_id.0.into())
}

impl Expected {
    pub fn has_come(&self) -> bool {
        EXPECTED.load(Acquire) == NOBODY
    }

    /// Stops expecting it. Returns whether it has come.
    pub fn end(self) -> bool {
        EXPECTED.compare_exchange(self.0, NOBODY, AcqRel, Acquire).is_err()
    }
}

/// Where the trampoline jumps to, in 64-bit mode on its own page tables, with no stack. Goes to the kernel's page tables, finds
/// its APIC id (CPUID leaf 0bh, or leaf 1 where that is missing) in r8, and comes in or stops.
#[unsafe(naked)]
pub(super) extern "C" fn arrive() -> ! {
    core::arch::naked_asm!(
        "mov rax, [rip + {root}]",
        "mov cr3, rax",
        "xor eax, eax",
        "cpuid",
        "cmp eax, 0xb",
        "jb 2f",
        "mov eax, 0xb",
        "xor ecx, ecx",
        "cpuid",
        "mov r8d, edx",
        "test ebx, ebx",
        "jnz 3f",
        "2:",
        "mov eax, 1",
        "cpuid",
        "shr ebx, 24",
        "mov r8d, ebx",
        "3:",
        "mov rsp, [rip + {stack}]",
        "mov edi, [rip + {number}]",
        "mov eax, r8d",
        "mov rcx, {nobody}",
        "lock cmpxchg [rip + {expected}], rcx",
        "jne 4f",
        "xor ebp, ebp",
        "push rbp",
        "jmp {come_in}",
        "4:",
        "cli",
        "hlt",
        "jmp 4b",
        root = sym ROOT,
        stack = sym STACK,
        number = sym NUMBER,
        expected = sym EXPECTED,
        nobody = const NOBODY as i64,
        come_in = sym come_in,
    )
}

extern "C" fn come_in(cpu: u32) -> ! {
    let entry = ENTRY.get().expect("the entry is set before a CPU is expected");
    entry(CpuId(cpu))
}
