//! Threads that stay long in the kernel, beside others on the same processor: their turns end and others' deadlines pass
//! meanwhile, and neither is lost or delays anybody.

use anyhow::{Context, ensure};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};
use std::fs::File;
use std::io::Read;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use userland::checks::{self, Outcome};
use userland::children::{Child, report};
use userland::memory::Pages;
use userland::shared::Shared;
use userland::work::Chain;
use userland::{cpus, wait};

fn main() -> ExitCode {
    checks::run(
        "long_system_calls",
        &[
            ("a thread takes turns with one that is in the kernel nearly all the time", turns_are_taken),
            (
                "a sleeper wakes whose deadline passes while another leaves the processor for ever",
                sleepers_wake,
            ),
        ],
    )
}

fn turns_are_taken() -> Outcome {
    const CALLS: usize = 24;
    const BYTES: usize = 8 << 20;
    cpus::pin_to(*cpus::allowed()?.first().context("no processor is allowed")?)?;
    let reader = Child::start(|| {
        report((|| {
            let mut zeroes = File::open("/dev/zero")?;
            let mut buffer = vec![1; BYTES];
            for _ in 0..CALLS {
                zeroes.read_exact(&mut buffer)?;
            }
            ensure!(buffer.iter().all(|byte| *byte == 0), "not only zeroes were read");
            Ok(())
        })())
    })?;
    const STEPS: u64 = 50_000_000;
    let mut chain = Chain::new(1);
    chain.advance(STEPS);
    ensure!(chain == Chain::new(1).after(STEPS), "the work beside it went wrong");
    reader.expect_exit(0)
}

/// What the three processes of a round tell each other.
#[derive(Default)]
struct Round {
    /// When the sleeper wakes, in nanoseconds; 0: not known yet.
    deadline: AtomicU64,
    woken: AtomicU64,
}

/// How long before the deadline the process ends whose memory takes longer than that to give back.
const BEFORE: u64 = 200_000;

/// The other two are the only ones that could run when the one that ends has gone: the sleeper, and this process, which
/// makes no system calls.
fn sleepers_wake() -> Outcome {
    const ROUNDS: usize = 6;
    cpus::pin_to(*cpus::allowed()?.first().context("no processor is allowed")?)?;
    for _ in 0..ROUNDS {
        let shared: Shared<Round> = Shared::zeroed(1)?;
        let round = &shared[0];
        let leaver = Child::start(|| report(leave_before_deadline(round)))?;
        let sleeper = Child::start(|| report(sleep_to_deadline(round)))?;
        wait::spinning_until("the sleeper wakes", || {
            Chain::new(1).advance(1_000_000);
            round.woken.load(SeqCst) == 1
        })?;
        leaver.expect_exit(0)?;
        sleeper.expect_exit(0)?;
    }
    Ok(())
}

fn now() -> anyhow::Result<u64> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?).as_nanos() as u64)
}

/// Ends, with much memory, shortly before the sleeper's deadline if it runs at that time.
fn leave_before_deadline(round: &Round) -> Outcome {
    const PAGES: usize = 12_000;
    const AHEAD: u64 = 40_000_000;
    let pages = Pages::private(PAGES)?;
    (0..PAGES).for_each(|page| pages.store(page * userland::memory::WORDS, 1));
    let deadline = now()? + AHEAD;
    round.deadline.store(deadline, SeqCst);
    while now()? + BEFORE < deadline {}
    // The end of the process is to give the memory back.
    std::mem::forget(pages);
    Ok(())
}

fn sleep_to_deadline(round: &Round) -> Outcome {
    wait::until("the deadline is known", || round.deadline.load(SeqCst) != 0)?;
    let deadline = TimeSpec::from(Duration::from_nanos(round.deadline.load(SeqCst)));
    clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &deadline)?;
    round.woken.store(1, SeqCst);
    Ok(())
}
