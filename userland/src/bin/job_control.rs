//! Job control: stopping and continuing processes, what their parents learn of it, groups and sessions, queued signals.
//! See signal(7), waitpid(2), setpgid(2), setsid(2), sigqueue(3), prctl(2).

use anyhow::{Context, bail, ensure};
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SaFlags, SigSet, SigmaskHow, Signal, kill, killpg, raise, sigprocmask};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, getpgid, getpgrp, getpid, getppid, getsid, setpgid, setsid};
use std::io::{Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use userland::checks::{self, Outcome};
use userland::children::{Child, report};
use userland::shared::Shared;
use userland::{signals, wait};

/// With this in its environment, the program does nothing until its standard input ends.
const IDLE: &str = "JOB_CONTROL_IDLE";

fn main() -> ExitCode {
    if std::env::var_os(IDLE).is_some() {
        // Whatever ends the input ends the program.
        let _ = std::io::stdin().read(&mut [0]);
        return ExitCode::SUCCESS;
    }
    checks::run(
        "job_control",
        &[
            ("wait reports stops and continues, to those who ask, once", wait_reports),
            ("waitid reports them, WNOWAIT leaves them", waitid_reports),
            ("a stopped process does not run, in none of its threads", all_threads_stop),
            ("SIGCHLD tells of stops and continues", sigchld_tells),
            ("SA_NOCLDSTOP keeps SIGCHLD for ends", no_child_stop),
            ("SIGKILL ends a stopped process, SIGTERM waits for SIGCONT", signals_to_a_stopped_process),
            ("SIGCONT takes effect though it is blocked or ignored", continue_always_works),
            ("SIGCONT takes back a stop that is pending", continue_discards_stops),
            ("a sleep goes on after a stop, to its own end", sleep_goes_on),
            ("setpgid obeys its rules", setpgid_rules),
            ("setsid makes a session without a terminal", new_session),
            ("kill reaches a whole group", group_is_killed),
            ("an orphaned group is not stopped by SIGTSTP", orphans_do_not_stop),
            ("a stopped group that becomes orphaned is told to hang up", orphans_hang_up),
            ("real-time signals are queued with their values, the lowest first", queued_in_order),
            ("RLIMIT_SIGPENDING bounds the queue", queue_is_bounded),
            ("sigtimedwait ends by its time or by another signal", timed_wait),
            ("wait goes on after a handler with SA_RESTART, and not without", wait_restarts),
            ("PR_SET_PDEATHSIG tells of the parent's death", death_of_parent),
        ],
    )
}

/// A child that does nothing until it is killed. It has a group of its own, which is not orphaned: its parent is outside.
fn idle_child() -> anyhow::Result<Child> {
    let child = Child::start(|| {
        loop {
            thread::sleep(Duration::from_secs(1000));
        }
    })?;
    setpgid(child.pid(), child.pid())?;
    Ok(child)
}

fn wait_for(child: &Child, flags: WaitPidFlag) -> anyhow::Result<WaitStatus> {
    waitpid(child.pid(), Some(flags)).context("waitpid")
}

fn stop(child: &Child, signal: Signal) -> Outcome {
    child.signal(signal)?;
    let how = wait_for(child, WaitPidFlag::WUNTRACED)?;
    ensure!(how == WaitStatus::Stopped(child.pid(), signal), "stopped by {signal}: {how:?}");
    Ok(())
}

fn go_on(child: &Child) -> Outcome {
    child.signal(Signal::SIGCONT)?;
    let how = wait_for(child, WaitPidFlag::WCONTINUED)?;
    ensure!(how == WaitStatus::Continued(child.pid()), "continued: {how:?}");
    Ok(())
}

fn wait_reports() -> Outcome {
    let child = idle_child()?;
    let ask = |flags| wait_for(&child, flags | WaitPidFlag::WNOHANG);
    for signal in [Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU] {
        stop(&child, signal)?;
        let again = ask(WaitPidFlag::WUNTRACED | WaitPidFlag::WCONTINUED)?;
        ensure!(again == WaitStatus::StillAlive, "told twice: {again:?}");
        go_on(&child)?;
        let again = ask(WaitPidFlag::WUNTRACED | WaitPidFlag::WCONTINUED)?;
        ensure!(again == WaitStatus::StillAlive, "told twice: {again:?}");
    }
    stop(&child, Signal::SIGSTOP)?;
    child.signal(Signal::SIGCONT)?;
    ensure!(ask(WaitPidFlag::empty())? == WaitStatus::StillAlive, "told without being asked");
    child.signal(Signal::SIGKILL)?;
    child.expect_killed(Signal::SIGKILL)
}

fn waitid_reports() -> Outcome {
    let child = idle_child()?;
    let id = || Id::Pid(child.pid());
    let stopped = WaitStatus::Stopped(child.pid(), Signal::SIGSTOP);
    child.signal(Signal::SIGSTOP)?;
    for _ in 0..2 {
        let how = waitid(id(), WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT)?;
        ensure!(how == stopped, "WNOWAIT: {how:?}");
    }
    let how = waitid(id(), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG)?;
    ensure!(how == WaitStatus::StillAlive, "a stop is no end: {how:?}");
    let how = waitid(id(), WaitPidFlag::WSTOPPED)?;
    ensure!(how == stopped, "without WNOWAIT: {how:?}");
    let how = waitid(id(), WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG)?;
    ensure!(how == WaitStatus::StillAlive, "told twice: {how:?}");
    child.signal(Signal::SIGCONT)?;
    let how = waitid(id(), WaitPidFlag::WCONTINUED)?;
    ensure!(how == WaitStatus::Continued(child.pid()), "continued: {how:?}");
    ensure!(waitid(id(), WaitPidFlag::WNOHANG) == Err(Errno::EINVAL), "waiting for nothing");
    Ok(())
}

fn all_threads_stop() -> Outcome {
    const THREADS: usize = 3;
    let counts = Shared::<AtomicU64>::zeroed(THREADS)?;
    let counts: &'static [AtomicU64] = &Box::leak(Box::new(counts))[..];
    let child = Child::start(|| {
        for count in counts {
            thread::spawn(move || {
                loop {
                    count.fetch_add(1, SeqCst);
                    thread::yield_now();
                }
            });
        }
        loop {
            thread::sleep(Duration::from_secs(1000));
        }
    })?;
    let sample = || counts.iter().map(|count| count.load(SeqCst)).collect::<Vec<_>>();
    wait::until("all threads count", || sample().iter().all(|count| *count > 0))?;
    for _ in 0..5 {
        stop(&child, Signal::SIGSTOP)?;
        let at_stop = sample();
        thread::sleep(Duration::from_millis(30));
        ensure!(sample() == at_stop, "a thread runs in a stopped process");
        go_on(&child)?;
        let more = |now: Vec<u64>| now.iter().zip(&at_stop).all(|(now, then)| now > then);
        wait::until("all threads go on", || more(sample()))?;
    }
    Ok(())
}

fn sigchld_tells() -> Outcome {
    signals::note(Signal::SIGCHLD, SaFlags::SA_RESTART)?;
    let child = idle_child()?;
    let told = |count, code| {
        wait::until("SIGCHLD comes", || signals::seen(Signal::SIGCHLD).count == count)?;
        let seen = signals::seen(Signal::SIGCHLD);
        ensure!((seen.code, seen.pid) == (code, child.pid().as_raw()), "told {seen:?}, not {code}");
        Ok(())
    };
    child.signal(Signal::SIGSTOP)?;
    told(1, libc::CLD_STOPPED)?;
    child.signal(Signal::SIGCONT)?;
    told(2, libc::CLD_CONTINUED)?;
    child.signal(Signal::SIGKILL)?;
    told(3, libc::CLD_KILLED)
}

fn no_child_stop() -> Outcome {
    signals::note(Signal::SIGCHLD, SaFlags::SA_RESTART | SaFlags::SA_NOCLDSTOP)?;
    let child = idle_child()?;
    stop(&child, Signal::SIGSTOP)?;
    go_on(&child)?;
    ensure!(signals::seen(Signal::SIGCHLD).count == 0, "SIGCHLD for a stop or a continue");
    child.signal(Signal::SIGKILL)?;
    wait::until("SIGCHLD comes at the end", || signals::seen(Signal::SIGCHLD).count == 1)
}

fn signals_to_a_stopped_process() -> Outcome {
    let child = idle_child()?;
    stop(&child, Signal::SIGSTOP)?;
    child.signal(Signal::SIGKILL)?;
    child.expect_killed(Signal::SIGKILL)?;

    let child = idle_child()?;
    stop(&child, Signal::SIGSTOP)?;
    child.signal(Signal::SIGTERM)?;
    thread::sleep(Duration::from_millis(20));
    ensure!(!child.has_ended()?, "SIGTERM ended a stopped process");
    child.signal(Signal::SIGCONT)?;
    child.expect_killed(Signal::SIGTERM)
}

fn continue_always_works() -> Outcome {
    for ignores in [true, false] {
        let ready = &Shared::<AtomicI32>::zeroed(1)?[0];
        let child = Child::start(|| {
            let prepared = if ignores { signals::ignore(Signal::SIGCONT) } else { block(&[Signal::SIGCONT]) };
            if prepared.is_ok() {
                ready.store(1, SeqCst);
            }
            loop {
                thread::sleep(Duration::from_secs(1000));
            }
        })?;
        wait::until("the child is ready", || ready.load(SeqCst) == 1)?;
        stop(&child, Signal::SIGSTOP)?;
        go_on(&child)?;
    }
    Ok(())
}

fn set_of(signals: &[Signal]) -> SigSet {
    signals.iter().copied().collect()
}

fn block(signals: &[Signal]) -> Outcome {
    Ok(sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set_of(signals)), None)?)
}

