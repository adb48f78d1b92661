//! The way out to user mode and back in.
//!
//! The way out is `enter`. The ways back are `syscall_entry` here and the stubs in `traps`: both return from
//! `enter`.

use super::context::UserContext;
use super::registers::Registers;
use crate::cpu::features;
use crate::cpu::local::Field;
use crate::descriptors::Selectors;
use crate::traps::{FRAME_SIZE, KernelFrame};
use core::arch::{asm, naked_asm};
use core::mem::offset_of;
use x86_64::VirtAddr;
use x86_64::registers::model_specific::{FsBase, KernelGsBase, LStar, SFMask, Star};
use x86_64::registers::rflags::RFlags;
use x86_64::registers::segmentation::{FS, Segment64};

/// What `enter_user` returns for a SYSCALL: no vector has this number.
pub(super) const SYSCALL: u32 = 256;

/// What `enter_user` returns when RIP is no user address: no vector has this number.
pub(super) const REFUSED: u32 = 257;

/// Tells this CPU where SYSCALL goes.
pub(crate) fn init() {
    let (code, data) = (Selectors::KERNEL_CODE, Selectors::KERNEL_DATA);
    Star::write(Selectors::USER_CODE, Selectors::USER_DATA, code, data)
        .expect("the GDT has the segments in the order that SYSCALL wants");
    LStar::write(VirtAddr::from_ptr(syscall_entry as *const ()));
    // The arithmetic flags do no harm and come in as they are.
    SFMask::write(
        RFlags::TRAP_FLAG
            | RFlags::INTERRUPT_FLAG
            | RFlags::DIRECTION_FLAG
            | RFlags::IOPL_LOW
            | RFlags::IOPL_HIGH
            | RFlags::NESTED_TASK
            | RFlags::RESUME_FLAG
            | RFlags::ALIGNMENT_CHECK,
    );
}

/// Offset of a register in the `UserContext`.
const fn reg(offset: usize) -> usize {
    offset_of!(UserContext, regs) + offset
}

/// Offset of a word of the trap frame in the `UserContext`.
const fn frame(offset: usize) -> usize {
    offset_of!(UserContext, frame) + offset
}

// The trap stubs save relative to the frame's end, and TSS.RSP0 has to be aligned for the processor to push
// right there.
const _: () = assert!(offset_of!(UserContext, frame) == 0 && align_of::<UserContext>().is_multiple_of(16));

/// Runs `context` in user mode until it is left; returns the vector, or [`SYSCALL`].
///
/// # Safety
/// Interrupts are off. The frame has user selectors, and `context` is in kernel memory that every address
/// space maps.
#[inline(always)]
pub(super) unsafe fn enter(context: &mut UserContext) -> u32 {
    let why;
    // SAFETY: `enter_user` keeps the stack pointer, RBX and RBP; all other registers are declared as
    // overwritten. Having the compiler keep what it needs of them is cheaper than saving six on each way out.
    unsafe {
        asm!(
            "call {enter}",
            enter = sym enter_user,
            inout("rdi") &raw mut *context => _,
            lateout("eax") why,
            out("rcx") _, out("rdx") _, out("rsi") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
        );
    }
    why
}

