//! Floating-point and vector registers belong to a thread: they survive preemption, migration and fork, reach nobody
//! else, and a new program starts with clean ones.

use anyhow::{Context, ensure};
use nix::unistd::gettid;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};
use userland::checks::{self, Outcome};
use userland::children::{Child, exit_now, in_child, report};
use userland::cpus;
use userland::fpu::{Call, DEFAULT_CONTROL_WORD, DEFAULT_MXCSR, Registers, control_registers};
use userland::program::own_path;

/// How long the threads of a check go on.
const TIME: Duration = Duration::from_millis(250);
/// Iterations with the registers loaded: long enough to be preempted now and then.
const SPINS: u64 = 20_000;
/// The word that makes this program exit with [`CLEAN`] if its control registers are those of a new program.
const CONTROL_REGISTERS: &str = "control-registers";
const CLEAN: u8 = 77;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(CONTROL_REGISTERS) {
        let clean = control_registers() == (DEFAULT_MXCSR, DEFAULT_CONTROL_WORD);
        return if clean { ExitCode::from(CLEAN) } else { ExitCode::FAILURE };
    }
    checks::run(
        "fpu_migration",
        &[
            ("registers survive preemption among many threads", survive_preemption),
            ("registers survive giving way", survive_yield),
            ("registers survive migration round all processors", survive_migration),
            ("registers survive being moved by others", survive_being_moved),
            ("registers of processes do not mix", processes_do_not_mix),
            ("a child starts with its parent's registers", fork_copies),
            ("a new program starts with clean control registers", exec_cleans),
        ],
    )
}

/// Keeps `pattern` in the registers across `call`, again and again.
fn keep(seed: u64, mut call: impl FnMut(u64) -> Call) -> Outcome {
    let pattern = Registers::pattern(seed);
    let started = Instant::now();
    let mut round = 0;
    while started.elapsed() < TIME {
        // SAFETY: the checks pass only calls that give way or move the thread, with arguments that live long enough.
        let (found, result) = unsafe { pattern.kept_across(call(round), SPINS) };
        ensure!(result >= 0, "the system call returned {result}");
        ensure!(found == pattern, "in round {round}, the registers held {found:x?} and not {pattern:x?}");
        round += 1;
    }
    Ok(())
}

fn getppid(_: u64) -> Call {
    [libc::SYS_getppid as u64, 0, 0, 0]
}

fn sched_yield(_: u64) -> Call {
    [libc::SYS_sched_yield as u64, 0, 0, 0]
}

/// Runs `body` in two threads per processor, each with a seed of its own.
fn in_threads(body: impl Fn(u64) -> Outcome + Sync) -> Outcome {
    let body = &body;
    let count = 2 * cpus::allowed()?.len() as u64;
    thread::scope(|scope| {
        let threads: Vec<_> = (1..=count).map(|seed| scope.spawn(move || body(seed))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no check panics"))
    })
}

fn survive_preemption() -> Outcome {
    in_threads(|seed| keep(seed, getppid))
}

fn survive_yield() -> Outcome {
    in_threads(|seed| keep(seed, sched_yield))
}

fn survive_migration() -> Outcome {
    let cpus = cpus::allowed()?;
    let masks: Vec<[u64; 16]> = cpus
        .iter()
        .map(|cpu| {
            let mut mask = [0; 16];
            mask[cpu / 64] = 1 << (cpu % 64);
            mask
        })
        .collect();
    in_threads(|seed| {
        keep(seed, |round| {
            let mask = &masks[(seed + round) as usize % masks.len()];
            [libc::SYS_sched_setaffinity as u64, 0, size_of_val(mask) as u64, mask.as_ptr() as u64]
        })
    })
}

fn survive_being_moved() -> Outcome {
    let cpus = cpus::allowed()?;
    thread::scope(|scope| {
        let (sender, threads) = std::sync::mpsc::channel();
        let movers: Vec<_> = (1..=cpus.len() as u64)
            .map(|seed| {
                let sender = sender.clone();
                scope.spawn(move || {
                    sender.send(gettid())?;
                    keep(seed, getppid)
                })
            })
            .collect();
        drop(sender);
        let threads: Vec<_> = threads.iter().collect();
        let mut round = 0;
        while movers.iter().any(|mover| !mover.is_finished()) {
            for (index, thread) in threads.iter().enumerate() {
                // A thread that has ended by now cannot be moved.
                let _ = cpus::restrict(*thread, &[cpus[(index + round) % cpus.len()]]);
            }
            round += 1;
            thread::sleep(Duration::from_millis(1));
        }
        movers.into_iter().try_for_each(|mover| mover.join().expect("no check panics"))
    })
}

fn processes_do_not_mix() -> Outcome {
    let count = 2 * cpus::allowed()?.len() as u64;
    let children = (1..=count)
        .map(|seed| Child::start(move || report(keep(seed, sched_yield))))
        .collect::<anyhow::Result<Vec<_>>>()?;
    children.into_iter().try_for_each(|child| child.expect_exit(0))
}

fn fork_copies() -> Outcome {
    for seed in 1..=20 {
        in_child(|| {
            let pattern = Registers::pattern(seed);
            // SAFETY: this process has one thread, and the child only compares and exits.
            let (found, pid) = unsafe { pattern.kept_across([libc::SYS_fork as u64, 0, 0, 0], SPINS) };
            if pid == 0 {
                exit_now(if found == pattern { CLEAN.into() } else { 1 });
            }
            ensure!(pid > 0, "fork returned {pid}");
            ensure!(found == pattern, "the parent's registers held {found:x?} and not {pattern:x?}");
            let status = nix::sys::wait::wait()?;
            let expected =
                nix::sys::wait::WaitStatus::Exited(nix::unistd::Pid::from_raw(pid as i32), CLEAN.into());
            ensure!(status == expected, "the child's registers were others: {status:?}");
            Ok(())
        })?;
    }
    Ok(())
}

fn exec_cleans() -> Outcome {
    let path = CString::new(own_path()?.as_os_str().as_bytes())?;
    let word = CString::new(CONTROL_REGISTERS)?;
    let words = [path.as_ptr(), word.as_ptr(), std::ptr::null()];
    let environment = [std::ptr::null::<u8>()];
    let child = Child::start(|| {
        let call = [
            libc::SYS_execve as u64,
            path.as_ptr() as u64,
            words.as_ptr() as u64,
            environment.as_ptr() as u64,
        ];
        // SAFETY: the strings and the two arrays, each with a null at its end, outlive the call.
        let (_, result) = unsafe { Registers::pattern(3).kept_across(call, 1) };
        report(Err(anyhow::anyhow!("execve returned {result}")))
    })?;
    child.expect_exit(CLEAN.into()).context("the new program's control registers")
}
