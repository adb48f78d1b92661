//! Events as files: timerfd_create(2), signalfd(2), eventfd(2), pidfd_open(2).

use anyhow::ensure;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId as Clock, clock_gettime};
use nix::unistd::{read, write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use userland::checks::{self, Outcome};
use userland::children::Child;

fn main() -> ExitCode {
    checks::run(
        "event_files",
        &[
            ("a timer that is not set never expires", unset_timer),
            ("a timer expires once, and not before its time", one_expiration),
            ("an interval counts what nobody read", interval),
            ("a timer on the wall clock expires at its moment", absolute),
            ("a moment in the past expires at once", past),
            ("setting a timer tells how it was set", told),
            ("timers refuse what makes no sense", timer_errors),
            ("a blocked signal can be read", signal),
            ("a signal's sender and value are told", signal_details),
            ("a signal file wakes who polls it", signal_wakes),
            ("the mask of a signal file can be changed", signal_mask),
            ("signal files refuse what makes no sense", signal_errors),
            ("a counter is read whole, a semaphore one at a time", counters),
            ("a full counter cannot be written", full_counter),
            ("a process file is readable when the process has ended", process_ends),
            ("a signal can be sent through a process file", process_signal),
            ("process files refuse what makes no sense", process_errors),
        ],
    )
}

fn is_ready(file: &impl AsFd, events: PollFlags) -> anyhow::Result<bool> {
    Ok(poll(&mut [PollFd::new(file.as_fd(), events)], PollTimeout::ZERO)? == 1)
}

fn wait_ready(file: &impl AsFd) -> anyhow::Result<()> {
    ensure!(poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)? == 1, "not ready");
    Ok(())
}

