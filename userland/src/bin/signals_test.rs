//! Signals: what kills, what is handled, blocked, interrupted and restarted, and what a handler leaves alone.
//! See signal(7), sigaction(2), sigaltstack(2).

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::sys::mman::ProtFlags;
use nix::sys::signal::{SaFlags, SigSet, SigmaskHow, Signal, kill, raise, sigprocmask};
use nix::unistd::{getpid, gettid, read};
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use userland::checks::{self, Outcome};
use userland::children::{Child, report};
use userland::fpu::Registers;
use userland::memory::{PAGE, Pages, WORDS};
use userland::{signals, wait};

fn main() -> ExitCode {
    checks::run(
        "signals_test",
        &[
            ("without a handler, a wild access kills by SIGSEGV", wild_access_kills),
            ("an illegal instruction kills by SIGILL, a division by zero by SIGFPE", faults_kill),
            ("a breakpoint and a single step are SIGTRAP, each with its code", traps_are_signals),
            ("a handler learns the address of a fault, and may repair it", handler_repairs),
            ("a handler runs on the alternate stack", alternate_stack),
            ("a fault without a stack for its handler kills", no_stack_kills),
            ("kill, tgkill and raise reach the handler", ways_to_send),
            ("the handler learns who sent the signal", sender_is_known),
            ("a blocked signal waits until it is unblocked, once", blocked_signals_wait),
            ("after a handler, the mask is what it was", mask_is_restored),
            ("SA_RESETHAND handles once", handles_once),
            ("an ignored signal does nothing", ignored_signals),
            ("SIGKILL cannot be caught, blocked or ignored", kill_is_final),
            ("a read is interrupted, or goes on with SA_RESTART", interrupted_read),
            ("a sleep is interrupted", interrupted_sleep),
            ("a handler changes no register of what it interrupts", registers_survive),
            ("handlers are inherited by fork, and so is the mask", inherited_by_fork),
            ("signals reach a process that computes", reaches_running_process),
        ],
    )
}

fn kills(signal: Signal, body: impl FnOnce()) -> Outcome {
    Child::start(|| {
        let prepared = signals::restore_default(signal, SaFlags::empty());
        body();
        report(prepared)
    })?
    .expect_killed(signal)
}

fn wild_access_kills() -> Outcome {
    let pages = &Pages::private(1)?;
    pages.protect(ProtFlags::PROT_NONE)?;
    kills(Signal::SIGSEGV, || pages.store(0, 1))?;
    kills(Signal::SIGSEGV, || {
        pages.load(0);
    })?;
    pages.protect(ProtFlags::PROT_READ)?;
    kills(Signal::SIGSEGV, || pages.store(0, 1))?;
    pages.unmap()?;
    kills(Signal::SIGSEGV, || {
        pages.load(0);
    })?;
    // The kernel's half of the address space, and an address that is none.
    for address in [0xffff_8000_0000_0000_u64, 0x8000_0000_0000_0000, 8] {
        kills(Signal::SIGSEGV, || {
            // SAFETY: the load faults, and the process ends there.
            unsafe { std::arch::asm!("mov {0}, [{0}]", inout(reg) address => _) }
        })?;
    }
    Ok(())
}

fn faults_kill() -> Outcome {
    // SAFETY: each of these ends the process where it stands.
    kills(Signal::SIGILL, || unsafe { std::arch::asm!("ud2") })?;
    // SAFETY: as above.
    kills(Signal::SIGFPE, || unsafe {
        std::arch::asm!("div {0:e}", in(reg) 0_u32, inout("eax") 1_u32 => _, inout("edx") 0_u32 => _);
    })?;
    // SAFETY: as above.
    kills(Signal::SIGTRAP, || unsafe { std::arch::asm!("int3") })?;
    // SAFETY: as above; a privileged instruction raises a general-protection fault in user mode.
    kills(Signal::SIGSEGV, || unsafe { std::arch::asm!("hlt") })
}

/// Sets the trap flag for some instructions, in a program that nobody debugs.
fn step_by_itself() {
    // SAFETY: only flags change, and they are as before at the end.
    unsafe {
        std::arch::asm!(
            "pushfq",
            "or qword ptr [rsp], 0x100",
            "popfq",
            "nop",
            "pushfq",
            "and qword ptr [rsp], ~0x100",
            "popfq",
        );
    }
}

