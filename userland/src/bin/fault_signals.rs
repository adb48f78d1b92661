//! What handlers are told about faults, and what their frames look like. See sigaction(2), sigaltstack(2), sigreturn(2).

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::sys::mman::ProtFlags;
use std::ffi::c_void;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicPtr, Ordering::SeqCst};
use userland::checks::{self, Outcome};
use userland::children::{Child, exit_now};
use userland::memory::{PAGE, Pages};
use userland::shared::Shared;

fn main() -> ExitCode {
    checks::run(
        "fault_signals",
        &[
            ("wild accesses tell the address, and whether something is there", wild_accesses),
            (
                "an address that is none, and a privileged instruction, are the kernel's own",
                without_an_address,
            ),
            ("access behind the end of a mapped file is SIGBUS", behind_the_file),
            ("arithmetic and illegal instructions tell where", instructions),
            ("a floating-point exception tells which one", floating_point),
            ("a breakpoint is behind the instruction", breakpoint),
            ("a frame has the processor's state with Linux's marks", marks_in_the_frame),
            ("a frame tells the fault's vector, error and address", fault_in_the_frame),
            ("a handler may change what it returns to", handler_changes_registers),
            ("SS_AUTODISARM takes the stack away while the handler runs", auto_disarm),
            ("flags that mean nothing are cleared", unknown_flags),
        ],
    )
}

/// What a handler has seen: signal, code, address, and whatever else it was to look at.
type Seen = [AtomicI64; 6];

static SEEN: AtomicPtr<AtomicI64> = AtomicPtr::new(std::ptr::null_mut());

/// Takes notes and ends the process: what it returned to would fault again.
extern "C" fn note_and_exit(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel passes valid structures, and the notes are as long as their type says.
    unsafe {
        let notes = &*SEEN.load(SeqCst).cast::<Seen>();
        let registers = &(*context).uc_mcontext.gregs;
        let values = [
            i64::from(signal),
            i64::from((*info).si_code),
            (*info).si_addr() as i64,
            registers[libc::REG_RIP as usize],
            registers[libc::REG_TRAPNO as usize],
            registers[libc::REG_ERR as usize],
        ];
        values.iter().zip(notes).for_each(|(value, note)| note.store(*value, SeqCst));
    }
    exit_now(0)
}

type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void);

fn handle(signal: i32, handler: Handler, flags: i32) -> Outcome {
    // SAFETY: the structure is valid, and the handlers of this program call nothing that signal-safety(7) forbids.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | flags;
        Errno::result(libc::sigaction(signal, &action, std::ptr::null_mut())).context("sigaction")?;
    }
    Ok(())
}

/// What a handler sees when `body` faults, in a child.
fn seen(signal: i32, body: impl FnOnce()) -> anyhow::Result<[i64; 6]> {
    let notes = Shared::<AtomicI64>::zeroed(6)?;
    SEEN.store((&raw const notes[0]).cast_mut(), SeqCst);
    Child::start(|| {
        if handle(signal, note_and_exit, 0).is_ok() {
            body();
        }
        1
    })?
    .expect_exit(0)?;
    Ok(std::array::from_fn(|at| notes[at].load(SeqCst)))
}

fn expect(signal: i32, code: i32, address: Option<u64>, body: impl FnOnce()) -> Outcome {
    let [its_signal, its_code, its_address, rip, ..] = seen(signal, body)?;
    ensure!(
        (its_signal, its_code) == (signal.into(), code.into()),
        "{its_signal}, code {its_code}, not {code}"
    );
    let expected = address.unwrap_or(rip as u64);
    ensure!(its_address as u64 == expected, "si_addr is {its_address:#x}, not {expected:#x}");
    Ok(())
}

fn load_from(address: u64) {
    // SAFETY: the load faults, and the process ends in the handler.
    unsafe { std::arch::asm!("mov {0}, [{0}]", inout(reg) address => _) }
}

const MAPERR: i32 = 1;
const ACCERR: i32 = 2;
const ADRERR: i32 = 2;