fn number(file: &impl AsFd) -> nix::Result<u64> {
    let mut bytes = [0; 8];
    read(file, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

fn timer(clock: ClockId) -> nix::Result<TimerFd> {
    TimerFd::new(clock, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)
}

fn blocking_timer() -> nix::Result<TimerFd> {
    TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::empty())
}

fn unset_timer() -> Outcome {
    let timer = timer(ClockId::CLOCK_MONOTONIC)?;
    ensure!(number(&timer) == Err(Errno::EAGAIN), "it has expired");
    ensure!(timer.get()?.is_none(), "it is set");
    ensure!(!is_ready(&timer, PollFlags::POLLIN)?, "it is ready");
    Ok(())
}

const SHORT: Duration = Duration::from_millis(20);

fn one_expiration() -> Outcome {
    let timer = blocking_timer()?;
    let begin = Instant::now();
    timer.set(Expiration::OneShot(SHORT.into()), TimerSetTimeFlags::empty())?;
    ensure!(number(&timer)? == 1, "not one expiration");
    ensure!(begin.elapsed() >= SHORT, "too early: {:?}", begin.elapsed());
    ensure!(timer.get()?.is_none(), "still set after its end");
    timer.set(Expiration::OneShot(SHORT.into()), TimerSetTimeFlags::empty())?;
    wait_ready(&timer)?;
    Ok(())
}

fn interval() -> Outcome {
    let timer = blocking_timer()?;
    timer.set(Expiration::Interval(Duration::from_millis(2).into()), TimerSetTimeFlags::empty())?;
    std::thread::sleep(SHORT);
    let count = number(&timer)?;
    ensure!(count >= 9, "only {count} expirations in 20 ms");
    ensure!(number(&timer)? >= 1, "no more expirations");
    Ok(())
}

fn absolute() -> Outcome {
    let timer = timer(ClockId::CLOCK_REALTIME)?;
    let moment = clock_gettime(Clock::CLOCK_REALTIME)? + TimeSpec::from_duration(SHORT);
    timer.set(Expiration::OneShot(moment), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
    wait_ready(&timer)?;
    ensure!(clock_gettime(Clock::CLOCK_REALTIME)? >= moment, "too early");
    ensure!(number(&timer)? == 1, "not one expiration");
    Ok(())
}

fn past() -> Outcome {
    let timer = timer(ClockId::CLOCK_MONOTONIC)?;
    let moment = TimeSpec::from_duration(Duration::from_nanos(1));
    timer.set(Expiration::OneShot(moment), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
    wait_ready(&timer)?;
    ensure!(number(&timer)? == 1, "not one expiration");
    Ok(())
}

/// `timerfd_settime` itself: seconds of the interval and of the value before.
fn set(timer: &impl AsRawFd, flags: i32, interval: i64, value: i64) -> nix::Result<(i64, i64)> {
    let seconds = |tv_sec| libc::timespec { tv_sec, tv_nsec: 0 };
    let new = libc::itimerspec { it_interval: seconds(interval), it_value: seconds(value) };
    let mut old = libc::itimerspec { it_interval: seconds(0), it_value: seconds(0) };
    // SAFETY: both structures live across the call.
    Errno::result(unsafe { libc::timerfd_settime(timer.as_raw_fd(), flags, &new, &mut old) })?;
    Ok((old.it_interval.tv_sec, old.it_value.tv_sec))
}

fn told() -> Outcome {
    let timer = timer(ClockId::CLOCK_MONOTONIC)?;
    let timer = timer.as_fd();
    ensure!(set(&timer, 0, 500, 1000)? == (0, 0), "a new timer was set");
    let (interval, left) = set(&timer, 0, 0, 0)?;
    ensure!(interval == 500 && (900..=1000).contains(&left), "was set to {interval}, {left}");
    ensure!(set(&timer, 0, 0, 0)? == (0, 0), "a timer that was taken back is set");
    Ok(())
}

fn timer_errors() -> Outcome {
    let timer = timer(ClockId::CLOCK_MONOTONIC)?;
    ensure!(set(&timer.as_fd(), 1 << 9, 0, 1) == Err(Errno::EINVAL), "unknown flags");
    ensure!(set(&timer.as_fd(), 0, 0, -1) == Err(Errno::EINVAL), "a negative time");
    ensure!(set(&999, 0, 0, 1) == Err(Errno::EBADF), "a closed descriptor");
    let counter = EventFd::new()?;
    ensure!(set(&counter.as_fd(), 0, 0, 1) == Err(Errno::EINVAL), "a file that is no timer");
    ensure!(read(&timer, &mut [0; 7]) == Err(Errno::EINVAL), "a short read");
    ensure!(write(&timer, &[0; 8]) == Err(Errno::EINVAL), "a write");
    // SAFETY: takes two numbers.
    let unknown = Errno::result(unsafe { libc::timerfd_create(77, 0) });
    ensure!(unknown == Err(Errno::EINVAL), "an unknown clock");
    Ok(())
}

/// A file for these signals, which are blocked.
fn signal_file(signals: &[Signal], flags: SfdFlags) -> anyhow::Result<SignalFd> {
    let set: SigSet = signals.iter().copied().collect();
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, flags)?)
}

fn signal() -> Outcome {
    let file = signal_file(&[Signal::SIGUSR1, Signal::SIGUSR2], SfdFlags::SFD_NONBLOCK)?;
    ensure!(file.read_signal()?.is_none(), "a signal is pending");
    raise(Signal::SIGUSR2)?;
    raise(Signal::SIGUSR1)?;
    raise(Signal::SIGUSR1)?;
    let mut taken = Vec::new();
    while let Some(info) = file.read_signal()? {
        taken.push(info.ssi_signo as i32);
    }
    ensure!(taken == [libc::SIGUSR1, libc::SIGUSR2], "taken: {taken:?}");
    Ok(())
}

fn signal_details() -> Outcome {
    let file = signal_file(&[Signal::SIGUSR1, Signal::SIGCHLD], SfdFlags::empty())?;
    let value = libc::sigval { sival_ptr: std::ptr::without_provenance_mut(1234) };
    // SAFETY: takes a process, a number and a value that nobody follows.
    Errno::result(unsafe { libc::sigqueue(libc::getpid(), libc::SIGUSR1, value) })?;
    let info = file.read_signal()?.expect("the file blocks");
    let own = std::process::id();
    ensure!((info.ssi_code, info.ssi_pid) == (libc::SI_QUEUE, own), "{} {}", info.ssi_code, info.ssi_pid);
    ensure!((info.ssi_int, info.ssi_ptr) == (1234, 1234), "{} {}", info.ssi_int, info.ssi_ptr);
    let child = Child::start(|| 5)?;
    let info = file.read_signal()?.expect("the file blocks");
    ensure!(info.ssi_signo as i32 == libc::SIGCHLD, "signal {}", info.ssi_signo);
    ensure!(info.ssi_pid as i32 == child.pid().as_raw() && info.ssi_status == 5, "another child");
    child.expect_exit(5)
}

fn signal_wakes() -> Outcome {
    let file = signal_file(&[Signal::SIGUSR1], SfdFlags::empty())?;
    let parent = nix::unistd::getpid();
    let child = Child::start(|| {
        std::thread::sleep(SHORT);
        i32::from(nix::sys::signal::kill(parent, Signal::SIGUSR1).is_err())
    })?;
    wait_ready(&file)?;
    child.expect_exit(0)
}

fn signal_mask() -> Outcome {
    let file = signal_file(&[Signal::SIGUSR1, Signal::SIGUSR2], SfdFlags::SFD_NONBLOCK)?;
    file.set_mask(&SigSet::from(Signal::SIGUSR2))?;
    raise(Signal::SIGUSR1)?;
    ensure!(file.read_signal()?.is_none(), "a signal that is not in the mask");
    raise(Signal::SIGUSR2)?;
    ensure!(file.read_signal()?.is_some(), "the signal in the mask is not there");
    Ok(())
}

fn signal_errors() -> Outcome {
    let file = signal_file(&[Signal::SIGUSR1], SfdFlags::SFD_NONBLOCK)?;
    ensure!(read(&file, &mut [0; 127]) == Err(Errno::EINVAL), "a short read");
    let mut mask = SigSet::empty().as_ref().to_owned();
    // SAFETY: the mask lives across the calls.
    let mut of = |fd, flags| Errno::result(unsafe { libc::signalfd(fd, &raw mut mask, flags) });
    ensure!(of(999, 0) == Err(Errno::EBADF), "a closed descriptor");
    let counter = EventFd::new()?;
    ensure!(of(counter.as_fd().as_raw_fd(), 0) == Err(Errno::EINVAL), "a file that shows no signals");
    ensure!(of(-1, 1) == Err(Errno::EINVAL), "unknown flags");
    Ok(())
}

fn counters() -> Outcome {
    let counter = EventFd::from_value_and_flags(3, EfdFlags::EFD_NONBLOCK)?;
    counter.write(4)?;
    ensure!(number(&counter) == Ok(7), "not the sum");
    ensure!(number(&counter) == Err(Errno::EAGAIN), "not empty");
    let semaphore = EventFd::from_value_and_flags(2, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_SEMAPHORE)?;
    ensure!(number(&semaphore) == Ok(1) && number(&semaphore) == Ok(1), "not one at a time");
    ensure!(number(&semaphore) == Err(Errno::EAGAIN), "not empty");
    Ok(())
}

fn full_counter() -> Outcome {
    let counter = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK)?;
    counter.write(u64::MAX - 1)?;
    ensure!(counter.write(1) == Err(Errno::EAGAIN), "written beyond the most");
    ensure!(counter.write(u64::MAX) == Err(Errno::EINVAL), "written what never fits");
    ensure!(!is_ready(&counter, PollFlags::POLLOUT)?, "ready for writing");
    ensure!(write(&counter, &[0; 7]) == Err(Errno::EINVAL), "a short write");
    Ok(())
}

