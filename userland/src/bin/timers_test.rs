//! Timers of processes, clocks of CPU time, and what a process has used.

use anyhow::{bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::WaitStatus;
use std::hint::black_box;
use std::mem::zeroed;
use std::process::ExitCode;
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};
use userland::checks::{self, Outcome};
use userland::children::{Child, report};

fn main() -> ExitCode {
    checks::run(
        "timers_test",
        &[
            ("a timer sends its signal once, with its number and value", one_shot),
            ("a timer with an interval goes on until it is disarmed", periodic),
            ("what a timer misses while its signal is pending is counted", overrun),
            ("a timer that notifies nobody can be asked", silent),
            ("a timer may send to one thread", to_a_thread),
            ("an absolute time that is over expires at once", absolute),
            ("timers are not inherited, and numbers of deleted ones are invalid", invalid),
            ("an ignored timer signal neither disturbs nor stops the timer", ignored),
            ("a real interval timer sends SIGALRM again and again", real_interval),
            ("the timers of processor time count work and not sleep", cpu_intervals),
            ("alarm replaces an alarm and tells what was left", alarms),
            ("a timer of a thread's processor time expires when that has worked", thread_cpu_timer),
            ("the clock of another process can be read and slept on", clock_of_a_child),
            ("the clock of a thread is its own", clock_of_a_thread),
            ("clocks that only tell the time are not for sleeping", clocks_to_sleep_on),
            ("I/O priorities are kept, and nobody is told that clocks are right", small_calls),
            ("what uses up its processor time is told so, and killed", cpu_limit),
            ("the usage of a process grows by what it does", usage),
            ("the usage of children counts when they have been waited for", usage_of_children),
        ],
    )
}

fn timespec(millis: u64) -> libc::timespec {
    libc::timespec { tv_sec: (millis / 1000) as i64, tv_nsec: (millis % 1000 * 1_000_000) as i64 }
}

