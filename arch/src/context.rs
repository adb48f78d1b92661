//! Switching between kernel stacks.
//!
//! A [`Context`] is the stack pointer of kernel code that gave up its CPU; the rest is on that stack. Does
//! not know threads, address spaces or user registers: whoever switches sees to those.

use core::arch::naked_asm;
use x86_64::VirtAddr;

/// Where to go on with kernel code that is not running.
#[repr(C)]
#[derive(Debug)]
pub struct Context {
    rsp: u64,
}

/// What [`switch`] leaves on the stack, lowest address first.
#[repr(C)]
struct Saved {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    rbx: u64,
    rbp: u64,
    rip: u64,
    /// The end of the chain of frames, for backtraces: no caller.
    bottom: [u64; 2],
}

impl Context {
    /// A place for [`switch`] to save to.
    pub const fn empty() -> Self {
        Self { rsp: 0 }
    }

    /// A context that calls `entry(arg)` on the stack that ends at `stack_top`, with interrupts as they are
    /// at the switch.
    ///
    /// # Safety
    /// `stack_top` is aligned to 16 bytes; the stack below it is mapped, unused, and lives as long as the
    /// context runs.
    pub unsafe fn new(stack_top: VirtAddr, entry: extern "C" fn(usize) -> !, arg: usize) -> Self {
        let rsp = stack_top - size_of::<Saved>() as u64;
        let start = Saved {
            r15: 0,
            r14: 0,
            r13: 0,
            r12: arg as u64,
            rbx: entry as usize as u64,
            rbp: 0,
            rip: begin as *const () as u64,
            bottom: [0; 2],
        };
        // SAFETY: the caller owns the stack.
        unsafe { rsp.as_mut_ptr::<Saved>().write_unaligned(start) };
        Self { rsp: rsp.as_u64() }
    }

    /// The stack pointer where it left off, for reports.
    pub fn stack_pointer(&self) -> VirtAddr {
        VirtAddr::new_truncate(self.rsp)
    }

    /// The frame pointer where it left off: where a backtrace of it starts. Only while it is not running.
    pub(crate) fn frame_pointer(&self) -> Option<VirtAddr> {
        let slot = self.rsp.checked_add(core::mem::offset_of!(Saved, rbp) as u64)?;
        crate::copy::probe(VirtAddr::new_truncate(slot)).ok().map(VirtAddr::new_truncate)
    }
}

/// Saves where the caller is in `from` and goes on with `to`; returns when somebody switches back.
///
/// # Safety
/// Interrupts are off. `to` was made by [`Context::new`] or saved by this function, is running nowhere, and
/// its stack is mapped. Both stay in place until the switch is done.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn switch(from: *mut Context, to: *const Context) {
    // RDI = from, RSI = to. Callee-saved registers only: to the caller it is an ordinary call.
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi], rsp",
        "mov rsp, [rsi]",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// The first code of a new context: RBX = entry, R12 = argument.
#[unsafe(naked)]
extern "sysv64" fn begin() -> ! {
    naked_asm!("xor ebp, ebp", "mov rdi, r12", "call rbx", "ud2")
}