/// RDI = the context; returns why user mode was left in EAX. Overwrites all registers but RSP, RBX and RBP.
///
/// Goes out by SYSRET when that restores RCX and R11 exactly, which is so after a SYSCALL unless the kernel
/// changed RIP or flags (a signal, exec); else by IRET from the trap frame. Neither can fault: RIP is checked
/// to be in the lower half, the flags are kept valid by `Registers`, and the selectors are constant.
#[unsafe(naked)]
unsafe extern "sysv64" fn enter_user() {
    naked_asm!(
        "push rbp",
        "push rbx",
        "mov gs:[{kernel_rsp}], rsp",
        "mov gs:[{context}], rdi",
        "lea rax, [rdi + {frame_end}]",
        "mov gs:[{rsp0}], rax",
        "mov rcx, [rdi + {rip}]",
        "mov r11, [rdi + {rflags}]",
        "test dword ptr [rdi + {rip} + 4], 0xffff8000",
        "jnz 4f",
        "cmp rcx, [rdi + {rcx}]",
        "jne 3f",
        "cmp r11, [rdi + {r11}]",
        "jne 3f",
        "mov r15, [rdi + {r15}]",
        "mov r14, [rdi + {r14}]",
        "mov r13, [rdi + {r13}]",
        "mov r12, [rdi + {r12}]",
        "mov rbp, [rdi + {rbp}]",
        "mov rbx, [rdi + {rbx}]",
        "mov r10, [rdi + {r10}]",
        "mov r9, [rdi + {r9}]",
        "mov r8, [rdi + {r8}]",
        "mov rax, [rdi + {rax}]",
        "mov rdx, [rdi + {rdx}]",
        "mov rsi, [rdi + {rsi}]",
        "mov rsp, [rdi + {rsp}]",
        "mov rdi, [rdi + {rdi}]",
        "swapgs",
        "sysretq",
        // By IRET: the words that it pops are the end of the trap frame.
        "3:",
        "mov [rdi + {frame_rip}], rcx",
        "mov [rdi + {frame_rflags}], r11",
        "mov rax, [rdi + {rsp}]",
        "mov [rdi + {frame_rsp}], rax",
        "lea rsp, [rdi + {frame_rip}]",
        "mov r15, [rdi + {r15}]",
        "mov r14, [rdi + {r14}]",
        "mov r13, [rdi + {r13}]",
        "mov r12, [rdi + {r12}]",
        "mov rbp, [rdi + {rbp}]",
        "mov rbx, [rdi + {rbx}]",
        "mov r11, [rdi + {r11}]",
        "mov r10, [rdi + {r10}]",
        "mov r9, [rdi + {r9}]",
        "mov r8, [rdi + {r8}]",
        "mov rax, [rdi + {rax}]",
        "mov rcx, [rdi + {rcx}]",
        "mov rdx, [rdi + {rdx}]",
        "mov rsi, [rdi + {rsi}]",
        "mov rdi, [rdi + {rdi}]",
        "swapgs",
        "iretq",
        // No user address: as if the jump there had faulted.
        "4:",
        "mov eax, {refused}",
        "pop rbx",
        "pop rbp",
        "ret",
        kernel_rsp = const Field::KERNEL_RSP,
        context = const Field::CONTEXT,
        rsp0 = const Field::TSS_RSP0,
        frame_end = const FRAME_SIZE,
        frame_rip = const frame(offset_of!(KernelFrame, rip)),
        frame_rflags = const frame(offset_of!(KernelFrame, rflags)),
        frame_rsp = const frame(offset_of!(KernelFrame, rsp)),
        refused = const REFUSED,
        r15 = const reg(offset_of!(Registers, r15)),
        r14 = const reg(offset_of!(Registers, r14)),
        r13 = const reg(offset_of!(Registers, r13)),
        r12 = const reg(offset_of!(Registers, r12)),
        rbp = const reg(offset_of!(Registers, rbp)),
        rbx = const reg(offset_of!(Registers, rbx)),
        r11 = const reg(offset_of!(Registers, r11)),
        r10 = const reg(offset_of!(Registers, r10)),
        r9 = const reg(offset_of!(Registers, r9)),
        r8 = const reg(offset_of!(Registers, r8)),
        rax = const reg(offset_of!(Registers, rax)),
        rcx = const reg(offset_of!(Registers, rcx)),
        rdx = const reg(offset_of!(Registers, rdx)),
        rsi = const reg(offset_of!(Registers, rsi)),
        rdi = const reg(offset_of!(Registers, rdi)),
        rip = const reg(offset_of!(Registers, rip)),
        rsp = const reg(offset_of!(Registers, rsp)),
        rflags = const reg(Registers::RFLAGS),
    )
}