fn millis(time: libc::timespec) -> u64 {
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// A timer, deleted when dropped.
struct Timer(i32);

#[repr(C)]
struct Event {
    value: u64,
    signal: i32,
    notify: i32,
    thread: i32,
    pad: [i32; 11],
}

impl Timer {
    fn new(clock: i32, signal: i32, notify: i32, thread: i32) -> Result<Self, Errno> {
        let event = Event { value: 0x1234_5678_9abc, signal, notify, thread, pad: [0; 11] };
        let mut id = -1;
        // SAFETY: both point to what the call reads and writes.
        Errno::result(unsafe {
            libc::syscall(libc::SYS_timer_create, clock, &raw const event, &raw mut id)
        })?;
        Ok(Self(id))
    }

    fn signalling(signal: Signal) -> Result<Self, Errno> {
        Self::new(libc::CLOCK_MONOTONIC, signal as i32, libc::SIGEV_SIGNAL, 0)
    }

    fn set_for(&self, flags: i32, next: libc::timespec, interval: u64) -> Result<(u64, u64), Errno> {
        let new = libc::itimerspec { it_interval: timespec(interval), it_value: next };
        // SAFETY: all zeroes are an `itimerspec`, and both are as the call reads and writes them.
        unsafe {
            let mut old: libc::itimerspec = zeroed();
            let (new, old) = (&raw const new, &raw mut old);
            Errno::result(libc::syscall(libc::SYS_timer_settime, self.0, flags, new, old))?;
            Ok((millis((*old).it_value), millis((*old).it_interval)))
        }
    }

    fn set(&self, next: u64, interval: u64) -> Result<(u64, u64), Errno> {
        self.set_for(0, timespec(next), interval)
    }

    fn get(&self) -> Result<libc::itimerspec, Errno> {
        // SAFETY: all zeroes are an `itimerspec`, which the call writes.
        unsafe {
            let mut now: libc::itimerspec = zeroed();
            Errno::result(libc::syscall(libc::SYS_timer_gettime, self.0, &raw mut now))?;
            Ok(now)
        }
    }

    fn overrun(&self) -> Result<i64, Errno> {
        // SAFETY: no memory is involved.
        Errno::result(unsafe { libc::syscall(libc::SYS_timer_getoverrun, self.0) })
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: no memory is involved.
        unsafe { libc::syscall(libc::SYS_timer_delete, self.0) };
    }
}

fn block(signals: &[Signal]) -> anyhow::Result<SigSet> {
    let set: SigSet = signals.iter().copied().collect();
    set.thread_block()?;
    Ok(set)
}

/// Waits for a signal of `set`, for `limit` milliseconds.
fn take(set: &SigSet, limit: u64) -> Result<libc::siginfo_t, Errno> {
    let limit = timespec(limit);
    // SAFETY: all zeroes are a `siginfo_t`, which the call writes; the others are as it reads them.
    unsafe {
        let mut info: libc::siginfo_t = zeroed();
        Errno::result(libc::sigtimedwait(set.as_ref(), &raw mut info, &raw const limit))?;
        Ok(info)
    }
}

/// In milliseconds.
const PATIENCE: u64 = 20_000;

/// A number that no process or thread has.
const NOBODY: i32 = 99_999_999;

/// `si_timerid`, `si_overrun` and `si_value`.
fn timer_fields(info: &libc::siginfo_t) -> (i32, i32, u64) {
    // SAFETY: a `siginfo_t` of a timer.
    unsafe { (info.si_timerid(), info.si_overrun(), info.si_value().sival_ptr as u64) }
}

fn one_shot() -> Outcome {
    let set = block(&[Signal::SIGUSR1])?;
    let timer = Timer::signalling(Signal::SIGUSR1)?;
    let start = Instant::now();
    timer.set(20, 0)?;
    let info = take(&set, PATIENCE)?;
    ensure!(start.elapsed() >= Duration::from_millis(20), "it came after {:?}", start.elapsed());
    ensure!(info.si_code == libc::SI_TIMER, "si_code is {}", info.si_code);
    ensure!(timer_fields(&info) == (timer.0, 0, 0x1234_5678_9abc), "fields: {:?}", timer_fields(&info));
    ensure!(take(&set, 30).err() == Some(Errno::EAGAIN), "it came twice");
    let now = timer.get()?;
    ensure!(millis(now.it_value) == 0 && now.it_value.tv_nsec == 0, "it is still set");
    Ok(())
}

fn periodic() -> Outcome {
    let set = block(&[Signal::SIGUSR1])?;
    let timer = Timer::signalling(Signal::SIGUSR1)?;
    let start = Instant::now();
    timer.set(10, 10)?;
    let mut times = 0;
    for _ in 0..5 {
        let info = take(&set, PATIENCE)?;
        times += 1 + timer_fields(&info).1;
    }
    let least = Duration::from_millis(10 * times as u64);
    ensure!(start.elapsed() >= least, "{times} times in {:?}", start.elapsed());
    let (_, interval) = timer.set(0, 0)?;
    ensure!(interval == 10, "the interval was {interval} ms");
    while take(&set, 0).is_ok() {}
    ensure!(take(&set, 50).err() == Some(Errno::EAGAIN), "it goes on after it was disarmed");
    Ok(())
}

fn overrun() -> Outcome {
    let set = block(&[Signal::SIGUSR1])?;
    let timer = Timer::signalling(Signal::SIGUSR1)?;
    timer.set(5, 5)?;
    std::thread::sleep(Duration::from_millis(100));
    let info = take(&set, PATIENCE)?;
    let (_, overrun, _) = timer_fields(&info);
    ensure!(overrun >= 18, "in 100 ms, 5 ms have passed {} times", overrun + 1);
    ensure!(timer.overrun()? == i64::from(overrun), "timer_getoverrun: {}", timer.overrun()?);
    timer.set(0, 0)?;
    Ok(())
}

fn silent() -> Outcome {
    let timer = Timer::new(libc::CLOCK_REALTIME, 0, libc::SIGEV_NONE, 0)?;
    timer.set(100_000, 7_000)?;
    let now = timer.get()?;
    ensure!(millis(now.it_interval) == 7_000, "interval {} ms", millis(now.it_interval));
    ensure!((1..=100_000).contains(&millis(now.it_value)), "{} ms left", millis(now.it_value));
    timer.set(1, 60_000)?;
    std::thread::sleep(Duration::from_millis(5));
    let left = millis(timer.get()?.it_value);
    ensure!((1..60_000).contains(&left), "after it expired, {left} ms are left");
    timer.set(1, 0)?;
    std::thread::sleep(Duration::from_millis(5));
    ensure!(timer.get()?.it_value.tv_nsec == 0, "it has expired and says it has not");
    Ok(())
}

fn to_a_thread() -> Outcome {
    let set = block(&[Signal::SIGUSR2])?;
    let (tell, told) = std::sync::mpsc::channel();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        // SAFETY: no memory is involved.
        tell.send(unsafe { libc::gettid() }).expect("the main thread waits");
        let taken = take(&set, PATIENCE).map(|info| info.si_signo);
        let _ = wait.recv();
        taken
    });
    let timer = Timer::new(libc::CLOCK_MONOTONIC, libc::SIGUSR2, libc::SIGEV_THREAD_ID, told.recv()?)?;
    timer.set(10, 0)?;
    ensure!(take(&set, 100).err() == Some(Errno::EAGAIN), "another thread got it");
    drop(done);
    let taken = thread.join().expect("it does not panic");
    ensure!(taken == Ok(libc::SIGUSR2), "the thread got {taken:?}");
    let foreign = Timer::new(libc::CLOCK_MONOTONIC, libc::SIGUSR2, libc::SIGEV_THREAD_ID, NOBODY);
    ensure!(foreign.err() == Some(Errno::EINVAL), "a thread that does not exist");
    Ok(())
}

