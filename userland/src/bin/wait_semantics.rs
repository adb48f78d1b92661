//! Waiting for children: who may be waited for, what is learnt, and when nothing is left. See wait(2), sigaction(2).

use anyhow::{Context, bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, Signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, wait, waitid, waitpid};
use nix::unistd::{Pid, getpid, getppid, setpgid};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use userland::checks::{self, Outcome};
use userland::children::{Child, exit_now, report};
use userland::shared::Shared;
use userland::{signals, wait};

fn main() -> ExitCode {
    checks::run(
        "wait_semantics",
        &[
            ("an exit status arrives, cut to 8 bits", exit_statuses),
            ("a child that was killed tells by which signal", killed_children),
            ("waitid tells who, how and what", waitid_fields),
            ("WNOHANG does not wait", wnohang),
            ("without children there is ECHILD", no_children),
            ("a child that is asked for is the one waited for", specific_child),
            ("WNOWAIT leaves the child to be waited for again", wnowait),
            ("children are found by their process group", process_group),
            ("wait sleeps until a child ends", wait_sleeps),
            ("another thread may wait", other_thread_waits),
            ("waiting threads share the children, each child once", many_waiters),
            ("exit in one thread ends them all", exit_ends_all_threads),
            ("a process lives until its last thread ends", last_thread_ends_process),
            ("SIGCHLD comes when a child ends", sigchld_comes),
            ("with SIGCHLD ignored, children leave nothing behind", sigchld_ignored),
            ("with SA_NOCLDWAIT, children leave nothing behind", no_child_wait),
            ("an orphan gets a new parent", orphan_gets_new_parent),
        ],
    )
}

fn exit_statuses() -> Outcome {
    for status in [0, 1, 42, 127, 128, 255] {
        Child::start(|| status)?.expect_exit(status)?;
    }
    Child::start(|| 256 + 7)?.expect_exit(7)
}

/// A child that sleeps until a signal ends it.
fn sleeper() -> anyhow::Result<Child> {
    Child::start(|| {
        loop {
            thread::sleep(Duration::from_secs(1));
        }
    })
}

/// A child that ends with `status` when told so by a byte in the pipe.
fn waiting_child(status: i32) -> anyhow::Result<(Child, std::io::PipeWriter)> {
    let (mut reader, writer) = std::io::pipe()?;
    let child = Child::start(|| match reader.read_exact(&mut [0]) {
        Ok(()) => status,
        Err(_) => 1,
    })?;
    Ok((child, writer))
}

fn killed_children() -> Outcome {
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGABRT] {
        let child = sleeper()?;
        child.signal(signal)?;
        child.expect_killed(signal)?;
    }
    Ok(())
}

fn waitid_fields() -> Outcome {
    let child = Child::start(|| 9)?;
    let info = raw_waitid(child.pid())?;
    // SAFETY: waitid filled these fields in.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    ensure!((info.si_signo, info.si_code) == (libc::SIGCHLD, libc::CLD_EXITED), "exit: {info:?}");
    ensure!((pid, status) == (child.pid().as_raw(), 9), "exit: pid {pid}, status {status}");
    child.forget();

    let child = sleeper()?;
    child.signal(Signal::SIGKILL)?;
    let info = raw_waitid(child.pid())?;
    // SAFETY: as above.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    ensure!(info.si_code == libc::CLD_KILLED, "kill: {info:?}");
    ensure!((pid, status) == (child.pid().as_raw(), libc::SIGKILL), "kill: pid {pid}, status {status}");
    child.forget();
    Ok(())
}

fn raw_waitid(pid: Pid) -> anyhow::Result<libc::siginfo_t> {
    // SAFETY: a siginfo of zeroes is valid, and waitid writes to nothing else.
    let (result, info) = unsafe {
        let mut info = std::mem::zeroed();
        (libc::waitid(libc::P_PID, pid.as_raw() as libc::id_t, &mut info, libc::WEXITED), info)
    };
    Errno::result(result).context("waitid")?;
    Ok(info)
}

