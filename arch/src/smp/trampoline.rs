//! From real mode to 64-bit mode: the code that a starting CPU runs first, and the page tables that it runs on.
//!
//! Four pages below 1 MiB: the code with what it needs to know, and page tables that map the first 2 MiB onto themselves and
//! the upper half as the kernel's tables do.

use super::arrival;
use core::mem::offset_of;
use core::ptr;
use x86_64::registers::control::{Cr3, Efer, EferFlags};
use x86_64::structures::paging::page_table::{PageTable, PageTableFlags as Flags};
use x86_64::{PhysAddr, VirtAddr};

const PAGE: u64 = 4096;

/// Code, and page tables of three levels.
pub(super) const BYTES: u64 = 4 * PAGE;

/// What the code needs to know; it lies at the beginning of the page, behind a jump over it.
#[repr(C)]
struct Parameters {
    jump: [u8; 4],
    /// Where 32-bit and 64-bit code start: offset and selector of far jumps.
    far_32: FarPointer,
    far_64: FarPointer,
    /// The descriptor table's limit and address.
    gdt_limit: u32,
    gdt: u32,
    page_tables: u32,
    efer: u32,
    /// Where to go at last.
    entry: u64,
}

#[repr(C)]
struct FarPointer {
    offset: u32,
    selector: u32,
}

const CODE_32: u32 = 8;
const DATA: u32 = 16;
const CODE_64: u32 = 24;

// Position-independent within its page, which is at linear address EBX from protected mode on. Real mode starts with CS:IP =
// page:0.
core::arch::global_asm!(
    ".pushsection .rodata.tine_trampoline, \"a\"",
    ".balign 16",
    ".code16",
    "tine_trampoline:",
    "jmp 2f",
    ".org tine_trampoline + {parameters}",
    "2:",
    "cli",
    "cld",
    "movw %cs, %ax",
    "movw %ax, %ds",
    "xorl %ebx, %ebx",
    "movw %ax, %bx",
    "shll $4, %ebx",
    // The table's limit is the upper half of the 32-bit field.
    "lgdtl ({gdt_limit} + 2)",
    // Caches on (they are off after INIT), protection on.
    "movl %cr0, %eax",
    "andl $0x9fffffff, %eax",
    "orl $1, %eax",
    "movl %eax, %cr0",
    "ljmpl *{far_32}",
    ".code32",
    "tine_trampoline_32:",
    "movw ${data}, %ax",
    "movw %ax, %ds",
    "movw %ax, %es",
    "movw %ax, %ss",
    "xorl %eax, %eax",
    "movw %ax, %fs",
    "movw %ax, %gs",
    // Physical address extension, page tables, long mode, then paging.
    "movl %cr4, %eax",
    "orl $0x20, %eax",
    "movl %eax, %cr4",
    "movl {page_tables}(%ebx), %eax",
    "movl %eax, %cr3",
    "movl $0xc0000080, %ecx",
    "rdmsr",
    "orl {efer}(%ebx), %eax",
    "wrmsr",
    "movl %cr0, %eax",
    "orl $0x80010000, %eax",
    "movl %eax, %cr0",
    "ljmpl *{far_64}(%ebx)",
    ".code64",
    "tine_trampoline_64:",
    "jmpq *{entry}(%rbx)",
    ".balign 8",
    "tine_trampoline_gdt:",
    ".quad 0",
    ".quad 0x00cf9b000000ffff",
    ".quad 0x00cf93000000ffff",
    ".quad 0x00af9b000000ffff",
    "tine_trampoline_end:",
    ".popsection",
    parameters = const size_of::<Parameters>(),
    gdt_limit = const offset_of!(Parameters, gdt_limit),
    far_32 = const offset_of!(Parameters, far_32),
    far_64 = const offset_of!(Parameters, far_64),
    page_tables = const offset_of!(Parameters, page_tables),
    efer = const offset_of!(Parameters, efer),
    entry = const offset_of!(Parameters, entry),
    data = const DATA,
    options(att_syntax)
);

unsafe extern "C" {
    safe static tine_trampoline: u8;
    safe static tine_trampoline_32: u8;
    safe static tine_trampoline_64: u8;
    safe static tine_trampoline_gdt: u8;
    safe static tine_trampoline_end: u8;
}

/// Puts the code and its page tables at `low`. Returns the number of the page for start-up interrupts.
///
/// # Safety
/// `low` is [`BYTES`] bytes in whole pages below 1 MiB, which nobody else uses and which are mapped at `hhdm + low`. The
/// kernel's own page tables are loaded.
pub(super) unsafe fn install(low: PhysAddr, hhdm: VirtAddr) -> u8 {
    let (root, _) = Cr3::read();
    arrival::set_root(root.start_address().as_u64());

    let at = |page: u64| low + page * PAGE;
    let code = (hhdm + low.as_u64()).as_mut_ptr::<u8>();
    let table = |page: u64| (hhdm + at(page).as_u64()).as_mut_ptr::<PageTable>();
    let kernel = (hhdm + root.start_address().as_u64()).as_ptr::<PageTable>();
    // SAFETY: our caller promises the pages, and the kernel's top-level table is mapped as all memory is. Nobody changes its
    // upper half.
    unsafe {
        for page in 1..4 {
            table(page).write(PageTable::new());
        }
        for entry in 256..512 {
            (&mut *table(1))[entry] = (&*kernel)[entry].clone();
        }
        (&mut *table(1))[0].set_addr(at(2), Flags::PRESENT | Flags::WRITABLE);
        (&mut *table(2))[0].set_addr(at(3), Flags::PRESENT | Flags::WRITABLE);
        (&mut *table(3))[0].set_addr(PhysAddr::zero(), Flags::PRESENT | Flags::WRITABLE | Flags::HUGE_PAGE);
    }

    let start = &raw const tine_trampoline;
    let offset = |label: *const u8| (label.addr() - start.addr()) as u32;
    let linear = |label| low.as_u64() as u32 + offset(label);
    let gdt = &raw const tine_trampoline_gdt;
    let gdt_bytes = offset(&raw const tine_trampoline_end) - offset(gdt);
    // SAFETY: code and parameters are far smaller than the first page, which our caller promises.
    unsafe {
        ptr::copy_nonoverlapping(start, code, offset(&raw const tine_trampoline_end) as usize);
        let jump = code.cast::<[u8; 4]>().read();
        code.cast::<Parameters>().write_unaligned(Parameters {
            jump,
            far_32: FarPointer { offset: linear(&raw const tine_trampoline_32), selector: CODE_32 },
            far_64: FarPointer { offset: linear(&raw const tine_trampoline_64), selector: CODE_64 },
            gdt_limit: (gdt_bytes - 1) << 16,
            gdt: linear(gdt),
            page_tables: at(1).as_u64() as u32,
            efer: (Efer::read() & (EferFlags::LONG_MODE_ENABLE | EferFlags::NO_EXECUTE_ENABLE)).bits() as u32,
            entry: arrival::arrive as *const () as u64,
        });
    }
    (low.as_u64() / PAGE) as u8
}
