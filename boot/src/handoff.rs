//! The last step: the machine as the protocol wants it at the kernel's entry.

use crate::paging::direct;
use x86_64::instructions::tables::lgdt;
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::paging::PhysFrame;
use x86_64::{PhysAddr, VirtAddr};

pub struct Handoff {
    pub page_tables: PhysFrame,
    /// Aligned to 16 bytes.
    pub stack_top: VirtAddr,
    pub entry: VirtAddr,
}

/// The descriptors that the protocol lists: none; code and data of 16 bits; of 32 bits; of 64 bits.
static GDT: [u64; 7] = [
    0,
    0x0000_9b00_0000_ffff,
    0x0000_9300_0000_ffff,
    0x00cf_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00af_9b00_0000_ffff,
    0x00af_9300_0000_ffff,
];

/// Enters the kernel.
pub fn enter(handoff: Handoff) -> ! {
    let in_window = |address: usize| direct(PhysAddr::new(address as u64));
    let gdt = DescriptorTablePointer {
        limit: (size_of_val(&GDT) - 1) as u16,
        base: in_window((&raw const GDT).addr()),
    };
    let jump = in_window(jump as *const () as usize).as_ptr::<()>();
    // SAFETY: both the provisional and the kernel's page tables map the table, the code of `jump` and the kernel's stack in
    // the window; `jump` is position-independent, and the kernel's entry is mapped in the tables that it loads.
    unsafe {
        lgdt(&gdt);
        let jump = core::mem::transmute::<*const (), extern "C" fn(u64, u64, u64) -> !>(jump);
        jump(handoff.page_tables.start_address().as_u64(), handoff.stack_top.as_u64(), handoff.entry.as_u64())
    }
}

/// RDI = page tables, RSI = stack top, RDX = entry. Leaves a return address of 0 on the stack, all general registers but RSP 0,
/// all flags 0, CS = 28h, the others 30h.
#[unsafe(naked)]
extern "C" fn jump(page_tables: u64, stack_top: u64, entry: u64) -> ! {
    core::arch::naked_asm!(
        "mov cr3, rdi",
        "mov rsp, rsi",
        "push 0",
        "push 0x28",
        "push rdx",
        "push 2",
        "popfq",
        "mov eax, 0x30",
        "mov ds, eax",
        "mov es, eax",
        "mov fs, eax",
        "mov gs, eax",
        "mov ss, eax",
        "xor eax, eax",
        "xor ebx, ebx",
        "xor ecx, ecx",
        "xor edx, edx",
        "xor esi, esi",
        "xor edi, edi",
        "xor ebp, ebp",
        "xor r8d, r8d",
        "xor r9d, r9d",
        "xor r10d, r10d",
        "xor r11d, r11d",
        "xor r12d, r12d",
        "xor r13d, r13d",
        "xor r14d, r14d",
        "xor r15d, r15d",
        "retfq",
    )
}