fn absolute() -> Outcome {
    let set = block(&[Signal::SIGUSR1])?;
    for clock in [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME, libc::CLOCK_TAI] {
        let timer = Timer::new(clock, libc::SIGUSR1, libc::SIGEV_SIGNAL, 0)?;
        let passed = libc::timespec { tv_sec: 0, tv_nsec: 1 };
        timer.set_for(libc::TIMER_ABSTIME, passed, 0)?;
        take(&set, PATIENCE)?;
    }
    Ok(())
}

fn invalid() -> Outcome {
    let timer = Timer::signalling(Signal::SIGUSR1)?;
    let id = timer.0;
    Child::start(move || {
        let inherited = Timer(id);
        report(match inherited.get() {
            Err(Errno::EINVAL) => Ok(()),
            other => Err(anyhow::anyhow!("asking for the parent's timer: {:?}", other.err())),
        })
    })?
    .expect_exit(0)?;
    drop(timer);
    ensure!(Timer(id).get().err() == Some(Errno::EINVAL), "a deleted timer can be asked");
    let refused = |clock, signal, notify| Timer::new(clock, signal, notify, 0).err();
    ensure!(refused(12_345, libc::SIGUSR1, libc::SIGEV_SIGNAL) == Some(Errno::EINVAL), "no clock");
    ensure!(refused(libc::CLOCK_MONOTONIC, 0, libc::SIGEV_SIGNAL) == Some(Errno::EINVAL), "no signal");
    ensure!(refused(libc::CLOCK_MONOTONIC, 65, libc::SIGEV_SIGNAL) == Some(Errno::EINVAL), "signal 65");
    ensure!(refused(libc::CLOCK_MONOTONIC, 1, 77) == Some(Errno::EINVAL), "no way to notify");
    let coarse = refused(libc::CLOCK_MONOTONIC_COARSE, 1, libc::SIGEV_SIGNAL);
    ensure!(coarse == Some(Errno::EOPNOTSUPP), "a coarse clock: {coarse:?}");
    let timer = Timer::signalling(Signal::SIGUSR1)?;
    let denormal = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000_000 };
    ensure!(timer.set_for(0, denormal, 0).err() == Some(Errno::EINVAL), "10^9 ns");
    Ok(())
}