fn wild_accesses() -> Outcome {
    let pages = Pages::private(2)?;
    let address = pages.address(0) as u64;
    pages.protect(ProtFlags::PROT_NONE)?;
    expect(libc::SIGSEGV, ACCERR, Some(address + 24), || load_from(address + 24))?;
    pages.protect(ProtFlags::PROT_READ)?;
    expect(libc::SIGSEGV, ACCERR, Some(address), || pages.store(0, 1))?;
    // SAFETY: the call faults on its first instruction, and the process ends in the handler.
    let execute = || unsafe { std::arch::asm!("call {}", in(reg) address) };
    expect(libc::SIGSEGV, ACCERR, Some(address), execute)?;
    pages.unmap()?;
    expect(libc::SIGSEGV, MAPERR, Some(address), || load_from(address))?;
    expect(libc::SIGSEGV, MAPERR, Some(8), || load_from(8))?;
    expect(libc::SIGSEGV, MAPERR, Some(0xffff_8000_0000_0000), || load_from(0xffff_8000_0000_0000))
}

fn without_an_address() -> Outcome {
    expect(libc::SIGSEGV, libc::SI_KERNEL, Some(0), || load_from(0x8000_0000_0000_0000))?;
    // SAFETY: the instruction faults, and the process ends in the handler.
    expect(libc::SIGSEGV, libc::SI_KERNEL, Some(0), || unsafe { std::arch::asm!("hlt") })
}

fn behind_the_file() -> Outcome {
    let file = std::fs::File::open(std::env::current_exe()?)?;
    let length = file.metadata()?.len() as usize;
    let whole = length.next_multiple_of(PAGE);
    // SAFETY: a new mapping, for reading.
    let at = unsafe {
        let (protection, flags) = (libc::PROT_READ, libc::MAP_PRIVATE);
        libc::mmap(std::ptr::null_mut(), whole + PAGE, protection, flags, file.as_raw_fd(), 0)
    };
    ensure!(at != libc::MAP_FAILED, "mmap: {}", Errno::last());
    let address = (at as usize + whole) as u64;
    expect(libc::SIGBUS, ADRERR, Some(address + 8), || load_from(address + 8))
}

fn instructions() -> Outcome {
    const INTDIV: i32 = 1;
    const ILLOPN: i32 = 2;
    // SAFETY: each of these ends in the handler.
    expect(libc::SIGILL, ILLOPN, None, || unsafe { std::arch::asm!("ud2") })?;
    // SAFETY: as above.
    expect(libc::SIGFPE, INTDIV, None, || unsafe {
        std::arch::asm!("div {0:e}", in(reg) 0_u32, inout("eax") 1_u32 => _, inout("edx") 0_u32 => _);
    })
}

fn floating_point() -> Outcome {
    const FLTDIV: i32 = 3;
    const FLTINV: i32 = 7;
    /// All exceptions of the x87 masked but division by zero and invalid operation. QEMU's emulation raises none of SSE's.
    const CONTROL: u16 = 0x37f & !(1 << 2 | 1 << 0);
    let divide = |dividend: f64| {
        // SAFETY: the control word is changed for the one division, which ends in the handler.
        unsafe {
            std::arch::asm!(
                "fldcw [{control}]",
                "fld qword ptr [{dividend}]",
                "fldz",
                "fdivp st(1), st",
                "fwait",
                control = in(reg) &CONTROL,
                dividend = in(reg) &dividend,
            );
        }
    };
    expect(libc::SIGFPE, FLTDIV, None, || divide(1.0))?;
    expect(libc::SIGFPE, FLTINV, None, || divide(0.0))
}

fn breakpoint() -> Outcome {
    // SAFETY: the breakpoint ends in the handler.
    expect(libc::SIGTRAP, libc::SI_KERNEL, Some(0), || unsafe { std::arch::asm!("int3") })
}

/// `struct _fpx_sw_bytes` (`asm/sigcontext.h`), at the end of the legacy area.
const SOFTWARE_BYTES: usize = 464;
const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;

static MARKS: [AtomicI64; 5] = [const { AtomicI64::new(0) }; 5];

extern "C" fn look_at_marks(_: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel passes a valid context, whose floating-point state is as long as it says.
    unsafe {
        let area = (*context).uc_mcontext.fpregs.cast::<u8>();
        let word = |at: usize| area.add(at).cast::<u32>().read_unaligned();
        let size = word(SOFTWARE_BYTES + 4);
        let values = [
            (*context).uc_flags as i64,
            i64::from(word(SOFTWARE_BYTES)),
            i64::from(word(size as usize - 4)),
            area as i64 % 64,
            i64::from(size - word(SOFTWARE_BYTES + 16)),
        ];
        values.iter().zip(&MARKS).for_each(|(value, mark)| mark.store(*value, SeqCst));
    }
}