fn traps_are_signals() -> Outcome {
    kills(Signal::SIGTRAP, step_by_itself)?;
    signals::note(Signal::SIGTRAP, SaFlags::empty())?;
    // SAFETY: the handler takes notes and returns behind the breakpoint.
    unsafe { std::arch::asm!("int3") };
    let seen = signals::seen(Signal::SIGTRAP);
    ensure!((seen.count, seen.code) == (1, libc::SI_KERNEL), "after a breakpoint: {seen:?}");
    step_by_itself();
    let seen = signals::seen(Signal::SIGTRAP);
    ensure!(seen.count > 1 && seen.code == libc::TRAP_TRACE, "after single steps: {seen:?}");
    Ok(())
}

fn handler_repairs() -> Outcome {
    let pages = Pages::private(2)?;
    signals::repair(Signal::SIGSEGV, SaFlags::empty())?;
    pages.protect(ProtFlags::PROT_NONE)?;
    pages.store(WORDS + 5, 99);
    let seen = signals::seen(Signal::SIGSEGV);
    ensure!(seen.count == 1, "the handler ran {} times", seen.count);
    ensure!(seen.address == pages.address(WORDS + 5), "si_addr is {:#x}", seen.address);
    ensure!(seen.code == 2, "si_code is {} and not SEGV_ACCERR", seen.code);
    ensure!(pages.load(WORDS + 5) == 99, "the store was not done again");
    Ok(())
}

/// Gives the calling thread a stack for handlers with SA_ONSTACK; returns the addresses that it has.
fn use_alternate_stack(pages: &Pages) -> anyhow::Result<std::ops::Range<usize>> {
    let start = pages.address(0);
    let size = pages.len() * PAGE;
    let stack = libc::stack_t { ss_sp: start as *mut _, ss_flags: 0, ss_size: size };
    // SAFETY: the pages are nothing else, and the callers keep them for the rest of the process.
    Errno::result(unsafe { libc::sigaltstack(&stack, std::ptr::null_mut()) }).context("sigaltstack")?;
    Ok(start..start + size)
}

fn alternate_stack() -> Outcome {
    let pages = Pages::private(16)?;
    let stack = use_alternate_stack(&pages)?;
    signals::note(Signal::SIGUSR1, SaFlags::SA_ONSTACK)?;
    signals::note(Signal::SIGUSR2, SaFlags::empty())?;
    raise(Signal::SIGUSR1)?;
    raise(Signal::SIGUSR2)?;
    ensure!(stack.contains(&signals::seen(Signal::SIGUSR1).stack), "with SA_ONSTACK, not on that stack");
    ensure!(!stack.contains(&signals::seen(Signal::SIGUSR2).stack), "without SA_ONSTACK, on that stack");
    Ok(())
}

fn no_stack_kills() -> Outcome {
    Child::start(|| {
        report((|| {
            signals::note(Signal::SIGUSR1, SaFlags::empty())?;
            signals::restore_default(Signal::SIGSEGV, SaFlags::empty())?;
            // SAFETY: the stack pointer is changed for one system call, which delivers a signal and so does not return.
            unsafe {
                std::arch::asm!(
                    "mov rsp, 4096",
                    "syscall",
                    in("rax") libc::SYS_tgkill,
                    in("rdi") getpid().as_raw(),
                    in("rsi") gettid().as_raw(),
                    in("rdx") libc::SIGUSR1,
                    options(noreturn)
                )
            }
        })())
    })?
    .expect_killed(Signal::SIGSEGV)
}

fn ways_to_send() -> Outcome {
    signals::note(Signal::SIGUSR1, SaFlags::empty())?;
    let count = || signals::seen(Signal::SIGUSR1).count;
    raise(Signal::SIGUSR1)?;
    ensure!(count() == 1, "raise: {}", count());
    kill(getpid(), Signal::SIGUSR1)?;
    ensure!(count() == 2, "kill: {}", count());
    // SAFETY: a call that takes plain numbers.
    let sent =
        unsafe { libc::syscall(libc::SYS_tgkill, getpid().as_raw(), gettid().as_raw(), libc::SIGUSR1) };
    Errno::result(sent).context("tgkill")?;
    ensure!(count() == 3, "tgkill: {}", count());
    ensure!(kill(getpid(), None).is_ok(), "signal 0 to this process is refused");
    let stranger = nix::unistd::Pid::from_raw(i32::MAX);
    ensure!(kill(stranger, None) == Err(Errno::ESRCH), "a process that does not exist can be signalled");
    Ok(())
}