fn unblock(signals: &[Signal]) -> Outcome {
    Ok(sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&set_of(signals)), None)?)
}

fn pending(signal: i32) -> bool {
    // SAFETY: both calls only touch the set.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigpending(&mut set);
        libc::sigismember(&set, signal) == 1
    }
}

fn continue_discards_stops() -> Outcome {
    block(&[Signal::SIGTSTP, Signal::SIGCONT])?;
    raise(Signal::SIGTSTP)?;
    ensure!(pending(libc::SIGTSTP), "a blocked SIGTSTP is not pending");
    raise(Signal::SIGCONT)?;
    ensure!(!pending(libc::SIGTSTP), "SIGCONT left the stop");
    raise(Signal::SIGTSTP)?;
    ensure!(!pending(libc::SIGCONT), "SIGTSTP left the continue");
    kill(getpid(), Signal::SIGCONT)?;
    unblock(&[Signal::SIGTSTP, Signal::SIGCONT])
}

fn sleep_goes_on() -> Outcome {
    const TIME: Duration = Duration::from_millis(300);
    let nanosleep = || {
        let time = libc::timespec { tv_sec: 0, tv_nsec: TIME.as_nanos() as i64 };
        // SAFETY: the structure lives across the call.
        unsafe { libc::nanosleep(&time, std::ptr::null_mut()) }
    };
    // SAFETY: without descriptors, nothing is written.
    let poll = || unsafe { libc::poll(std::ptr::null_mut(), 0, TIME.as_millis() as i32) };
    let select = || {
        let mut time = libc::timeval { tv_sec: 0, tv_usec: TIME.as_micros() as i64 };
        let none = std::ptr::null_mut();
        // SAFETY: as above; the structure lives across the call.
        unsafe { libc::select(0, none, none, none, &mut time) }
    };
    let sleeps: [&dyn Fn() -> i32; 3] = [&nanosleep, &poll, &select];
    for sleep in sleeps {
        let child = Child::start(|| {
            let started = Instant::now();
            i32::from(sleep() != 0 || started.elapsed() < TIME)
        })?;
        // One that began anew after each stop would never end.
        wait::until("the sleep ends", || {
            thread::sleep(Duration::from_millis(20));
            let _ = child.signal(Signal::SIGSTOP).and_then(|()| child.signal(Signal::SIGCONT));
            child.has_ended().unwrap_or(true)
        })?;
        child.expect_exit(0)?;
    }
    Ok(())
}