fn ignored() -> Outcome {
    // SAFETY: to ignore a signal is always sound.
    unsafe { nix::sys::signal::signal(Signal::SIGUSR1, nix::sys::signal::SigHandler::SigIgn)? };
    let timer = Timer::signalling(Signal::SIGUSR1)?;
    timer.set_for(0, libc::timespec { tv_sec: 0, tv_nsec: 1 }, 3)?;
    std::thread::sleep(Duration::from_millis(40));
    ensure!(timer.set(0, 0)?.1 == 3, "it has forgotten its interval");
    let set = block(&[Signal::SIGUSR1])?;
    // SAFETY: the default action is no handler.
    unsafe { nix::sys::signal::signal(Signal::SIGUSR1, nix::sys::signal::SigHandler::SigDfl)? };
    // New Linux sends now what was ignored before.
    while take(&set, 0).is_ok() {}
    timer.set(5, 0)?;
    take(&set, PATIENCE)?;
    Ok(())
}

fn timeval(millis: u64) -> libc::timeval {
    libc::timeval { tv_sec: (millis / 1000) as i64, tv_usec: (millis % 1000 * 1000) as i64 }
}

fn set_itimer(which: i32, next: u64, interval: u64) -> anyhow::Result<libc::itimerval> {
    let new = libc::itimerval { it_interval: timeval(interval), it_value: timeval(next) };
    // SAFETY: all zeroes are an `itimerval`; the call reads one and writes the other.
    unsafe {
        let mut old: libc::itimerval = zeroed();
        Errno::result(libc::setitimer(which, &raw const new, &raw mut old))?;
        Ok(old)
    }
}

fn real_interval() -> Outcome {
    let set = block(&[Signal::SIGALRM])?;
    let start = Instant::now();
    set_itimer(libc::ITIMER_REAL, 20, 10)?;
    for number in 0..4 {
        let info = take(&set, PATIENCE)?;
        ensure!(info.si_code == libc::SI_KERNEL, "si_code {}", info.si_code);
        let least = Duration::from_millis(20 + 10 * number);
        ensure!(start.elapsed() >= least, "number {number} came after {:?}", start.elapsed());
    }
    let old = set_itimer(libc::ITIMER_REAL, 0, 0)?;
    ensure!(old.it_interval.tv_usec == 10_000, "interval {} us", old.it_interval.tv_usec);
    while take(&set, 0).is_ok() {}
    ensure!(take(&set, 30).err() == Some(Errno::EAGAIN), "it goes on");
    // SAFETY: both pointers may be null, or the number may be wrong, which is what is tried.
    let wrong =
        Errno::result(unsafe { libc::syscall(libc::SYS_setitimer, 3, null::<u8>(), null_mut::<u8>()) });
    ensure!(wrong == Err(Errno::EINVAL), "timer 3: {wrong:?}");
    Ok(())
}

fn spent(clock: i32) -> anyhow::Result<Duration> {
    // SAFETY: all zeroes are a `timespec`, which the call writes.
    unsafe {
        let mut now: libc::timespec = zeroed();
        Errno::result(libc::clock_gettime(clock, &raw mut now))?;
        Ok(Duration::new(now.tv_sec as u64, now.tv_nsec as u32))
    }
}

/// Computes until `clock` has advanced by `time`.
fn work(clock: i32, time: Duration) -> Outcome {
    let start = spent(clock)?;
    while spent(clock)? - start < time {
        black_box((0..1000).sum::<u64>());
    }
    Ok(())
}