fn sender_is_known() -> Outcome {
    signals::note(Signal::SIGUSR1, SaFlags::SA_RESTART)?;
    let parent = getpid();
    let child = Child::start(|| report(kill(parent, Signal::SIGUSR1).context("kill")))?;
    let pid = child.pid().as_raw();
    child.expect_exit(0)?;
    wait::until("the signal arrives", || signals::seen(Signal::SIGUSR1).count == 1)?;
    let seen = signals::seen(Signal::SIGUSR1);
    ensure!((seen.pid, seen.code) == (pid, libc::SI_USER), "sent by {pid}, the handler saw {seen:?}");
    Ok(())
}

fn set(signal: Signal) -> SigSet {
    let mut set = SigSet::empty();
    set.add(signal);
    set
}

fn pending() -> anyhow::Result<SigSet> {
    let mut pending = SigSet::empty().as_ref().to_owned();
    // SAFETY: the kernel fills in a set of the right size.
    Errno::result(unsafe { libc::sigpending(&mut pending) }).context("sigpending")?;
    // SAFETY: it is a valid set, as the kernel wrote it.
    Ok(unsafe { SigSet::from_sigset_t_unchecked(pending) })
}

fn blocked_signals_wait() -> Outcome {
    signals::note(Signal::SIGUSR1, SaFlags::empty())?;
    let count = || signals::seen(Signal::SIGUSR1).count;
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set(Signal::SIGUSR1)), None)?;
    ensure!(!pending()?.contains(Signal::SIGUSR1), "a signal is pending that nobody sent");
    (0..3).try_for_each(|_| raise(Signal::SIGUSR1))?;
    ensure!(count() == 0, "a blocked signal was handled");
    ensure!(pending()?.contains(Signal::SIGUSR1), "the signal is not pending");
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&set(Signal::SIGUSR1)), None)?;
    ensure!(count() == 1, "after unblocking, it was handled {} times", count());
    ensure!(!pending()?.contains(Signal::SIGUSR1), "the signal is still pending");
    Ok(())
}

fn mask_is_restored() -> Outcome {
    signals::note(Signal::SIGUSR1, SaFlags::empty())?;
    raise(Signal::SIGUSR1)?;
    raise(Signal::SIGUSR1)?;
    ensure!(signals::seen(Signal::SIGUSR1).count == 2, "the mask was not restored after the handler");
    let mut mask = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, None, Some(&mut mask))?;
    ensure!(!mask.contains(Signal::SIGUSR1), "the signal is blocked after its handler");
    Ok(())
}

fn handles_once() -> Outcome {
    Child::start(|| {
        report((|| {
            signals::note(Signal::SIGUSR1, SaFlags::SA_RESETHAND)?;
            raise(Signal::SIGUSR1)?;
            ensure!(signals::seen(Signal::SIGUSR1).count == 1, "not handled");
            raise(Signal::SIGUSR1)?;
            Ok(())
        })())
    })?
    .expect_killed(Signal::SIGUSR1)
}

fn ignored_signals() -> Outcome {
    signals::ignore(Signal::SIGTERM)?;
    raise(Signal::SIGTERM)?;
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set(Signal::SIGTERM)), None)?;
    raise(Signal::SIGTERM)?;
    signals::restore_default(Signal::SIGCHLD, SaFlags::empty())?;
    raise(Signal::SIGCHLD)?;
    Ok(())
}

fn kill_is_final() -> Outcome {
    let refused = signals::note(Signal::SIGKILL, SaFlags::empty()).unwrap_err();
    ensure!(refused.downcast_ref() == Some(&Errno::EINVAL), "a handler for SIGKILL: {refused:#}");
    ensure!(signals::ignore(Signal::SIGKILL).is_err(), "SIGKILL can be ignored");
    Child::start(|| {
        report((|| {
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
            raise(Signal::SIGKILL)?;
            Ok(())
        })())
    })?
    .expect_killed(Signal::SIGKILL)
}

/// A child that sends SIGUSR1 to this process every few milliseconds until it is dropped.
fn pester() -> anyhow::Result<Child> {
    let parent = getpid();
    Child::start(|| {
        loop {
            thread::sleep(Duration::from_millis(3));
            if kill(parent, Signal::SIGUSR1).is_err() {
                return 1;
            }
        }
    })
}