fn setpgid_rules() -> Outcome {
    let child = idle_child()?;
    let own = Pid::from_raw(0);
    ensure!(setpgid(Pid::from_raw(1 << 22), own) == Err(Errno::ESRCH), "of nobody");
    ensure!(setpgid(getppid(), own) == Err(Errno::ESRCH), "of the parent");
    ensure!(setpgid(own, Pid::from_raw(-1)) == Err(Errno::EINVAL), "to a negative group");
    ensure!(setpgid(own, Pid::from_raw(1 << 22)) == Err(Errno::EPERM), "to a group that is not there");
    setpgid(child.pid(), child.pid()).context("to its own group")?;
    ensure!(getpgid(Some(child.pid()))? == child.pid(), "the child is not in its group");
    setpgid(own, child.pid()).context("to the child's group")?;
    ensure!(getpgrp() == child.pid(), "not in the child's group");
    setpgid(own, own).context("to a group of its own")?;

    let program = std::env::current_exe()?;
    let mut executed = Command::new(program).env(IDLE, "1").stdin(Stdio::piped()).spawn()?;
    // The start is over when the program has been executed.
    let result = setpgid(Pid::from_raw(executed.id() as i32), own);
    drop(executed.stdin.take());
    executed.wait()?;
    ensure!(result == Err(Errno::EACCES), "of a child that has executed a program: {result:?}");

    Child::start(|| {
        report((|| {
            setsid()?;
            ensure!(setpgid(own, own) == Err(Errno::EPERM), "of a session's leader");
            Ok(())
        })())
    })?
    .expect_exit(0)
}

