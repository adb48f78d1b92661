//! Clocks go forward on and across all processors, and who sleeps does not wake up early.

use anyhow::ensure;
use nix::poll::{PollTimeout, poll};
use nix::time::{ClockId, clock_getres, clock_gettime};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use userland::checks::{self, Outcome};
use userland::cpus;

fn main() -> ExitCode {
    checks::run(
        "clock_test",
        &[
            ("a thread's clock does not go back, also when it migrates", never_back_on_migration),
            ("what one processor sees later is later on all", never_back_across_cpus),
            ("sleep is never too short", sleep_is_long_enough),
            ("poll waits as long as it should", poll_waits),
            ("sleepers wake up in the order of their times", sleepers_wake_in_order),
            ("clocks have a resolution, and unknown clocks do not exist", resolutions),
            ("real time is later than when this was written, and advances", real_time),
            ("the processor time of a process that computes advances", processor_time),
        ],
    )
}

fn now() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}

fn never_back_on_migration() -> Outcome {
    let cpus = cpus::allowed()?;
    let mut last = now()?;
    for cpu in cpus.iter().cycle().take(200) {
        cpus::pin_to(*cpu)?;
        for _ in 0..50 {
            let next = now()?;
            ensure!(next >= last, "on CPU {cpu} it went from {last:?} to {next:?}");
            last = next;
        }
    }
    Ok(())
}

fn never_back_across_cpus() -> Outcome {
    let latest = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let threads: Vec<_> = cpus::allowed()?
            .into_iter()
            .map(|cpu| {
                let (latest, stop) = (&latest, &stop);
                scope.spawn(move || -> Outcome {
                    cpus::pin_to(cpu)?;
                    while !stop.load(SeqCst) {
                        let before = latest.load(SeqCst);
                        let read = now()?.as_nanos() as u64;
                        ensure!(read >= before, "CPU {cpu} reads {read} ns after {before} ns was read");
                        latest.fetch_max(read, SeqCst);
                    }
                    Ok(())
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(150));
        stop.store(true, SeqCst);
        threads.into_iter().try_for_each(|thread| thread.join().expect("no check panics"))
    })
}

fn sleep_is_long_enough() -> Outcome {
    for millis in [0, 1, 5, 15, 30] {
        let time = Duration::from_millis(millis);
        let started = now()?;
        thread::sleep(time);
        let slept = now()? - started;
        ensure!(slept >= time, "slept {slept:?} instead of {time:?}");
        ensure!(slept < time + Duration::from_secs(2), "slept {slept:?} instead of {time:?}");
    }
    Ok(())
}

fn poll_waits() -> Outcome {
    for millis in [0_u16, 1, 20] {
        let started = Instant::now();
        ensure!(poll(&mut [], PollTimeout::from(millis))? == 0, "poll of nothing found something");
        let waited = started.elapsed();
        ensure!(waited >= Duration::from_millis(millis.into()), "poll waited {waited:?}, not {millis} ms");
    }
    Ok(())
}

fn sleepers_wake_in_order() -> Outcome {
    let start = Instant::now();
    thread::scope(|scope| {
        let sleepers: Vec<_> = (1..=8)
            .rev()
            .map(|number| {
                let due = Duration::from_millis(10 * number);
                scope.spawn(move || {
                    thread::sleep(due.saturating_sub(start.elapsed()));
                    (due, start.elapsed())
                })
            })
            .collect();
        for sleeper in sleepers {
            let (due, woke) = sleeper.join().expect("it does not panic");
            ensure!(woke >= due, "a sleeper was due at {due:?} and woke at {woke:?}");
            ensure!(woke < due + Duration::from_secs(2), "a sleeper was due at {due:?} and woke at {woke:?}");
        }
        Ok(())
    })
}

fn resolutions() -> Outcome {
    for clock in [ClockId::CLOCK_MONOTONIC, ClockId::CLOCK_REALTIME] {
        let resolution: Duration = clock_getres(clock)?.into();
        ensure!(!resolution.is_zero(), "{clock:?} has no resolution");
        ensure!(resolution <= Duration::from_millis(1), "{clock:?} has a resolution of {resolution:?}");
    }
    let unknown = clock_gettime(ClockId::from_raw(9_999));
    ensure!(unknown == Err(nix::errno::Errno::EINVAL), "clock 9999: {unknown:?}");
    Ok(())
}

fn real_time() -> Outcome {
    let year_2024 = SystemTime::UNIX_EPOCH + Duration::from_secs(54 * 365 * 24 * 3600);
    let first = SystemTime::now();
    thread::sleep(Duration::from_millis(5));
    ensure!(first > year_2024, "it is {first:?}");
    ensure!(SystemTime::now() > first, "it stands still");
    Ok(())
}

fn processor_time() -> Outcome {
    let spent = || clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from);
    // The wall's time is the longer one: it starts before and is read after.
    let started = Instant::now();
    let before = spent()?;
    while spent()? - before < Duration::from_millis(20) {
        ensure!(started.elapsed() < Duration::from_secs(10), "10 s of work took {:?}", spent()? - before);
    }
    ensure!(
        started.elapsed() >= Duration::from_millis(20),
        "one thread spent more than the time that passed"
    );
    Ok(())
}