fn interrupted_read() -> Outcome {
    let (reader, mut writer) = std::io::pipe()?;
    signals::note(Signal::SIGUSR1, SaFlags::empty())?;
    let pest = pester()?;
    ensure!(read(&reader, &mut [0]) == Err(Errno::EINTR), "without SA_RESTART, the read is not interrupted");
    signals::note(Signal::SIGUSR1, SaFlags::SA_RESTART)?;
    let before = signals::seen(Signal::SIGUSR1).count;
    let written = AtomicBool::new(false);
    thread::scope(|scope| {
        let blocked = set(Signal::SIGUSR1);
        let mut outer = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), Some(&mut outer))?;
        let late = scope.spawn(|| -> Outcome {
            wait::until("the reader is interrupted", || signals::seen(Signal::SIGUSR1).count > before + 3)?;
            written.store(true, SeqCst);
            Ok(writer.write_all(b"x")?)
        });
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&outer), None)?;
        let mut byte = [0];
        let count = read(&reader, &mut byte).context("with SA_RESTART, the read is interrupted")?;
        ensure!((count, byte) == (1, *b"x") && written.load(SeqCst), "read {count} bytes");
        late.join().expect("no check panics")
    })?;
    drop(pest);
    Ok(())
}

fn interrupted_sleep() -> Outcome {
    signals::note(Signal::SIGUSR1, SaFlags::SA_RESTART)?;
    let pest = pester()?;
    let hour = libc::timespec { tv_sec: 3600, tv_nsec: 0 };
    let mut rest = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both are timespecs.
    let result = Errno::result(unsafe { libc::nanosleep(&hour, &mut rest) });
    drop(pest);
    ensure!(result == Err(Errno::EINTR), "nanosleep returned {result:?}");
    ensure!((3590..3600).contains(&rest.tv_sec), "{} of 3600 s remain", rest.tv_sec);
    Ok(())
}

fn registers_survive() -> Outcome {
    signals::disturb_registers(Signal::SIGUSR1, SaFlags::empty())?;
    let pest = pester()?;
    let (own, signal) = ([getpid(), gettid()].map(|id| id.as_raw() as u64), Signal::SIGUSR1 as u64);
    for seed in 1..=100 {
        let pattern = Registers::pattern(seed);
        // SAFETY: the calls send this thread a signal whose handler only takes notes.
        let (found, result) =
            unsafe { pattern.kept_across([libc::SYS_tgkill as u64, own[0], own[1], signal], 20_000) };
        ensure!(result == 0, "tgkill returned {result}");
        ensure!(found == pattern, "after the handler: {found:x?}, before: {pattern:x?}");
    }
    drop(pest);
    ensure!(signals::seen(Signal::SIGUSR1).count >= 100, "the handler did not run each time");
    Ok(())
}

fn inherited_by_fork() -> Outcome {
    signals::note(Signal::SIGUSR1, SaFlags::empty())?;
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set(Signal::SIGUSR1)), None)?;
    raise(Signal::SIGUSR1)?;
    userland::children::in_child(|| {
        ensure!(!pending()?.contains(Signal::SIGUSR1), "a pending signal was inherited");
        raise(Signal::SIGUSR1)?;
        ensure!(signals::seen(Signal::SIGUSR1).count == 0, "the mask was not inherited");
        sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&set(Signal::SIGUSR1)), None)?;
        ensure!(signals::seen(Signal::SIGUSR1).count == 1, "the handler was not inherited");
        Ok(())
    })?;
    ensure!(pending()?.contains(Signal::SIGUSR1), "the parent's pending signal is gone");
    Ok(())
}

fn reaches_running_process() -> Outcome {
    let counted = &userland::shared::Shared::<AtomicU64>::zeroed(1)?[0];
    let child = Child::start(|| {
        report((|| {
            signals::note(Signal::SIGUSR1, SaFlags::empty())?;
            counted.fetch_add(1, SeqCst);
            while signals::seen(Signal::SIGUSR1).count == 0 {
                std::hint::spin_loop();
            }
            Ok(())
        })())
    })?;
    wait::until("the child is ready", || counted.load(SeqCst) == 1)?;
    child.signal(Signal::SIGUSR1)?;
    child.expect_exit(0)?;
    Ok(())
}