fn new_session() -> Outcome {
    Child::start(|| {
        report((|| {
            let before = getsid(None)?;
            ensure!(before != getpid(), "a child leads the session");
            ensure!(setsid()? == getpid(), "setsid returns another number");
            ensure!((getsid(None)?, getpgrp()) == (getpid(), getpid()), "not the leader of both");
            ensure!(setsid() == Err(Errno::EPERM), "a leader may do it again");
            let terminal = std::fs::File::open("/dev/tty").err().and_then(|error| error.raw_os_error());
            ensure!(terminal == Some(libc::ENXIO), "a new session has a terminal: {terminal:?}");
            Ok(())
        })())
    })?
    .expect_exit(0)
}

fn group_is_killed() -> Outcome {
    let children = (0..4).map(|_| idle_child()).collect::<anyhow::Result<Vec<_>>>()?;
    let group = children[0].pid();
    ensure!(getpgid(Some(group))? == group, "the first child is not in its group");
    for child in &children {
        setpgid(child.pid(), group)?;
    }
    killpg(group, None).context("asking whether the group is there")?;
    killpg(group, Signal::SIGUSR1)?;
    for child in children {
        child.expect_killed(Signal::SIGUSR1)?;
    }
    ensure!(killpg(group, Signal::SIGUSR1) == Err(Errno::ESRCH), "the group outlives its members");
    Ok(())
}

fn orphans_do_not_stop() -> Outcome {
    Child::start(|| {
        report((|| {
            setsid()?;
            for signal in [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU] {
                raise(signal)?;
            }
            Ok(())
        })())
    })?
    .expect_exit(0)
}

