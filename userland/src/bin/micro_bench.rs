//! Measures what single operations of the kernel cost.
//!
//! Each figure is the median over several samples; a sample is the clock's time around many operations, divided by their
//! number. Where two processes or threads take turns, they share one processor unless the name says otherwise.

use anyhow::{Context, ensure};
use serde::Serialize;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Instant;
use userland::children::{Child, in_child};
use userland::cpus;
use userland::memory::{Pages, WORDS};
use userland::program::{self, own_path};
use userland::results;
use userland::shared::Shared;

const USAGE: &str = "micro_bench [--samples N] [--scale PERCENT] [NAME…]
  --samples N      samples of each figure (11)
  --scale PERCENT  operations per sample, as a part of the usual number (100)
  NAME…            only these figures; all without";

/// A name, the operations per sample, and what does that many of them and returns the nanoseconds that they took.
type Bench = (&'static str, u64, fn(u64) -> anyhow::Result<u64>);

const BENCHES: &[Bench] = &[
    ("getppid", 20_000, getppid),
    ("sched_yield", 10_000, sched_yield),
    ("clock_gettime", 20_000, clock_gettime),
    ("clock_gettime_call", 20_000, clock_gettime_call),
    ("page_first_touch", 1_000, page_first_touch),
    ("fork_exit_wait", 20, fork_exit_wait),
    ("vfork_exec_wait", 10, vfork_exec_wait),
    ("pipe_round_trip", 300, pipe_round_trip_anywhere),
    ("context_switch_pipe", 300, pipe_round_trip_on_one_cpu),
    ("thread_create_join", 50, thread_create_join),
    ("futex_ping_pong", 300, futex_ping_pong),
];

#[derive(Serialize)]
struct Record {
    program: &'static str,
    figures: Vec<Figure>,
}

/// Nanoseconds per operation.
#[derive(Serialize)]
struct Figure {
    name: &'static str,
    median_ns: f64,
    min_ns: f64,
    max_ns: f64,
    samples: usize,
    operations_per_sample: u64,
}

fn main() -> ExitCode {
    program::run(USAGE, |mut options| {
        let samples: usize = options.value("--samples", 11)?.max(1);
        let scale: u64 = options.value("--scale", 100)?;
        let mut wanted = Vec::new();
        while let Some(name) = options.word()? {
            ensure!(BENCHES.iter().any(|bench| bench.0 == name), "there is no figure {name:?}");
            wanted.push(name);
        }
        options.finish()?;
        let mut figures = Vec::new();
        for (name, count, bench) in BENCHES {
            if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
                let figure = measure(name, (count * scale / 100).max(1), samples, *bench).context(*name)?;
                println!("{name:20} {:>12.1} ns", figure.median_ns);
                figures.push(figure);
            }
        }
        results::publish(&Record { program: "micro_bench", figures })
    })
}

fn measure(
    name: &'static str,
    count: u64,
    samples: usize,
    bench: fn(u64) -> anyhow::Result<u64>,
) -> anyhow::Result<Figure> {
    // The first sample pays for what is loaded, translated and allocated once.
    bench(count)?;
    let mut costs = Vec::with_capacity(samples);
    for _ in 0..samples {
        costs.push(bench(count)? as f64 / count as f64);
    }
    costs.sort_by(f64::total_cmp);
    Ok(Figure {
        name,
        median_ns: costs[samples / 2],
        min_ns: costs[0],
        max_ns: costs[samples - 1],
        samples,
        operations_per_sample: count,
    })
}

/// The nanoseconds that `count` times `operation` take.
fn time(count: u64, mut operation: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<u64> {
    let started = Instant::now();
    for _ in 0..count {
        operation()?;
    }
    Ok(started.elapsed().as_nanos() as u64)
}

fn getppid(count: u64) -> anyhow::Result<u64> {
    time(count, || {
        std::hint::black_box(nix::unistd::getppid());
        Ok(())
    })
}

fn sched_yield(count: u64) -> anyhow::Result<u64> {
    time(count, || {
        thread::yield_now();
        Ok(())
    })
}

/// As libraries do it, by the vDSO if there is one.
fn clock_gettime(count: u64) -> anyhow::Result<u64> {
    time(count, || {
        std::hint::black_box(Instant::now());
        Ok(())
    })
}

/// By the system call.
fn clock_gettime_call(count: u64) -> anyhow::Result<u64> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    time(count, || {
        // SAFETY: the kernel writes one `timespec` there.
        unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut now) };
        Ok(())
    })
}

