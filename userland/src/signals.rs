//! Signal handlers that only take notes, so that installing them is safe.

use anyhow::Context;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::ffi::c_void;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering::SeqCst};

const SIGNALS: usize = 65;

struct Notes {
    count: AtomicU64,
    code: AtomicI32,
    pid: AtomicI32,
    address: AtomicUsize,
    stack: AtomicUsize,
}

static NOTES: [Notes; SIGNALS] = [const {
    Notes {
        count: AtomicU64::new(0),
        code: AtomicI32::new(0),
        pid: AtomicI32::new(0),
        address: AtomicUsize::new(0),
        stack: AtomicUsize::new(0),
    }
}; SIGNALS];

/// What the handler of a signal noted.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// How often it ran.
    pub count: u64,
    /// `si_code` of the last one.
    pub code: i32,
    /// `si_addr` of the last one; only faults have one.
    pub address: usize,
    /// `si_pid` of the last one; only kill(2) and SIGCHLD have one.
    pub pid: i32,
    /// An address on the stack that the last handler ran on.
    pub stack: usize,
}

/// What was noted about `signal` so far.
pub fn seen(signal: Signal) -> Seen {
    let notes = &NOTES[signal as usize];
    Seen {
        count: notes.count.load(SeqCst),
        code: notes.code.load(SeqCst),
        address: notes.address.load(SeqCst),
        pid: notes.pid.load(SeqCst),
        stack: notes.stack.load(SeqCst),
    }
}

/// Takes notes when `signal` arrives. After a fault the instruction is tried again; the handler gives way to other
/// threads first, one of which is expected to make the access possible.
pub fn note(signal: Signal, flags: SaFlags) -> anyhow::Result<()> {
    install(signal, SigHandler::SigAction(take_notes), flags)
}

/// Takes notes when `signal` arrives, and makes the page at `si_addr` readable and writable.
pub fn repair(signal: Signal, flags: SaFlags) -> anyhow::Result<()> {
    install(signal, SigHandler::SigAction(repair_page), flags)
}

/// Takes notes when `signal` arrives, and leaves other values in the floating-point and vector registers.
pub fn disturb_registers(signal: Signal, flags: SaFlags) -> anyhow::Result<()> {
    install(signal, SigHandler::SigAction(overwrite_registers), flags)
}

pub fn ignore(signal: Signal) -> anyhow::Result<()> {
    install(signal, SigHandler::SigIgn, SaFlags::empty())
}

/// Back to what the kernel does by default, with `flags` (SA_NOCLDWAIT has a meaning there).
pub fn restore_default(signal: Signal, flags: SaFlags) -> anyhow::Result<()> {
    install(signal, SigHandler::SigDfl, flags)
}

fn install(signal: Signal, handler: SigHandler, flags: SaFlags) -> anyhow::Result<()> {
    let action = SigAction::new(handler, flags, SigSet::empty());
    // SAFETY: the handlers of this module touch atomics and call only what signal-safety(7) allows.
    unsafe { sigaction(signal, &action) }.with_context(|| format!("sigaction({signal})"))?;
    Ok(())
}

extern "C" fn take_notes(signal: i32, info: *mut libc::siginfo_t, _: *mut c_void) {
    let marker = 0_u8;
    let notes = &NOTES[signal as usize];
    // SAFETY: the kernel passes a valid siginfo; the fields are plain integers whichever of them has a meaning.
    let (code, pid, address) = unsafe { ((*info).si_code, (*info).si_pid(), (*info).si_addr() as usize) };
    notes.code.store(code, SeqCst);
    notes.pid.store(pid, SeqCst);
    notes.address.store(address, SeqCst);
    notes.stack.store(&raw const marker as usize, SeqCst);
    notes.count.fetch_add(1, SeqCst);
    if matches!(signal, libc::SIGSEGV | libc::SIGBUS) {
        // SAFETY: a system call without arguments.
        unsafe { libc::sched_yield() };
    }
}

extern "C" fn repair_page(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    take_notes(signal, info, context);
    // SAFETY: as in `take_notes`.
    let page = unsafe { (*info).si_addr() }.map_addr(|address| address & !(crate::memory::PAGE - 1));
    // SAFETY: whoever installed this handler asked for that.
    unsafe { libc::mprotect(page, crate::memory::PAGE, libc::PROT_READ | libc::PROT_WRITE) };
}

extern "C" fn overwrite_registers(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    take_notes(signal, info, context);
    crate::fpu::disturb();
}
