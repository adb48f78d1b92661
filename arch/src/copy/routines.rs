//! The instructions that touch user memory.
//!
//! All lie between two labels, are leaves that use no stack, and take the System V convention: arguments in
//! RDI, RSI, RDX; an [`Outcome`] in RAX (0: done) and RDX. So one rule fixes up any fault among them: go on
//! at `fault_exit`, which closes user memory and returns RAX = 1 to the caller. Each exists twice: with STAC
//! and CLAC for processors with SMAP, and without.

use crate::cpu::features;
use core::arch::global_asm;

/// What a routine returns, in RAX and RDX.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Outcome {
    pub failed: u64,
    pub value: u64,
}

/// Declares each routine as a function that picks the right one of its two versions.
macro_rules! routines {
    ($($(#[$doc:meta])* $name:ident = ($open:ident, $plain:ident)($($arg:ident: $type:ty),*);)*) => {
        unsafe extern "sysv64" {
            $(
                fn $open($($arg: $type),*) -> Outcome;
                fn $plain($($arg: $type),*) -> Outcome;
            )*
        }
        $(
            $(#[$doc])*
            ///
            /// # Safety
            /// User addresses are in user space; others are valid for the access.
            #[inline]
            pub(super) unsafe fn $name($($arg: $type),*) -> Outcome {
                // SAFETY: as the caller promises. The version fits the processor.
                unsafe { if features().smap { $open($($arg),*) } else { $plain($($arg),*) } }
            }
        )*
    };
}

routines! {
    /// Copies `len` bytes.
    copy = (tine_smap_copy, tine_plain_copy)(to: *mut u8, from: *const u8, len: usize);
    /// Writes `len` zero bytes.
    zero = (tine_smap_zero, tine_plain_zero)(to: *mut u8, len: usize);
    load_u32 = (tine_smap_load_u32, tine_plain_load_u32)(from: *const u32);
    load_u64 = (tine_smap_load_u64, tine_plain_load_u64)(from: *const u64);
    store_u32 = (tine_smap_store_u32, tine_plain_store_u32)(to: *mut u32, value: u32);
    store_u64 = (tine_smap_store_u64, tine_plain_store_u64)(to: *mut u64, value: u64);
    /// Atomically; the value is what was there before.
    compare_exchange_u32 = (tine_smap_compare_exchange_u32, tine_plain_compare_exchange_u32)(
        at: *mut u32, current: u32, new: u32
    );
}

unsafe extern "C" {
    safe static tine_copy_start: u8;
    safe static tine_copy_end: u8;
    safe static tine_smap_fault_exit: u8;
    safe static tine_plain_fault_exit: u8;
}

/// Whether `rip` is in one of the routines.
pub(super) fn contain(rip: u64) -> bool {
    let address = |label: *const u8| label.addr() as u64;
    (address(&raw const tine_copy_start)..address(&raw const tine_copy_end)).contains(&rip)
}

/// Where a routine that faulted goes on.
pub(super) fn fault_exit() -> u64 {
    let exit =
        if features().smap { &raw const tine_smap_fault_exit } else { &raw const tine_plain_fault_exit };
    exit.addr() as u64
}

// Eight bytes at a time: string moves of single bytes are slow under emulation.
global_asm!(
    r#"
.macro TINE_LABEL name
.globl \name
\name:
.endm

.macro TINE_ROUTINES set, open, close
TINE_LABEL tine_\set\()_copy
    mov rcx, rdx
    shr rcx, 3
    and edx, 7
    \open
    rep movsq
    mov ecx, edx
    rep movsb
    \close
    xor eax, eax
    ret

TINE_LABEL tine_\set\()_zero
    mov rcx, rsi
    mov edx, esi
    shr rcx, 3
    and edx, 7
    xor eax, eax
    \open
    rep stosq
    mov ecx, edx
    rep stosb
    \close
    ret

TINE_LABEL tine_\set\()_load_u32
    \open
    mov edx, [rdi]
    \close
    xor eax, eax
    ret

TINE_LABEL tine_\set\()_load_u64
    \open
    mov rdx, [rdi]
    \close
    xor eax, eax
    ret

TINE_LABEL tine_\set\()_store_u32
    \open
    mov [rdi], esi
    \close
    xor eax, eax
    ret

TINE_LABEL tine_\set\()_store_u64
    \open
    mov [rdi], rsi
    \close
    xor eax, eax
    ret

TINE_LABEL tine_\set\()_compare_exchange_u32
    mov eax, esi
    \open
    lock cmpxchg [rdi], edx
    \close
    mov edx, eax
    xor eax, eax
    ret
.endm

.pushsection .text.tine_copy, "ax", @progbits
.balign 16
TINE_LABEL tine_copy_start
TINE_ROUTINES smap, stac, clac
TINE_ROUTINES plain, nop, nop
TINE_LABEL tine_copy_end

TINE_LABEL tine_smap_fault_exit
    clac
TINE_LABEL tine_plain_fault_exit
    mov eax, 1
    ret
.popsection
"#
);