fn cpu_intervals() -> Outcome {
    let set = block(&[Signal::SIGPROF, Signal::SIGVTALRM])?;
    for which in [libc::ITIMER_PROF, libc::ITIMER_VIRTUAL] {
        set_itimer(which, 30, 0)?;
        std::thread::sleep(Duration::from_millis(60));
        ensure!(take(&set, 0).err() == Some(Errno::EAGAIN), "sleep counted");
        let start = Instant::now();
        let before = spent(libc::CLOCK_PROCESS_CPUTIME_ID)?;
        let signal = loop {
            work(libc::CLOCK_PROCESS_CPUTIME_ID, Duration::from_millis(1))?;
            if let Ok(info) = take(&set, 0) {
                break info.si_signo;
            }
            ensure!(start.elapsed() < Duration::from_secs(20), "20 s of work are not 30 ms");
        };
        let worked = spent(libc::CLOCK_PROCESS_CPUTIME_ID)? - before;
        ensure!(worked > Duration::from_millis(15), "it came after {worked:?} of work");
        let expected = if which == libc::ITIMER_PROF { libc::SIGPROF } else { libc::SIGVTALRM };
        ensure!(signal == expected, "signal {signal}");
    }
    Ok(())
}

fn alarms() -> Outcome {
    let set = block(&[Signal::SIGALRM])?;
    // SAFETY: no memory is involved.
    let alarm = |seconds| unsafe { libc::alarm(seconds) };
    ensure!(alarm(1000) == 0, "there was an alarm");
    let left = alarm(1);
    ensure!((900..=1000).contains(&left), "{left} s were left");
    let start = Instant::now();
    take(&set, PATIENCE)?;
    ensure!(start.elapsed() >= Duration::from_millis(900), "it came after {:?}", start.elapsed());
    ensure!(alarm(0) == 0, "it is still set");
    Ok(())
}

fn thread_cpu_timer() -> Outcome {
    let set = block(&[Signal::SIGUSR1])?;
    let timer = Timer::new(libc::CLOCK_THREAD_CPUTIME_ID, libc::SIGUSR1, libc::SIGEV_SIGNAL, 0)?;
    timer.set(20, 0)?;
    let other = std::thread::spawn(|| work(libc::CLOCK_THREAD_CPUTIME_ID, Duration::from_millis(40)));
    other.join().expect("it does not panic")?;
    ensure!(take(&set, 0).err() == Some(Errno::EAGAIN), "the work of another thread counted");
    let start = Instant::now();
    while take(&set, 0).is_err() {
        work(libc::CLOCK_THREAD_CPUTIME_ID, Duration::from_millis(1))?;
        ensure!(start.elapsed() < Duration::from_secs(20), "20 s of work are not 20 ms");
    }
    Ok(())
}

fn clock_of_a_child() -> Outcome {
    let child = Child::start(|| {
        let _ = work(libc::CLOCK_PROCESS_CPUTIME_ID, Duration::from_secs(60));
        0
    })?;
    let mut clock = 0;
    // SAFETY: the call writes the number.
    let found = unsafe { libc::clock_getcpuclockid(child.pid().as_raw(), &raw mut clock) };
    ensure!(found == 0, "clock_getcpuclockid: {found}");
    // SAFETY: the call reads one `timespec`.
    let slept = unsafe { libc::clock_nanosleep(clock, libc::TIMER_ABSTIME, &timespec(30), null_mut()) };
    ensure!(slept == 0, "clock_nanosleep: {slept}");
    let shown = spent(clock)?;
    ensure!(shown >= Duration::from_millis(30), "it woke when the clock showed {shown:?}");
    nix::sys::signal::kill(child.pid(), Signal::SIGKILL)?;
    child.wait()?;
    // SAFETY: the call writes the number.
    let gone = unsafe { libc::clock_getcpuclockid(NOBODY, &raw mut clock) };
    ensure!(gone == libc::ESRCH, "the clock of no process: {gone}");
    Ok(())
}