fn orphans_hang_up() -> Outcome {
    let notes = Shared::<AtomicI32>::zeroed(2)?;
    let (hung_up, ready) = (&notes[0], &notes[1]);
    let (mut alive, keeps_alive) = std::io::pipe()?;
    // A session in which nobody else can be a parent.
    let leader = Child::start(|| {
        report((|| {
            setsid()?;
            let parent = Child::start(|| {
                report((|| {
                    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
                    let stopped = Child::start(|| {
                        report((|| {
                            setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
                            signals::note(Signal::SIGHUP, SaFlags::empty())?;
                            ready.store(1, SeqCst);
                            wait::until("SIGHUP comes", || signals::seen(Signal::SIGHUP).count == 1)?;
                            hung_up.store(1, SeqCst);
                            Ok(())
                        })())
                    })?;
                    wait::until("the grandchild is ready", || ready.load(SeqCst) == 1)?;
                    stop(&stopped, Signal::SIGSTOP)?;
                    stopped.forget();
                    userland::children::exit_now(0)
                })())
            })?;
            parent.expect_exit(0)
        })())
    })?;
    drop(keeps_alive);
    leader.expect_exit(0)?;
    // The last holder of the pipe is the orphan: it has been continued when the pipe ends.
    alive.read_exact(&mut [0]).err().context("somebody wrote to the pipe")?;
    ensure!(hung_up.load(SeqCst) == 1, "the orphan was not told to hang up");
    Ok(())
}

fn sigqueue(signal: i32, value: usize) -> Result<(), Errno> {
    let value = libc::sigval { sival_ptr: value as *mut _ };
    // SAFETY: a call that takes plain numbers.
    Errno::result(unsafe { libc::sigqueue(libc::getpid(), signal, value) }).map(drop)
}

fn block_raw(signals: &[i32]) {
    // SAFETY: the calls only touch the set and this thread's mask.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}

/// Takes one of `signals`: its number, code and value.
fn take(signals: &[i32], limit: Duration) -> Result<(i32, i32, usize), Errno> {
    // SAFETY: all structures live across the call, and a siginfo of zeroes is valid.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let limit =
            libc::timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
        Errno::result(libc::sigtimedwait(&set, &mut info, &limit))?;
        Ok((info.si_signo, info.si_code, info.si_value().sival_ptr as usize))
    }
}

fn queued_in_order() -> Outcome {
    let (low, high) = (libc::SIGRTMIN(), libc::SIGRTMIN() + 3);
    let all = [high, low, libc::SIGUSR1];
    block_raw(&all);
    for value in 1..=3 {
        sigqueue(high, value)?;
        sigqueue(low, 10 + value)?;
    }
    for _ in 0..2 {
        sigqueue(libc::SIGUSR1, 7)?;
    }
    let mut taken = Vec::new();
    while let Ok((signal, code, value)) = take(&all, Duration::ZERO) {
        ensure!(code == libc::SI_QUEUE, "signal {signal} has code {code}");
        taken.push((signal, value));
    }
    let expected = [(libc::SIGUSR1, 7), (low, 11), (low, 12), (low, 13), (high, 1), (high, 2), (high, 3)];
    ensure!(taken == expected, "taken: {taken:?}");
    Ok(())
}

fn queue_is_bounded() -> Outcome {
    let signal = libc::SIGRTMIN();
    block_raw(&[signal, libc::SIGUSR1]);
    setrlimit(Resource::RLIMIT_SIGPENDING, 0, 0)?;
    ensure!(sigqueue(signal, 1) == Err(Errno::EAGAIN), "a real-time signal was queued");
    // Standard signals and those of kill come without details.
    sigqueue(libc::SIGUSR1, 1)?;
    let taken = take(&[libc::SIGUSR1], Duration::ZERO)?;
    ensure!(taken == (libc::SIGUSR1, libc::SI_USER, 0), "SIGUSR1: {taken:?}");
    // SAFETY: a call that takes plain numbers.
    Errno::result(unsafe { libc::kill(libc::getpid(), signal) })?;
    let taken = take(&[signal], Duration::ZERO)?;
    ensure!(taken == (signal, libc::SI_USER, 0), "from kill: {taken:?}");
    Ok(())
}

