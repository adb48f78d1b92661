//! Sets the time of day while threads and timers wait for a time of day or for a while. It leaves the clock wrong: not to be
//! run on a machine whose time matters.

use anyhow::ensure;
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime, clock_settime};
use std::process::ExitCode;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use userland::checks::{self, Outcome};

const HOUR: i64 = 3600;

fn main() -> ExitCode {
    checks::run(
        "set_time",
        &[
            ("the time of day is what it was set to, and goes on from there", set),
            ("an absolute sleep ends when its time comes by setting", sleeper),
            ("so does waiting for a futex until a time of day", futex),
            ("a timer of the time of day expires, one of the monotonic clock does not", timers),
            ("other clocks cannot be set, nor times before boot", refused),
        ],
    )
}

fn ahead(seconds: i64) -> anyhow::Result<libc::timespec> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME)?;
    Ok(libc::timespec { tv_sec: now.tv_sec() + seconds, tv_nsec: now.tv_nsec() })
}

fn jump(seconds: i64) -> Outcome {
    Ok(clock_settime(ClockId::CLOCK_REALTIME, ahead(seconds)?.into())?)
}

fn set() -> Outcome {
    let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    let before = clock_gettime(ClockId::CLOCK_REALTIME)?;
    jump(HOUR)?;
    let after = clock_gettime(ClockId::CLOCK_REALTIME)?;
    let jumped = after.tv_sec() - before.tv_sec();
    ensure!((HOUR..HOUR + 60).contains(&jumped), "it went on by {jumped} s");
    let passed = clock_gettime(ClockId::CLOCK_MONOTONIC)?.tv_sec() - monotonic.tv_sec();
    ensure!(passed < 60, "the monotonic clock went on by {passed} s");
    jump(-HOUR)
}

/// Requires that `wait`, which would take an hour, is over soon once the time was set.
fn ended_by_jump(wait: impl FnOnce() -> Outcome + Send) -> Outcome {
    thread::scope(|scope| {
        let start = Instant::now();
        let waiter = scope.spawn(wait);
        thread::sleep(Duration::from_millis(50));
        ensure!(!waiter.is_finished(), "it did not wait");
        jump(10)?;
        thread::sleep(Duration::from_millis(50));
        ensure!(!waiter.is_finished(), "it did not go on waiting when its time had not come");
        jump(2 * HOUR)?;
        waiter.join().expect("it does not panic")?;
        ensure!(start.elapsed() < Duration::from_secs(60), "it took {:?}", start.elapsed());
        Ok(())
    })
}

fn sleeper() -> Outcome {
    let until = ahead(HOUR)?;
    ended_by_jump(move || {
        // SAFETY: the call reads one `timespec`.
        let slept = unsafe {
            libc::clock_nanosleep(libc::CLOCK_REALTIME, libc::TIMER_ABSTIME, &raw const until, null_mut())
        };
        ensure!(slept == 0, "clock_nanosleep: {slept}");
        Ok(())
    })
}

fn futex() -> Outcome {
    let until = ahead(HOUR)?;
    ended_by_jump(move || {
        let word = AtomicU32::new(0);
        let operation = libc::FUTEX_WAIT_BITSET | libc::FUTEX_CLOCK_REALTIME;
        // SAFETY: the word and the time outlive the call.
        let waited = Errno::result(unsafe {
            let none = null::<u32>();
            libc::syscall(libc::SYS_futex, word.as_ptr(), operation, 0, &raw const until, none, u32::MAX)
        });
        ensure!(waited == Err(Errno::ETIMEDOUT) && word.load(SeqCst) == 0, "futex: {waited:?}");
        Ok(())
    })
}

fn timers() -> Outcome {
    let mut signals = nix::sys::signal::SigSet::empty();
    signals.add(nix::sys::signal::Signal::SIGALRM);
    signals.thread_block()?;
    let expired = |clock: i32| -> anyhow::Result<bool> {
        let mut id: i32 = -1;
        // SAFETY: the call writes the number; a null event is SIGALRM.
        Errno::result(unsafe { libc::syscall(libc::SYS_timer_create, clock, null::<u8>(), &raw mut id) })?;
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call writes one `timespec`.
        unsafe { libc::clock_gettime(clock, &raw mut now) };
        now.tv_sec += HOUR;
        let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let new = libc::itimerspec { it_interval: none, it_value: now };
        let set = || {
            // SAFETY: the call reads one `itimerspec`.
            unsafe {
                let new = &raw const new;
                libc::syscall(libc::SYS_timer_settime, id, libc::TIMER_ABSTIME, new, null_mut::<u8>())
            }
        };
        Errno::result(set())?;
        jump(2 * HOUR)?;
        let patience = libc::timespec { tv_sec: 1, tv_nsec: 0 };
        // SAFETY: the set and the time are as the call reads them.
        let taken = unsafe { libc::sigtimedwait(signals.as_ref(), null_mut(), &raw const patience) };
        // SAFETY: no memory is involved.
        unsafe { libc::syscall(libc::SYS_timer_delete, id) };
        Ok(taken == libc::SIGALRM)
    };
    ensure!(expired(libc::CLOCK_REALTIME)?, "its time came, and it did not expire");
    ensure!(!expired(libc::CLOCK_MONOTONIC)?, "it expired although no hour has passed");
    Ok(())
}

fn refused() -> Outcome {
    let now = clock_gettime(ClockId::CLOCK_REALTIME)?;
    let monotonic = clock_settime(ClockId::CLOCK_MONOTONIC, now);
    ensure!(monotonic == Err(Errno::EINVAL), "the monotonic clock: {monotonic:?}");
    let cpu = clock_settime(ClockId::CLOCK_PROCESS_CPUTIME_ID, now);
    ensure!(cpu == Err(Errno::EPERM), "processor time: {cpu:?}");
    let early = clock_settime(ClockId::CLOCK_REALTIME, nix::sys::time::TimeSpec::new(0, 0));
    ensure!(early == Err(Errno::EINVAL), "1970: {early:?}");
    Ok(())
}