fn process_file(id: i32) -> nix::Result<OwnedFd> {
    // SAFETY: takes two numbers.
    let file = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) })?;
    // SAFETY: the call has just made the descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(file as i32) })
}

fn send(file: &impl AsRawFd, signal: i32) -> nix::Result<i64> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: takes numbers and a null pointer.
    Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, file.as_raw_fd(), signal, none, 0) })
}

fn process_ends() -> Outcome {
    let (reader, writer) = nix::unistd::pipe()?;
    let child = Child::start(|| {
        let _ = read(&reader, &mut [0]);
        3
    })?;
    let file = process_file(child.pid().as_raw())?;
    ensure!(!is_ready(&file, PollFlags::POLLIN)?, "it has ended");
    write(&writer, b"x")?;
    wait_ready(&file)?;
    child.expect_exit(3)?;
    ensure!(send(&file, 0) == Err(Errno::ESRCH), "it can be found after it was waited for");
    Ok(())
}

fn process_signal() -> Outcome {
    let child = Child::start(|| {
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    })?;
    let file = process_file(child.pid().as_raw())?;
    send(&file, 0)?;
    send(&file, libc::SIGTERM)?;
    child.expect_killed(Signal::SIGTERM)
}

fn process_errors() -> Outcome {
    ensure!(process_file(0).err() == Some(Errno::EINVAL), "number 0");
    ensure!(process_file(-5).err() == Some(Errno::EINVAL), "a negative number");
    ensure!(process_file(i32::MAX).err() == Some(Errno::ESRCH), "a process that is not there");
    let counter = EventFd::new()?;
    ensure!(send(&counter.as_fd(), 0) == Err(Errno::EBADF), "a file that is no process");
    let own = process_file(std::process::id() as i32)?;
    ensure!(send(&own, 65) == Err(Errno::EINVAL), "an unknown signal");
    Ok(())
}