fn timed_wait() -> Outcome {
    block_raw(&[libc::SIGUSR1]);
    let started = Instant::now();
    let limit = Duration::from_millis(30);
    ensure!(take(&[libc::SIGUSR1], limit) == Err(Errno::EAGAIN), "a signal that nobody sent");
    ensure!(started.elapsed() >= limit, "it did not wait");
    signals::note(Signal::SIGUSR2, SaFlags::SA_RESTART)?;
    let parent = getpid();
    let child = Child::start(|| {
        report((|| {
            thread::sleep(Duration::from_millis(30));
            Ok(kill(parent, Signal::SIGUSR2)?)
        })())
    })?;
    let interrupted = take(&[libc::SIGUSR1], Duration::from_secs(1000));
    ensure!(interrupted == Err(Errno::EINTR), "another signal came: {interrupted:?}");
    ensure!(signals::seen(Signal::SIGUSR2).count == 1, "the handler did not run");
    child.expect_exit(0)
}

fn wait_restarts() -> Outcome {
    for (flags, expected) in [(SaFlags::SA_RESTART, None), (SaFlags::empty(), Some(Errno::EINTR))] {
        signals::note(Signal::SIGUSR1, flags)?;
        let handled = signals::seen(Signal::SIGUSR1).count;
        let parent = getpid();
        let (mut gate, opener) = std::io::pipe()?;
        let waited_for = Child::start(|| {
            report((|| {
                gate.read_exact(&mut [0])?;
                Ok(())
            })())
        })?;
        let sender = Child::start(|| {
            report((|| {
                thread::sleep(Duration::from_millis(30));
                kill(parent, Signal::SIGUSR1)?;
                thread::sleep(Duration::from_millis(30));
                (&opener).write_all(&[0])?;
                Ok(())
            })())
        })?;
        let how = waitpid(waited_for.pid(), None);
        match expected {
            None => {
                ensure!(how == Ok(WaitStatus::Exited(waited_for.pid(), 0)), "with SA_RESTART: {how:?}");
                waited_for.forget();
            }
            Some(error) => {
                ensure!(how == Err(error), "without SA_RESTART: {how:?}");
                waited_for.expect_exit(0)?;
            }
        }
        ensure!(signals::seen(Signal::SIGUSR1).count == handled + 1, "the handler did not run");
        sender.expect_exit(0)?;
    }
    Ok(())
}

fn death_of_parent() -> Outcome {
    let (mut alive, keeps_alive) = std::io::pipe()?;
    let notes = Shared::<AtomicI32>::zeroed(2)?;
    let (told, ready) = (&notes[0], &notes[1]);
    Child::start(|| {
        report((|| {
            let orphan = Child::start(|| {
                report((|| {
                    signals::note(Signal::SIGUSR1, SaFlags::empty())?;
                    nix::sys::prctl::set_pdeathsig(Signal::SIGUSR1)?;
                    let set = nix::sys::prctl::get_pdeathsig()?;
                    ensure!(set == Some(Signal::SIGUSR1), "set to {set:?}");
                    let inherited = Child::start(|| match nix::sys::prctl::get_pdeathsig() {
                        Ok(None) => 0,
                        _ => 1,
                    })?;
                    inherited.expect_exit(0).context("a child inherits it")?;
                    ready.store(1, SeqCst);
                    wait::until("the signal comes", || signals::seen(Signal::SIGUSR1).count == 1)?;
                    told.store(1, SeqCst);
                    Ok(())
                })())
            })?;
            wait::until("the orphan is ready", || ready.load(SeqCst) == 1)?;
            orphan.forget();
            Ok(())
        })())
    })?
    .expect_exit(0)?;
    drop(keeps_alive);
    if alive.read(&mut [0])? != 0 {
        bail!("somebody wrote to the pipe");
    }
    ensure!(told.load(SeqCst) == 1, "the orphan was not told");
    Ok(())
}
