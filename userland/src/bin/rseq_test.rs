//! Restartable sequences, and memory barriers on other processors.

use anyhow::ensure;
use nix::errno::Errno;
use std::arch::asm;
use std::process::ExitCode;
use std::ptr::{read_volatile, write_volatile};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use userland::checks::{self, Outcome};
use userland::children::{Child, report};
use userland::cpus;

fn main() -> ExitCode {
    checks::run(
        "rseq_test",
        &[
            ("a thread registers one area", registers),
            ("the area says where the thread runs, wherever it is moved", says_the_cpu),
            ("who loses its CPU in a sequence is at the abort handler", aborted_by_preemption),
            ("so is who takes a signal in one", aborted_by_signal),
            ("counters of each CPU lose nothing", counters),
            ("a sequence without its signature is SIGSEGV", wrong_signature),
            ("a forked child keeps the area", inherited),
            ("barriers need to be registered for", barriers),
            ("a barrier restarts the sequences of other threads", barrier_restarts),
        ],
    )
}

const SIGNATURE: u32 = 0x5305_3053;

#[repr(C, align(32))]
struct Area {
    cpu_start: u32,
    cpu: u32,
    sequence: u64,
    flags: u32,
    node: u32,
    concurrency: u32,
    padding: u32,
}

fn call(area: *mut Area, length: u32, flags: u32, signature: u32) -> Result<i64, Errno> {
    // SAFETY: each caller's area lives as long as it is registered.
    Errno::result(unsafe { libc::syscall(libc::SYS_rseq, area, length, flags, signature) })
}

unsafe extern "C" {
    static __rseq_offset: isize;
    static __rseq_size: u32;
}

/// Takes back the registration of the C library, if it has made one.
fn unregister_library() {
    let thread: usize;
    // SAFETY: the thread pointer points to itself on x86-64 (System V ABI, ELF handling for TLS); the library says where its
    // area is from there, and nothing of it uses that.
    unsafe {
        asm!("mov {}, fs:0", out(reg) thread);
        if __rseq_size > 0 {
            let area = thread.wrapping_add_signed(__rseq_offset) as *mut Area;
            let _ = call(area, 32, 1, SIGNATURE);
        }
    }
}

/// An area of this thread's own, which lives for ever.
fn register() -> Result<*mut Area, Errno> {
    unregister_library();
    let fresh = Area { cpu_start: 9, cpu: 9, sequence: 0, flags: 0, node: 9, concurrency: 9, padding: 0 };
    let area = Box::leak(Box::new(fresh));
    call(area, 32, 0, SIGNATURE)?;
    Ok(area)
}

/// The CPU that the area names.
fn cpu_in(area: *mut Area) -> usize {
    // SAFETY: an area that lives for ever.
    (unsafe { read_volatile(&raw const (*area).cpu) }) as usize
}

fn registers() -> Outcome {
    let area = register()?;
    let again = |length, flags, signature| call(area, length, flags, signature).err();
    ensure!(again(32, 0, SIGNATURE) == Some(Errno::EBUSY), "the same: {:?}", again(32, 0, SIGNATURE));
    ensure!(again(32, 0, 1) == Some(Errno::EPERM), "another signature: {:?}", again(32, 0, 1));
    ensure!(again(32, 4, SIGNATURE) == Some(Errno::EINVAL), "an unknown flag");
    let other = Box::leak(Box::new([0_u8; 96]));
    let other = other.as_mut_ptr().wrapping_add(32).cast::<Area>();
    ensure!(call(other, 32, 0, SIGNATURE).err() == Some(Errno::EINVAL), "a second area");
    ensure!(again(32, 1, 1) == Some(Errno::EPERM), "unregistered with another signature");
    call(area, 32, 1, SIGNATURE)?;
    ensure!(cpu_in(area) as u32 == u32::MAX, "unregistered, it names CPU {}", cpu_in(area));
    ensure!(again(32, 1, SIGNATURE) == Some(Errno::EINVAL), "unregistered twice");
    ensure!(again(8, 0, SIGNATURE) == Some(Errno::EINVAL), "8 bytes");
    let odd = call(area.wrapping_byte_add(8), 32, 0, SIGNATURE).err();
    ensure!(odd == Some(Errno::EINVAL), "at a multiple of 8: {odd:?}");
    Ok(())
}

