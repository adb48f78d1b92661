//! The first and the last instructions of each trap.
//!
//! On entry the processor has pushed SS, RSP, RFLAGS, CS, RIP and for some vectors an error code: from user
//! mode to the end of the running `UserContext`'s frame (where TSS.RSP0 points), from kernel mode to the
//! interrupted stack. Interrupts are off. The stub completes a `KernelFrame` there. Then, from user mode, it
//! returns from `user::enter` with the vector in EAX; from kernel mode, it calls `kernel_trap(RDI = frame)`
//! and restores all registers from the frame.

use super::dispatch::kernel_trap;
use super::frame::{FRAME_SIZE, KernelFrame};
use crate::cpu::local::Field;
use core::arch::global_asm;
use core::mem::offset_of;
use x86_64::VirtAddr;

unsafe extern "C" {
    safe static tine_trap_stubs: u8;
    safe static tine_trap_nmi: u8;
    safe static tine_trap_double_fault: u8;
    safe static tine_trap_machine_check: u8;
}

/// The stub of `vector`, for a gate that stays on the stack.
pub(crate) fn ordinary(vector: u8) -> VirtAddr {
    VirtAddr::from_ptr(&raw const tine_trap_stubs) + u64::from(vector) * STUB_SIZE as u64
}

/// The stubs for gates with exception stacks.
pub(crate) fn nmi() -> VirtAddr {
    VirtAddr::from_ptr(&raw const tine_trap_nmi)
}

pub(crate) fn double_fault() -> VirtAddr {
    VirtAddr::from_ptr(&raw const tine_trap_double_fault)
}

pub(crate) fn machine_check() -> VirtAddr {
    VirtAddr::from_ptr(&raw const tine_trap_machine_check)
}

const STUB_SIZE: usize = 16;
/// Vectors with an error code (Intel SDM vol. 3, table 7-1), bit `n` for vector `n`.
const WITH_ERROR: u64 =
    1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 21 | 1 << 29 | 1 << 30;
const MSR_GS_BASE: u32 = 0xc000_0101;
/// RFLAGS.AC (bit 18) in the third byte.
const AC_BYTE: usize = offset_of!(KernelFrame, rflags) + 2;

// RFLAGS.AC in the kernel opens user memory (SMAP). An interrupted user copy has it set, and user mode can
// set it; a trap does not clear it. It is cleared by POPF, which unlike CLAC is there on every processor, and
// comes back with the frame's RFLAGS.
global_asm!(
    r#"
.macro TINE_PUSH_REGISTERS
    push rdi
    push rsi
    push rdx
    push rcx
    push rax
    push r8
    push r9
    push r10
    push r11
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    cld
.endm

.macro TINE_POP_AND_RETURN
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    pop r11
    pop r10
    pop r9
    pop r8
    pop rax
    pop rcx
    pop rdx
    pop rsi
    pop rdi
    add rsp, 16
    iretq
.endm

.macro TINE_CLEAR_AC
    pushfq
    and dword ptr [rsp], 0xfffbffff
    popfq
.endm

.pushsection .text.tine_traps, "ax", @progbits
.globl tine_trap_stubs, tine_trap_nmi, tine_trap_double_fault, tine_trap_machine_check

.balign {stub_size}
tine_trap_stubs:
.set tine_vector, 0
.rept 256
    .balign {stub_size}
    .if (tine_vector >= 32) || ((({with_error} >> tine_vector) & 1) == 0)
        push 0
    .endif
    push tine_vector
    jmp tine_trap
    .set tine_vector, tine_vector + 1
.endr

.balign 16
tine_trap:
    TINE_PUSH_REGISTERS
    test byte ptr [rsp + {cs}], 3
    jz 2f
    swapgs
    mov eax, [rsp + {vector}]
    test byte ptr [rsp + {ac}], 4
    mov rsp, gs:[{kernel_rsp}]
    jz 1f
    TINE_CLEAR_AC
1:  pop rbx
    pop rbp
    ret
2:  test byte ptr [rsp + {ac}], 4
    jz 3f
    TINE_CLEAR_AC
3:  mov rdi, rsp
    call {kernel_trap}
    TINE_POP_AND_RETURN

// Traps on stacks of their own may hit between any two instructions, so GS may have the user's base even in
// the kernel. The word above the frame is the address of the CPU-local area; the base found is put back
// afterwards.
.balign 16
tine_trap_nmi:
    push 0
    push 2
    jmp tine_trap_anywhere
tine_trap_machine_check:
    push 0
    push 18
    jmp tine_trap_anywhere
tine_trap_double_fault:
    push 8
tine_trap_anywhere:
    TINE_PUSH_REGISTERS
    test byte ptr [rsp + {ac}], 4
    jz 1f
    TINE_CLEAR_AC
1:  mov ecx, {gs_base}
    rdmsr
    mov ebx, eax
    mov r12d, edx
    mov eax, [rsp + {frame_size}]
    mov edx, [rsp + {frame_size} + 4]
    wrmsr
    mov rdi, rsp
    call {kernel_trap}
    mov ecx, {gs_base}
    mov eax, ebx
    mov edx, r12d
    wrmsr
    TINE_POP_AND_RETURN

.popsection
"#,
    stub_size = const STUB_SIZE,
    with_error = const WITH_ERROR,
    cs = const offset_of!(KernelFrame, cs),
    vector = const offset_of!(KernelFrame, vector),
    ac = const AC_BYTE,
    frame_size = const FRAME_SIZE,
    kernel_rsp = const Field::KERNEL_RSP,
    gs_base = const MSR_GS_BASE,
    kernel_trap = sym kernel_trap,
);