fn wnohang() -> Outcome {
    let (child, mut gate) = waiting_child(5)?;
    let poll = || waitpid(child.pid(), Some(WaitPidFlag::WNOHANG));
    ensure!(poll()? == WaitStatus::StillAlive, "a child that waits is said to have ended");
    gate.write_all(&[0])?;
    wait::until("the child is seen to end", || child.has_ended().unwrap_or(true))?;
    ensure!(poll()? == WaitStatus::Exited(child.pid(), 5), "a child that ended is not found");
    ensure!(poll() == Err(Errno::ECHILD), "a child is found twice");
    child.forget();
    Ok(())
}

fn no_children() -> Outcome {
    ensure!(wait() == Err(Errno::ECHILD), "wait found a child");
    ensure!(waitpid(None, Some(WaitPidFlag::WNOHANG)) == Err(Errno::ECHILD), "WNOHANG found a child");
    ensure!(waitid(Id::All, WaitPidFlag::WEXITED) == Err(Errno::ECHILD), "waitid found a child");
    for stranger in [getpid(), getppid()] {
        ensure!(waitpid(stranger, None) == Err(Errno::ECHILD), "a process that is no child was waited for");
    }
    ensure!(raw_wait4_options(1 << 20) == Errno::EINVAL, "unknown options are not EINVAL");
    Ok(())
}

fn raw_wait4_options(options: i32) -> Errno {
    // SAFETY: with null pointers, wait4 writes nothing.
    match unsafe { libc::wait4(-1, std::ptr::null_mut(), options, std::ptr::null_mut()) } {
        -1 => Errno::last(),
        _ => Errno::UnknownErrno,
    }
}

fn specific_child() -> Outcome {
    let children = (0..5).map(|status| Child::start(move || status)).collect::<anyhow::Result<Vec<_>>>()?;
    for (status, child) in children.into_iter().enumerate().rev() {
        child.expect_exit(status as i32)?;
    }
    no_children()
}

fn wnowait() -> Outcome {
    let child = Child::start(|| 3)?;
    let expected = WaitStatus::Exited(child.pid(), 3);
    for _ in 0..3 {
        let how = waitid(Id::Pid(child.pid()), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
        ensure!(how == expected, "got {how:?}");
    }
    child.expect_exit(3)
}

fn process_group() -> Outcome {
    let (grouped, mut gate) = waiting_child(1)?;
    setpgid(grouped.pid(), grouped.pid()).context("setpgid")?;
    let ordinary = Child::start(|| 2)?;
    let own_group = Pid::from_raw(0);
    ensure!(
        waitpid(own_group, None)? == WaitStatus::Exited(ordinary.pid(), 2),
        "not the child of this group"
    );
    ensure!(waitpid(own_group, None) == Err(Errno::ECHILD), "a child of another group was found");
    gate.write_all(&[0])?;
    let group = Pid::from_raw(-grouped.pid().as_raw());
    ensure!(waitpid(group, None)? == WaitStatus::Exited(grouped.pid(), 1), "not the child of that group");
    ordinary.forget();
    grouped.forget();
    Ok(())
}

fn wait_sleeps() -> Outcome {
    let ended = &Shared::<AtomicBool>::zeroed(1)?[0];
    let child = Child::start(|| {
        thread::sleep(Duration::from_millis(30));
        ended.store(true, SeqCst);
        0
    })?;
    child.expect_exit(0)?;
    ensure!(ended.load(SeqCst), "wait returned before the child had ended");
    Ok(())
}

fn other_thread_waits() -> Outcome {
    let (child, mut gate) = waiting_child(6)?;
    thread::scope(|scope| {
        let waiter = scope.spawn(|| child.expect_exit(6));
        gate.write_all(&[0])?;
        waiter.join().expect("no check panics")
    })
}

fn many_waiters() -> Outcome {
    const CHILDREN: usize = 60;
    let mut started = BTreeSet::new();
    for _ in 0..CHILDREN {
        let child = Child::start(|| 0)?;
        started.insert(child.pid());
        child.forget();
    }
    let found = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Ok(WaitStatus::Exited(pid, 0)) = wait() {
                    found.lock().expect("nobody panics with it").push(pid);
                }
            });
        }
    });
    let found = found.into_inner().expect("nobody panicked with it");
    ensure!(found.len() == CHILDREN, "{} of {CHILDREN} children were found", found.len());
    ensure!(found.into_iter().collect::<BTreeSet<_>>() == started, "others were found than were started");
    Ok(())
}