fn says_the_cpu() -> Outcome {
    let area = register()?;
    let cpus = cpus::allowed()?;
    for cpu in cpus.iter().cycle().take(40) {
        cpus::pin_to(*cpu)?;
        // SAFETY: an area that lives for ever.
        let (start, cpu_told) =
            unsafe { (read_volatile(&raw const (*area).cpu_start), read_volatile(&raw const (*area).cpu)) };
        ensure!(
            cpu_told as usize == *cpu && start == cpu_told,
            "on CPU {cpu} it says {cpu_told} and {start}"
        );
    }
    Ok(())
}

/// Stays in a sequence until `stop` is set or the sequence is aborted, which is told.
fn stay(area: *mut Area, stop: &AtomicBool, wrong: bool) -> bool {
    let aborted: u64;
    let sequence = if wrong { 1_u64 } else { 0 };
    // SAFETY: the sequence reads `stop` and changes nothing; its descriptor and code live as long as the program.
    unsafe {
        asm!(
            ".pushsection .data.rel.ro.tine_rseq, \"aw\"",
            ".balign 32",
            "33:",
            ".long 0, 0",
            ".quad 22f, 23f - 22f, 24f",
            "34:",
            ".long 0, 0",
            ".quad 22f, 23f - 22f, 25f",
            ".popsection",
            "lea {scratch}, [rip + 33b]",
            "lea {aborted}, [rip + 34b]",
            "test {wrong}, {wrong}",
            "cmovnz {scratch}, {aborted}",
            "xor {aborted:e}, {aborted:e}",
            "mov [{area} + 8], {scratch}",
            "22:",
            "cmp byte ptr [{stop}], 0",
            "je 22b",
            "23:",
            "jmp 26f",
            ".long {signature}",
            "24:",
            "mov {aborted:e}, 1",
            "jmp 26f",
            ".long 0x12345678",
            "25:",
            "ud2",
            "26:",
            area = in(reg) area,
            stop = in(reg) stop.as_ptr(),
            wrong = in(reg) sequence,
            scratch = out(reg) _,
            aborted = out(reg) aborted,
            signature = const SIGNATURE,
        );
        write_volatile(&raw mut (*area).sequence, 0);
    }
    aborted == 1
}

fn aborted_by_preemption() -> Outcome {
    cpus::pin_to(cpus::allowed()?[0])?;
    let stop = AtomicBool::new(false);
    let finished = AtomicBool::new(false);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            // On the same CPU, so that each has to give way to the other.
            while !finished.load(SeqCst) {
                std::hint::black_box((0..1000).sum::<u64>());
            }
        });
        let start = Instant::now();
        let area = register()?;
        let aborted = stay(area, &stop, false);
        finished.store(true, SeqCst);
        other.join().expect("it does not panic");
        ensure!(aborted, "it left the sequence after {:?} without being aborted", start.elapsed());
        Ok(())
    })
}

fn aborted_by_signal() -> Outcome {
    let area = register()?;
    extern "C" fn nothing(_: i32) {}
    let action = nix::sys::signal::SigHandler::Handler(nothing);
    // SAFETY: the handler does nothing.
    unsafe { nix::sys::signal::signal(nix::sys::signal::Signal::SIGALRM, action)? };
    // SAFETY: no memory is involved.
    unsafe { libc::alarm(1) };
    let stop = AtomicBool::new(false);
    ensure!(stay(area, &stop, false), "it was not aborted");
    Ok(())
}

/// Adds 1 to the counter of the CPU on which it runs. False if it was aborted.
fn add(area: *mut Area, counters: &[AtomicU64]) -> bool {
    let done: u64;
    // SAFETY: the counters are as many as CPUs, and the sequence commits with one store to the counter of the CPU that the
    // area names; descriptor and code live as long as the program.
    unsafe {
        asm!(
            ".pushsection .data.rel.ro.tine_rseq, \"aw\"",
            ".balign 32",
            "43:",
            ".long 0, 0",
            ".quad 52f, 53f - 52f, 54f",
            ".popsection",
            "xor {done:e}, {done:e}",
            "lea {value}, [rip + 43b]",
            "mov [{area} + 8], {value}",
            "52:",
            "mov {cpu:e}, [{area} + 4]",
            "lea {cpu}, [{counters} + 8 * {cpu}]",
            "mov {value}, [{cpu}]",
            "add {value}, 1",
            // Longer than it needs to be, so that it is interrupted at times.
            "pause",
            "mov [{cpu}], {value}",
            "53:",
            "mov {done:e}, 1",
            "jmp 56f",
            ".long {signature}",
            "54:",
            "56:",
            area = in(reg) area,
            counters = in(reg) counters.as_ptr(),
            cpu = out(reg) _,
            value = out(reg) _,
            done = out(reg) done,
            signature = const SIGNATURE,
        );
    }
    done == 1
}