fn page_first_touch(count: u64) -> anyhow::Result<u64> {
    let pages = Pages::private(count as usize)?;
    let mut page = 0;
    time(count, || {
        pages.store(page * WORDS, 1);
        page += 1;
        Ok(())
    })
}

fn fork_exit_wait(count: u64) -> anyhow::Result<u64> {
    time(count, || Child::start(|| 0)?.expect_exit(0))
}

/// `posix_spawn`, which std uses here, is vfork and exec.
fn vfork_exec_wait(count: u64) -> anyhow::Result<u64> {
    let mut command = Command::new(own_path()?.with_file_name("true_program"));
    time(count, || {
        ensure!(command.status()?.success(), "the program failed");
        Ok(())
    })
}

fn pipe_round_trip_anywhere(count: u64) -> anyhow::Result<u64> {
    pipe_round_trip(count)
}

/// Two context switches and two pipe operations each; in a child, which can be pinned without pinning what follows.
fn pipe_round_trip_on_one_cpu(count: u64) -> anyhow::Result<u64> {
    on_one_cpu(count, pipe_round_trip)
}

fn pipe_round_trip(count: u64) -> anyhow::Result<u64> {
    fn echo(mut from: PipeReader, mut to: PipeWriter) -> std::io::Result<()> {
        let mut byte = [0];
        while from.read(&mut byte)? == 1 {
            to.write_all(&byte)?;
        }
        Ok(())
    }
    let (their_reader, writer) = std::io::pipe()?;
    let (mut reader, their_writer) = std::io::pipe()?;
    let mut writer = Some(writer);
    let inherited = &mut writer;
    let child = Child::start(move || {
        // While a writing end is open, in whichever process, the pipe does not end.
        *inherited = None;
        echo(their_reader, their_writer).map_or(1, |()| 0)
    })?;
    let mut writer = writer.context("only the child closed it")?;
    let elapsed = time(count, || {
        writer.write_all(b"x")?;
        Ok(reader.read_exact(&mut [0])?)
    })?;
    drop(writer);
    child.expect_exit(0)?;
    Ok(elapsed)
}

fn thread_create_join(count: u64) -> anyhow::Result<u64> {
    time(count, || {
        ensure!(thread::spawn(|| ()).join().is_ok(), "the thread panicked");
        Ok(())
    })
}

fn futex_ping_pong(count: u64) -> anyhow::Result<u64> {
    on_one_cpu(count, |count| {
        let turn = &AtomicU32::new(0);
        thread::scope(|scope| {
            scope.spawn(move || (0..count).for_each(|_| take_turn(turn, 1)));
            time(count, || {
                take_turn(turn, 0);
                Ok(())
            })
        })
    })
}

/// Sets `turn` to the other's number when it is `mine`, and sleeps until then.
fn take_turn(turn: &AtomicU32, mine: u32) {
    let other = 1 - mine;
    while turn.load(SeqCst) != mine {
        futex(turn, libc::FUTEX_WAIT, other);
    }
    turn.store(other, SeqCst);
    futex(turn, libc::FUTEX_WAKE, 1);
}

/// A wait returns when it is woken, interrupted, or when `word` is not `value`: each time the caller looks again.
fn futex(word: &AtomicU32, operation: i32, value: u32) {
    let timeout = std::ptr::null::<libc::timespec>();
    // SAFETY: the word outlives the call, and the kernel only reads it.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), operation | libc::FUTEX_PRIVATE_FLAG, value, timeout)
    };
}

/// Runs `bench` in a child that stays, with its threads and children, on one processor.
fn on_one_cpu(count: u64, bench: fn(u64) -> anyhow::Result<u64>) -> anyhow::Result<u64> {
    let elapsed = &Shared::<AtomicU64>::zeroed(1)?[0];
    in_child(|| {
        cpus::pin_to(cpus::current())?;
        elapsed.store(bench(count)?, SeqCst);
        Ok(())
    })?;
    Ok(elapsed.load(SeqCst))
}
