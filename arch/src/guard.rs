//! Calls that survive a panic.
//!
//! [`call`] runs a closure. Should that panic, the panic handler calls [`abandon`], and `call` returns as if the closure had,
//! but says so. There is no unwinding: what the closure's functions hold on their stack is forgotten, not dropped. So it
//! is for code that holds nothing whose loss would matter: no lock, and memory only that may leak.
//!
//! Knows nothing of what is called, nor of panics.

use crate::cpu::local;
use core::arch::naked_asm;
use core::sync::atomic::Ordering::Relaxed;

/// What must be as it was when a guarded call began for it to be abandoned.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Surroundings {
    interrupt_depth: u32,
    irq_locks: u32,
}

impl Surroundings {
    fn here() -> Self {
        local::with(|cpu| Self {
            interrupt_depth: cpu.interrupt_depth.load(Relaxed),
            irq_locks: cpu.irq_locks.load(Relaxed),
        })
    }
}

/// One guarded call. It lies in the frame of [`call`], and the per-CPU word `guard` points to it.
#[repr(C)]
struct Guard {
    /// The stack pointer of [`enter`], written by it.
    rsp: u64,
    surroundings: Surroundings,
}

/// Calls `body`; false if that was abandoned.
///
/// Neither `body` nor what it calls gives up the CPU, or keeps interrupts off beyond its end.
#[inline]
pub fn call(body: &mut dyn FnMut()) -> bool {
    let mut body = body;
    let mut guard = Guard { rsp: 0, surroundings: Surroundings::here() };
    let outer = local::with(|cpu| {
        let outer = cpu.guard.load(Relaxed);
        cpu.guard.store((&raw mut guard).addr() as u64, Relaxed);
        outer
    });
    // SAFETY: both pointers are to locals that outlive the call. To the compiler this is one call that returns once: either
    // when `run` does, or by `abandon`, which leads to the end of the same `enter` with the callee-saved registers that
    // it pushed.
    let survived = unsafe { enter((&raw mut guard).cast(), (&raw mut body).cast(), run) };
    local::with(|cpu| cpu.guard.store(outer, Relaxed));
    survived != 0
}

unsafe extern "sysv64" fn run(body: *mut ()) {
    // SAFETY: `call` passes a pointer to its `body`, which nobody else uses meanwhile.
    let body = unsafe { &mut *body.cast::<&mut dyn FnMut()>() };
    body();
}

/// Calls `run(body)` and returns 1, or 0 if [`abandon`] ended it. `guard` is where the stack pointer is left for that.
///
/// # Safety
/// `guard` points to a [`Guard`], whose first field is written; `body` is what `run` takes.
#[unsafe(naked)]
unsafe extern "sysv64" fn enter(
    guard: *mut (),
    body: *mut (),
    run: unsafe extern "sysv64" fn(*mut ()),
) -> u64 {
    // RDI = guard, RSI = body, RDX = run. Six registers and the return address: 8 bytes more align the stack.
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "mov [rdi], rsp",
        "mov rdi, rsi",
        "call rdx",
        "mov eax, 1",
        "jmp {end}",
        end = sym end,
    )
}

/// The end of [`enter`], with the stack pointer that it left in the guard: gives back the registers, and returns RAX.
///
/// # Safety
/// To be jumped to by `enter` and [`leave`] only.
#[unsafe(naked)]
unsafe extern "sysv64" fn end() {
    naked_asm!("add rsp, 8", "pop r15", "pop r14", "pop r13", "pop r12", "pop rbx", "pop rbp", "ret",)
}

/// Ends the innermost guarded call of this CPU, which returns false; before, it calls `last_words`. Returns if there is
/// none, or if a lock that keeps interrupts off was taken in it, or if this is an interrupt handler that has hit it: then
/// whoever asks is not the code that was guarded, or left something behind that cannot be forgotten.
///
/// For a panic handler. Interrupts stay as the guarded code has them.
pub fn abandon(last_words: impl FnOnce()) {
    let guard = local::with(|cpu| cpu.guard.load(Relaxed)) as *const Guard;
    // SAFETY: null, or `call` wrote it for a call of this CPU that has not returned: it takes the word back when it does,
    // and a guarded call does not give up its CPU. So the `Guard` is alive, on the stack above us.
    let Some(guard) = (unsafe { guard.as_ref() }) else { return };
    if guard.surroundings != Surroundings::here() {
        return;
    }
    last_words();
    // SAFETY: `enter` is active on this very stack, below whose saved stack pointer everything is given up: frames of the
    // guarded code and of the panic that it caused. That code is safe Rust without pinned locals or scoped threads, and
    // nobody else was lent a reference to its frames; what they own is leaked. No interrupt handler is among the frames,
    // as the depth of interrupts is what it was.
    unsafe { leave(guard.rsp) }
}

/// Goes on at the end of [`enter`] with the stack pointer that it had.
///
/// # Safety
/// `rsp` was written by `enter`, which has not returned.
#[unsafe(naked)]
unsafe extern "sysv64" fn leave(rsp: u64) -> ! {
    naked_asm!(
        "mov rsp, rdi",
        "xor eax, eax",
        "jmp {end}",
        end = sym end,
    )
}