fn clock_of_a_thread() -> Outcome {
    let mut clock = 0;
    // SAFETY: the call writes the number.
    ensure!(unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) } == 0, "no clock");
    let before = spent(libc::CLOCK_THREAD_CPUTIME_ID)?;
    let encoded = spent(clock)?;
    let after = spent(libc::CLOCK_THREAD_CPUTIME_ID)?;
    ensure!((before..=after).contains(&encoded), "{encoded:?} is not from {before:?} to {after:?}");
    let nobodys = spent(!NOBODY << 3 | 6);
    ensure!(nobodys.is_err(), "the clock of no thread shows {nobodys:?}");
    Ok(())
}

fn clocks_to_sleep_on() -> Outcome {
    let sleep = |clock| {
        // SAFETY: the call reads one `timespec`.
        unsafe { libc::clock_nanosleep(clock, 0, &timespec(1), null_mut()) }
    };
    for clock in [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME, libc::CLOCK_TAI] {
        ensure!(sleep(clock) == 0, "clock {clock}: {}", sleep(clock));
    }
    for clock in [libc::CLOCK_MONOTONIC_RAW, libc::CLOCK_REALTIME_COARSE, libc::CLOCK_MONOTONIC_COARSE] {
        ensure!(sleep(clock) == libc::EOPNOTSUPP, "clock {clock}: {}", sleep(clock));
        ensure!(!spent(clock)?.is_zero(), "clock {clock} shows 0");
    }
    ensure!(sleep(libc::CLOCK_THREAD_CPUTIME_ID) == libc::EINVAL, "the thread's own time");
    ensure!(sleep(4_444) == libc::EINVAL, "no clock");
    Ok(())
}

fn small_calls() -> Outcome {
    const PROCESS: i32 = 1;
    // SAFETY: no memory is involved.
    let get =
        |which: i32, who: i32| Errno::result(unsafe { libc::syscall(libc::SYS_ioprio_get, which, who) });
    // SAFETY: no memory is involved.
    let set =
        |priority: i32| Errno::result(unsafe { libc::syscall(libc::SYS_ioprio_set, PROCESS, 0, priority) });
    ensure!(get(PROCESS, 0) == Ok(0), "an I/O priority that was never set: {:?}", get(PROCESS, 0));
    set(2 << 13 | 5)?;
    ensure!(get(PROCESS, 0) == Ok(2 << 13 | 5), "it was set to {:?}", get(PROCESS, 0));
    ensure!(set(7 << 13) == Err(Errno::EINVAL), "class 7");
    ensure!(get(9, 0) == Err(Errno::EINVAL), "of what there is not");
    ensure!(get(PROCESS, NOBODY) == Err(Errno::ESRCH), "of nobody");
    // SAFETY: all zeroes are a `timex` that asks; the call writes it.
    let (state, tick) = unsafe {
        let mut found: libc::timex = zeroed();
        (libc::adjtimex(&raw mut found), found.tick)
    };
    ensure!((0..=5).contains(&state) && tick == 10_000, "adjtimex: {state}, a tick of {tick} us");
    // SAFETY: no memory is involved.
    unsafe {
        ensure!(libc::unshare(0) == 0, "unshare nothing: {}", Errno::last());
        ensure!(libc::unshare(libc::CLONE_FILES) == 0, "unshare files: {}", Errno::last());
        ensure!(libc::unshare(1) == -1 && Errno::last() == Errno::EINVAL, "unshare what there is not");
        ensure!(libc::setns(-1, 0) == -1 && Errno::last() == Errno::EBADF, "setns of nothing");
    }
    Ok(())
}