fn counters() -> Outcome {
    const EACH: u64 = 100_000;
    let cpus = cpus::allowed()?;
    let counters: Vec<AtomicU64> = (0..1024).map(|_| AtomicU64::new(0)).collect();
    let threads = 2 * cpus.len().min(8);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> Outcome {
                    let area = register()?;
                    let mut done = 0;
                    while done < EACH {
                        done += u64::from(add(area, &counters));
                        if done % 10_000 == 0 {
                            thread::yield_now();
                        }
                    }
                    // The area must not outlive the thread's registration.
                    call(area, 32, 1, SIGNATURE)?;
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })?;
    let sum: u64 = counters.iter().map(|counter| counter.load(SeqCst)).sum();
    ensure!(sum == EACH * threads as u64, "{} were lost", EACH * threads as u64 - sum);
    Ok(())
}

fn wrong_signature() -> Outcome {
    let child = Child::start(|| {
        let Ok(area) = register() else { return 3 };
        // SAFETY: the default action is no handler; the alarm involves no memory.
        unsafe {
            libc::signal(libc::SIGSEGV, libc::SIG_DFL);
            libc::alarm(2);
        }
        stay(area, &AtomicBool::new(false), true);
        0
    })?;
    let ended = child.wait()?;
    // It is looked at when the thread loses its CPU, or when the alarm comes.
    let expected = nix::sys::signal::Signal::SIGSEGV;
    ensure!(
        matches!(ended, nix::sys::wait::WaitStatus::Signaled(_, signal, _) if signal == expected),
        "it ended with {ended:?}"
    );
    Ok(())
}

fn inherited() -> Outcome {
    let area = register()?;
    Child::start(move || {
        report((|| {
            ensure!(call(area, 32, 0, SIGNATURE) == Err(Errno::EBUSY), "the child is not registered");
            for cpu in cpus::allowed()? {
                cpus::pin_to(cpu)?;
                ensure!(cpu_in(area) == cpu, "on CPU {cpu} the child's area says {}", cpu_in(area));
            }
            Ok(())
        })())
    })?
    .expect_exit(0)
}

fn membarrier(command: i32, flags: u32, cpu: i32) -> Result<i64, Errno> {
    // SAFETY: no memory is involved.
    Errno::result(unsafe { libc::syscall(libc::SYS_membarrier, command, flags, cpu) })
}

fn barriers() -> Outcome {
    let known = membarrier(0, 0, 0)?;
    for bit in [0, 1, 2, 3, 4, 5, 6, 7, 8] {
        ensure!(known & 1 << bit != 0, "command {:#x} is not offered", 1 << bit);
    }
    membarrier(libc::MEMBARRIER_CMD_GLOBAL, 0, 0)?;
    for (register, command) in [(1 << 4, 1 << 3), (1 << 6, 1 << 5), (1 << 8, 1 << 7)] {
        let early = membarrier(command, 0, 0);
        ensure!(early == Err(Errno::EPERM), "command {command:#x} without registration: {early:?}");
        membarrier(register, 0, 0)?;
        membarrier(command, 0, 0)?;
    }
    ensure!(membarrier(1 << 9, 0, 0)? & 0x150 == 0x150, "registered: {:#x}", membarrier(1 << 9, 0, 0)?);
    ensure!(membarrier(1 << 12, 0, 0) == Err(Errno::EINVAL), "an unknown command");
    ensure!(membarrier(1 << 3, 1, 0) == Err(Errno::EINVAL), "a CPU for a command that takes none");
    Ok(())
}

fn barrier_restarts() -> Outcome {
    let (inside, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    membarrier(1 << 8, 0, 0)?;
    thread::scope(|scope| {
        let other = scope.spawn(|| -> anyhow::Result<bool> {
            let area = register()?;
            inside.store(true, SeqCst);
            Ok(stay(area, &stop, false))
        });
        let start = Instant::now();
        // It may be aborted by something else as well; that it stays for ever is what must not be.
        while !other.is_finished() {
            ensure!(start.elapsed() < Duration::from_secs(30), "it has stayed in the sequence for 30 s");
            if inside.load(SeqCst) {
                membarrier(1 << 7, 0, 0)?;
            }
            thread::sleep(Duration::from_millis(1));
        }
        ensure!(other.join().expect("it does not panic")?, "it left the sequence without being aborted");
        Ok(())
    })
}