/// Where SYSCALL goes: RCX = the user's RIP, R11 = its flags, RSP and all others still the user's; interrupts
/// are off.
///
/// Saves all registers into the context that `enter_user` entered with, and returns from there.
#[unsafe(naked)]
unsafe extern "sysv64" fn syscall_entry() {
    naked_asm!(
        "swapgs",
        "mov gs:[{scratch}], rsp",
        "mov rsp, gs:[{context}]",
        "mov [rsp + {rip}], rcx",
        "mov [rsp + {rcx}], rcx",
        "mov rcx, gs:[{scratch}]",
        "mov [rsp + {rflags}], r11",
        "mov [rsp + {r11}], r11",
        "mov [rsp + {rsp}], rcx",
        "mov [rsp + {rax}], rax",
        "mov [rsp + {orig_rax}], rax",
        "mov [rsp + {r15}], r15",
        "mov [rsp + {r14}], r14",
        "mov [rsp + {r13}], r13",
        "mov [rsp + {r12}], r12",
        "mov [rsp + {rbp}], rbp",
        "mov [rsp + {rbx}], rbx",
        "mov [rsp + {r10}], r10",
        "mov [rsp + {r9}], r9",
        "mov [rsp + {r8}], r8",
        "mov [rsp + {rdx}], rdx",
        "mov [rsp + {rsi}], rsi",
        "mov [rsp + {rdi}], rdi",
        "mov eax, {syscall}",
        "mov rsp, gs:[{kernel_rsp}]",
        "pop rbx",
        "pop rbp",
        "ret",
        scratch = const Field::SCRATCH,
        context = const Field::CONTEXT,
        kernel_rsp = const Field::KERNEL_RSP,
        syscall = const SYSCALL,
        r15 = const reg(offset_of!(Registers, r15)),
        r14 = const reg(offset_of!(Registers, r14)),
        r13 = const reg(offset_of!(Registers, r13)),
        r12 = const reg(offset_of!(Registers, r12)),
        rbp = const reg(offset_of!(Registers, rbp)),
        rbx = const reg(offset_of!(Registers, rbx)),
        r11 = const reg(offset_of!(Registers, r11)),
        r10 = const reg(offset_of!(Registers, r10)),
        r9 = const reg(offset_of!(Registers, r9)),
        r8 = const reg(offset_of!(Registers, r8)),
        rax = const reg(offset_of!(Registers, rax)),
        rcx = const reg(offset_of!(Registers, rcx)),
        rdx = const reg(offset_of!(Registers, rdx)),
        rsi = const reg(offset_of!(Registers, rsi)),
        rdi = const reg(offset_of!(Registers, rdi)),
        orig_rax = const reg(offset_of!(Registers, orig_rax)),
        rip = const reg(offset_of!(Registers, rip)),
        rsp = const reg(offset_of!(Registers, rsp)),
        rflags = const reg(Registers::RFLAGS),
    )
}

/// Sets the user's segment bases. Interrupts are off: with the short instructions, GS is the user's for a
/// moment.
pub(super) fn set_bases(fs: VirtAddr, gs: VirtAddr) {
    if !features().fsgsbase {
        FsBase::write(fs);
        KernelGsBase::write(gs);
        return;
    }
    // SAFETY: CR4.FSGSBASE is on, and `VirtAddr` is canonical. GS is exchanged back before anything uses it;
    // a non-maskable interrupt in between finds the CPU-local area without it.
    unsafe {
        FS::write_base(fs);
        asm!("swapgs", "wrgsbase {}", "swapgs", in(reg) gs.as_u64(), options(nostack, preserves_flags));
    }
}

/// The user's segment bases, FS and GS. Interrupts are off.
pub(super) fn bases() -> (VirtAddr, VirtAddr) {
    if !features().fsgsbase {
        return (FsBase::read(), KernelGsBase::read());
    }
    let gs: u64;
    // SAFETY: as in `set_bases`.
    unsafe { asm!("swapgs", "rdgsbase {}", "swapgs", out(reg) gs, options(nostack, preserves_flags)) };
    (FS::read_base(), VirtAddr::new_truncate(gs))
}