fn cpu_limit() -> Outcome {
    let limited = |signal_blocked: bool| {
        Child::start(move || {
            let limit = libc::rlimit { rlim_cur: 1, rlim_max: 2 };
            // SAFETY: the call reads one `rlimit`.
            unsafe { libc::setrlimit(libc::RLIMIT_CPU, &raw const limit) };
            if signal_blocked {
                let _ = block(&[Signal::SIGXCPU]);
            }
            let _ = work(libc::CLOCK_PROCESS_CPUTIME_ID, Duration::from_secs(30));
            0
        })
    };
    for (blocked, expected) in [(false, Signal::SIGXCPU), (true, Signal::SIGKILL)] {
        match limited(blocked)?.wait()? {
            WaitStatus::Signaled(_, signal, _) if signal == expected => {}
            other => bail!("with SIGXCPU blocked: {blocked}, it ended with {other:?}"),
        }
    }
    Ok(())
}

fn rusage(who: i32) -> anyhow::Result<libc::rusage> {
    // SAFETY: all zeroes are a `rusage`, which the call writes.
    unsafe {
        let mut usage: libc::rusage = zeroed();
        Errno::result(libc::getrusage(who, &raw mut usage))?;
        Ok(usage)
    }
}

const PAGE: usize = 4096;

/// Touches so many pages that were not there.
fn touch(pages: usize) -> anyhow::Result<()> {
    // SAFETY: memory of our own, used within its bounds and given back.
    unsafe {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let memory = libc::mmap(null_mut(), pages * PAGE, protection, flags, -1, 0);
        ensure!(memory != libc::MAP_FAILED, "mmap: {}", Errno::last());
        libc::madvise(memory, pages * PAGE, libc::MADV_NOHUGEPAGE);
        for page in 0..pages {
            memory.cast::<u8>().add(page * PAGE).write_volatile(1);
        }
        libc::munmap(memory, pages * PAGE);
    }
    Ok(())
}

fn usage() -> Outcome {
    let before = rusage(libc::RUSAGE_SELF)?;
    touch(1000)?;
    // A sleep that is over before it has begun needs no switch.
    let started = Instant::now();
    while rusage(libc::RUSAGE_SELF)?.ru_nvcsw == before.ru_nvcsw {
        ensure!(started.elapsed() < Duration::from_secs(10), "10 s of sleep took no switch");
        std::thread::sleep(Duration::from_millis(1));
    }
    work(libc::CLOCK_PROCESS_CPUTIME_ID, Duration::from_millis(30))?;
    let after = rusage(libc::RUSAGE_SELF)?;
    let faults = after.ru_minflt - before.ru_minflt;
    ensure!(faults >= 1000, "1000 new pages were touched with {faults} faults");
    ensure!(after.ru_maxrss >= 4000, "1000 pages were there, {} KiB counted", after.ru_maxrss);
    let time = |usage: &libc::rusage| {
        let sum = |time: libc::timeval| time.tv_sec * 1_000_000 + time.tv_usec;
        sum(usage.ru_utime) + sum(usage.ru_stime)
    };
    ensure!(
        time(&after) - time(&before) >= 29_000,
        "30 ms of work count as {} us",
        time(&after) - time(&before)
    );
    let thread = rusage(libc::RUSAGE_THREAD)?;
    ensure!(thread.ru_minflt >= 1000, "the thread had {} faults", thread.ru_minflt);
    ensure!(rusage(77).is_err(), "usage of 77");
    Ok(())
}

fn usage_of_children() -> Outcome {
    let child = Child::start(|| report(touch(2000)))?;
    let before = rusage(libc::RUSAGE_CHILDREN)?;
    ensure!(before.ru_maxrss == 0, "{} KiB before the first child has ended", before.ru_maxrss);
    child.expect_exit(0)?;
    let after = rusage(libc::RUSAGE_CHILDREN)?;
    ensure!(after.ru_minflt >= 2000, "the child touched 2000 pages with {} faults", after.ru_minflt);
    ensure!(after.ru_maxrss >= 8000, "the child had 2000 pages, {} KiB counted", after.ru_maxrss);
    Ok(())
}
