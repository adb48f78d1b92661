//! From QEMU's 32-bit entry to Rust in 64-bit mode.
//!
//! The provisional page tables map the first 4 GiB twice: onto themselves, where the loader runs, and at the beginning of the
//! upper half, where the kernel's page tables will have them too, so that the loader can change from one to the other.

use crate::{console, load};
use x86_64::PhysAddr;

const STACK_BYTES: usize = 32 * 1024;

// By the PVH protocol: 32-bit protected mode with flat segments, paging and interrupts off, no stack, EBX = address of
// hvm_start_info. EBX is kept until it becomes the argument of `main` in EDI.
core::arch::global_asm!(
    // An ELF note of owner "Xen" and type 18: the physical address of a 32-bit entry.
    ".pushsection .note.Xen, \"a\", @note",
    ".balign 4",
    ".long 4",
    ".long 8",
    ".long 18",
    ".asciz \"Xen\"",
    ".quad loader_entry",
    ".popsection",

    ".pushsection .bss.provisional, \"aw\", @nobits",
    ".balign 4096",
    "provisional_pml4: .skip 4096",
    "provisional_pdpt: .skip 4096",
    "provisional_pds: .skip 4 * 4096",
    "loader_stack: .skip {stack_bytes}",
    "loader_stack_top:",
    ".popsection",

    ".pushsection .text.loader_entry, \"ax\"",
    ".globl loader_entry",
    ".code32",
    "loader_entry:",
    "cli",
    "cld",
    "movl $loader_stack_top, %esp",

    // One level after the other; 3 = present, writable.
    "movl $provisional_pdpt + 3, provisional_pml4",
    "movl $provisional_pdpt + 3, provisional_pml4 + 256 * 8",
    "movl $provisional_pds + 3, %eax",
    "xorl %ecx, %ecx",
    "2:",
    "movl %eax, provisional_pdpt(, %ecx, 8)",
    "addl $4096, %eax",
    "incl %ecx",
    "cmpl $4, %ecx",
    "jne 2b",
    // 2048 pages of 2 MiB; 0x80 = large.
    "movl $0x83, %eax",
    "xorl %ecx, %ecx",
    "3:",
    "movl %eax, provisional_pds(, %ecx, 8)",
    "addl $0x200000, %eax",
    "incl %ecx",
    "cmpl $2048, %ecx",
    "jne 3b",

    // Bit 29 of EDX of leaf 0x80000001: long mode. Bit 20: no-execute. CPUID overwrites EBX.
    "movl %ebx, %esi",
    "movl $0x80000000, %eax",
    "cpuid",
    "cmpl $0x80000001, %eax",
    "jb 4f",
    "movl $0x80000001, %eax",
    "cpuid",
    "btl $29, %edx",
    "jnc 4f",
    "movl %esi, %ebx",
    "movl %edx, %esi",

    // CR4: physical address extension. EFER: long mode (bit 8), no-execute (bit 11) if there is. CR0: paging, write protection,
    // native floating-point errors, and no emulation.
    "movl %cr4, %eax",
    "orl $0x20, %eax",
    "movl %eax, %cr4",
    "movl $provisional_pml4, %eax",
    "movl %eax, %cr3",
    "movl $0xc0000080, %ecx",
    "rdmsr",
    "orl $0x100, %eax",
    "shrl $9, %esi",
    "andl $0x800, %esi",
    "orl %esi, %eax",
    "wrmsr",
    "movl %cr0, %eax",
    "andl $0xfffffffb, %eax",
    "orl $0x80010022, %eax",
    "movl %eax, %cr0",
    "lgdtl loader_gdt_pointer",
    "ljmpl $0x08, $loader_entry_64",
    // No 64-bit processor: nobody can be told in words, as all the words are 64-bit code.
    "4:",
    "hlt",
    "jmp 4b",

    ".code64",
    "loader_entry_64:",
    "movw $0x10, %ax",
    "movw %ax, %ds",
    "movw %ax, %es",
    "movw %ax, %ss",
    "movl $loader_stack_top, %esp",
    "movl %ebx, %edi",
    "xorl %ebp, %ebp",
    "call {main}",
    ".popsection",

    ".pushsection .rodata.loader_gdt, \"a\"",
    ".balign 8",
    "loader_gdt:",
    ".quad 0",
    ".quad 0x00af9b000000ffff",
    ".quad 0x00cf93000000ffff",
    "loader_gdt_pointer:",
    ".word . - loader_gdt - 1",
    ".long loader_gdt",
    ".popsection",
    stack_bytes = const STACK_BYTES,
    main = sym main,
    options(att_syntax)
);

extern "C" fn main(start_info: u32) -> ! {
    match load(PhysAddr::new(start_info.into())) {
        Err(why) => console::fail(format_args!("{why}")),
        Ok(never) => match never {},
    }
}