fn exit_ends_all_threads() -> Outcome {
    Child::start(|| {
        for _ in 0..3 {
            thread::spawn(|| {
                loop {
                    std::hint::spin_loop()
                }
            });
        }
        thread::spawn(|| std::process::exit(33));
        loop {
            thread::sleep(Duration::from_secs(1));
        }
    })?
    .expect_exit(33)
}

fn last_thread_ends_process() -> Outcome {
    let finished = &*Box::leak(Box::new(Shared::<AtomicBool>::zeroed(1)?));
    let child = Child::start(|| {
        thread::spawn(|| {
            thread::sleep(Duration::from_millis(30));
            finished[0].store(true, SeqCst);
            // SAFETY: ends this thread only, which holds nothing that others need.
            unsafe { libc::syscall(libc::SYS_exit, 12) };
        });
        // SAFETY: as above; the stack of the first thread stays as it is.
        unsafe { libc::syscall(libc::SYS_exit, 12) };
        unreachable!("the thread has ended");
    })?;
    child.expect_exit(12)?;
    ensure!(finished[0].load(SeqCst), "the process ended before its last thread");
    Ok(())
}

fn sigchld_comes() -> Outcome {
    signals::note(Signal::SIGCHLD, SaFlags::SA_RESTART)?;
    let child = Child::start(|| 4)?;
    let pid = child.pid().as_raw();
    wait::until("SIGCHLD arrives", || signals::seen(Signal::SIGCHLD).count == 1)?;
    let seen = signals::seen(Signal::SIGCHLD);
    ensure!((seen.pid, seen.code) == (pid, libc::CLD_EXITED), "the handler saw {seen:?}");
    child.expect_exit(4)
}

fn sigchld_ignored() -> Outcome {
    signals::ignore(Signal::SIGCHLD)?;
    children_leave_nothing()
}

fn no_child_wait() -> Outcome {
    signals::restore_default(Signal::SIGCHLD, SaFlags::SA_NOCLDWAIT)?;
    children_leave_nothing()
}

/// Without statuses to collect, wait(2) sleeps until all children have ended, and then says ECHILD.
fn children_leave_nothing() -> Outcome {
    let ended = &Shared::<AtomicI32>::zeroed(1)?[0];
    for index in 0..10 {
        let child = Child::start(|| {
            thread::sleep(Duration::from_millis(index));
            ended.fetch_add(1, SeqCst);
            0
        })?;
        child.forget();
    }
    match wait() {
        Err(Errno::ECHILD) => {}
        other => bail!("wait returned {other:?}"),
    }
    ensure!(ended.load(SeqCst) == 10, "wait returned when {} of 10 children had ended", ended.load(SeqCst));
    Ok(())
}

fn orphan_gets_new_parent() -> Outcome {
    let seen = Shared::<AtomicI32>::zeroed(1)?;
    let new_parent = &seen[0];
    let (mut gate, opener) = std::io::pipe()?;
    Child::start(|| {
        let parent = getpid();
        let grandchild = Child::start(|| {
            report((|| {
                gate.read_exact(&mut [0])?;
                wait::until("the parent is gone", || getppid() != parent)?;
                new_parent.store(getppid().as_raw(), SeqCst);
                Ok(())
            })())
        });
        match grandchild {
            Ok(_) => exit_now(0),
            Err(error) => report(Err(error)),
        }
    })?
    .expect_exit(0)?;
    (&opener).write_all(&[0])?;
    wait::until("the orphan sees its new parent", || new_parent.load(SeqCst) != 0)?;
    ensure!(new_parent.load(SeqCst) != getpid().as_raw(), "a grandparent is not a parent");
    Ok(())
}