fn marks_in_the_frame() -> Outcome {
    const FP_XSTATE: i64 = 1;
    handle(libc::SIGUSR1, look_at_marks, 0)?;
    // SAFETY: a call that takes a number.
    unsafe { libc::raise(libc::SIGUSR1) };
    let [flags, first, second, misaligned, behind] = std::array::from_fn(|at| MARKS[at].load(SeqCst));
    ensure!(flags & FP_XSTATE != 0, "uc_flags is {flags:#x}");
    ensure!((first, second) == (MAGIC1.into(), MAGIC2.into()), "the marks are {first:#x} and {second:#x}");
    ensure!(misaligned == 0, "the area is {misaligned} bytes behind a multiple of 64");
    ensure!(behind == 4, "{behind} bytes are behind the area");
    Ok(())
}

fn fault_in_the_frame() -> Outcome {
    const PAGE_FAULT: i64 = 14;
    const USER: i64 = 4;
    let [.., vector, error] = seen(libc::SIGSEGV, || load_from(8))?;
    ensure!((vector, error) == (PAGE_FAULT, USER), "vector {vector}, error {error:#x}");
    Ok(())
}

extern "C" fn skip_instruction(_: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
    const UD2_LENGTH: i64 = 2;
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel passes a valid context, and what is behind the instruction expects to be gone on with.
    unsafe {
        (*context).uc_mcontext.gregs[libc::REG_RIP as usize] += UD2_LENGTH;
        (*context).uc_mcontext.gregs[libc::REG_RBX as usize] = 77;
    }
}

fn handler_changes_registers() -> Outcome {
    handle(libc::SIGILL, skip_instruction, 0)?;
    let value: u64;
    // SAFETY: RBX is put back; the handler goes on behind the illegal instruction.
    unsafe {
        std::arch::asm!(
            "push rbx",
            "xor ebx, ebx",
            "ud2",
            "mov {0}, rbx",
            "pop rbx",
            out(reg) value,
            out("rdx") _,
        );
    }
    ensure!(value == 77, "the register is {value}");
    Ok(())
}

const SS_AUTODISARM: i32 = i32::MIN;

static STACK_FLAGS: AtomicI32 = AtomicI32::new(-1);

fn stack_flags() -> i32 {
    // SAFETY: the structure lives across the call.
    unsafe {
        let mut stack: libc::stack_t = std::mem::zeroed();
        libc::sigaltstack(std::ptr::null(), &mut stack);
        stack.ss_flags
    }
}

extern "C" fn ask_for_stack(_: i32, _: *mut libc::siginfo_t, _: *mut c_void) {
    STACK_FLAGS.store(stack_flags(), SeqCst);
}

fn auto_disarm() -> Outcome {
    let pages = Pages::private(16)?;
    let use_stack = |flags: i32| {
        let size = pages.len() * PAGE;
        let stack = libc::stack_t { ss_sp: pages.address(0) as *mut _, ss_flags: flags, ss_size: size };
        // SAFETY: the pages are nothing else, and stay for the rest of the check.
        Errno::result(unsafe { libc::sigaltstack(&stack, std::ptr::null_mut()) }).context("sigaltstack")
    };
    handle(libc::SIGUSR1, ask_for_stack, libc::SA_ONSTACK)?;
    let raise = || {
        // SAFETY: a call that takes a number.
        unsafe { libc::raise(libc::SIGUSR1) };
        STACK_FLAGS.load(SeqCst)
    };
    use_stack(0)?;
    ensure!(raise() == libc::SS_ONSTACK, "in the handler: {}", STACK_FLAGS.load(SeqCst));
    ensure!(stack_flags() == 0, "after the handler: {}", stack_flags());
    use_stack(SS_AUTODISARM)?;
    ensure!(raise() == libc::SS_DISABLE, "in the handler: {}", STACK_FLAGS.load(SeqCst));
    ensure!(stack_flags() == SS_AUTODISARM, "after the handler: {:#x}", stack_flags());
    Ok(())
}

fn unknown_flags() -> Outcome {
    /// `SA_UNSUPPORTED`, which is promised to mean nothing for ever.
    const UNSUPPORTED: i32 = 0x400;
    handle(libc::SIGUSR1, ask_for_stack, UNSUPPORTED | libc::SA_RESTART)?;
    // SAFETY: the structure lives across the call.
    let flags = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        Errno::result(libc::sigaction(libc::SIGUSR1, std::ptr::null(), &mut action))?;
        action.sa_flags
    };
    ensure!(flags & UNSUPPORTED == 0, "the flags are {flags:#x}");
    ensure!(flags & libc::SA_RESTART != 0, "SA_RESTART is gone: {flags:#x}");
    Ok(())
}
