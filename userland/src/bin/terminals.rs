//! Terminals, as pseudo-terminals show them: lines and their editing, raw input, output, flow control, signals, job
//! control, hang-ups. See termios(3), ioctl_tty(2), pty(7), tty(4).

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::signal::{SaFlags, SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgrp, getpid, setpgid, setsid};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::linux::fs::MetadataExt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use userland::checks::{self, Outcome};
use userland::children::{Child, report};
use userland::shared::Shared;
use userland::terminal::{self, Pty};
use userland::{signals, wait};

fn main() -> ExitCode {
    checks::run(
        "terminals",
        &[
            ("a new terminal has Linux's settings", first_settings),
            ("a pseudo-terminal has a name and must be unlocked", name_and_lock),
            ("lines are read one by one, when they are complete", lines),
            ("what is typed is shown, control characters with a caret", echo),
            ("characters, words and lines can be erased", editing),
            ("a character of several bytes is erased as one", erasing_utf8),
            ("a tab is erased with all its width", erasing_tabs),
            ("^D ends the input, or hands over what is there", end_of_file),
            ("VEOL ends lines, ^V takes a key literally, ^R shows the line again", other_keys),
            ("returns and newlines are translated as the settings say", translation),
            ("raw reads wait as VMIN and VTIME say", raw_reads),
            ("what was typed stays when the mode changes", mode_changes),
            ("output is processed as the settings say", output_processing),
            ("^S stops output, ^Q lets it go on", flow_control),
            ("a writer waits for the terminal", writer_waits),
            ("FIONREAD counts, tcflush forgets", counting_and_flushing),
            ("a terminal that is not read says EAGAIN to those who do not wait", nonblocking),
            ("^C, ^\\ and ^Z are signals for the foreground", keys_that_signal),
            ("the window's size is kept, and a change is SIGWINCH", window_size),
            ("/dev/tty is the controlling terminal", controlling_terminal),
            ("the background may not read, nor change the terminal", background),
            ("TOSTOP keeps the background from writing", background_output),
            ("the foreground is changed by the session's processes only", foreground_rules),
            ("when the master is closed, the session hangs up", master_closes),
            ("when the last program has closed it, the master reads EIO", slave_closes),
            ("when the session's leader ends, the foreground hangs up", leader_ends),
        ],
    )
}

fn first_settings() -> Outcome {
    let settings = Pty::open()?.settings()?;
    ensure!(settings.c_iflag == libc::ICRNL | libc::IXON, "input: {:#x}", settings.c_iflag);
    ensure!(settings.c_oflag == libc::OPOST | libc::ONLCR, "output: {:#x}", settings.c_oflag);
    let control = libc::B38400 | libc::CS8 | libc::CREAD;
    ensure!(settings.c_cflag & !(0o20 << 23) == control, "control: {:#x}", settings.c_cflag);
    let local = libc::ISIG
        | libc::ICANON
        | libc::ECHO
        | libc::ECHOE
        | libc::ECHOK
        | libc::ECHOCTL
        | libc::ECHOKE
        | libc::IEXTEN;
    ensure!(settings.c_lflag == local, "local: {:#x}", settings.c_lflag);
    let expected = [3, 0x1c, 0x7f, 0x15, 4, 0, 1, 0, 0x11, 0x13, 0x1a, 0, 0x12, 0xf, 0x17, 0x16, 0];
    ensure!(settings.c_cc[..17] == expected, "characters: {:?}", settings.c_cc);
    Ok(())
}

fn name_and_lock() -> Outcome {
    let master = terminal::open_master()?;
    let name = terminal::name(&master)?;
    let number: u64 = name.strip_prefix("/dev/pts/").context("another name")?.parse()?;
    let locked = File::open(&name).err().and_then(|error| error.raw_os_error());
    ensure!(locked == Some(libc::EIO), "a locked terminal: {locked:?}");
    // SAFETY: a call that takes a descriptor, which is open.
    Errno::result(unsafe { libc::unlockpt(master.as_raw_fd()) })?;
    let slave = terminal::open_slave(&name)?;
    let device = slave.metadata()?.st_rdev();
    ensure!(device == libc::makedev(136, number as u32), "its number is {device:#x}");
    let is_listed = |name: &str| {
        let mut entries = std::fs::read_dir("/dev/pts")?;
        anyhow::Ok(entries.any(|entry| entry.is_ok_and(|entry| entry.path().to_str() == Some(name))))
    };
    ensure!(is_listed(&name)?, "/dev/pts does not list it");
    drop(master);
    drop(slave);
    ensure!(!is_listed(&name)?, "/dev/pts lists it when it is gone");
    Ok(())
}

fn lines() -> Outcome {
    let pty = Pty::open()?;
    pty.type_in("one")?;
    ensure!(!pty.has_input()?, "half a line can be read");
    pty.type_in(" line\nanother\nlast")?;
    pty.expect_read("one line\n")?;
    ensure!(pty.read(3)? == b"ano", "not the beginning of the next line");
    pty.expect_read("ther\n")?;
    ensure!(!pty.has_input()?, "a line that is not complete can be read");
    pty.type_in("\n")?;
    pty.expect_read("last\n")
}

fn echo() -> Outcome {
    let pty = Pty::open()?;
    pty.type_in("ab\x01\tc\x1b[A\n")?;
    pty.expect_shown("ab^A\tc^[[A\r\n")?;
    pty.expect_read("ab\x01\tc\x1b[A\n")?;
    pty.echo_off()?;
    pty.type_in("secret\n")?;
    pty.expect_read("secret\n")?;
    ensure!(pty.shows_nothing()?, "without ECHO, something is shown");
    pty.set(|settings| settings.c_lflag |= libc::ECHONL)?;
    pty.type_in("secret\n")?;
    pty.expect_shown("\r\n")
}

fn editing() -> Outcome {
    let pty = Pty::open()?;
    let edits: [(&str, &str, &str); 7] = [
        ("ax\x7fb\n", "ax\x08 \x08b\r\n", "ab\n"),
        ("a\x01\x7fb\n", "a^A\x08 \x08\x08 \x08b\r\n", "ab\n"),
        ("\x7f\x7fc\n", "c\r\n", "c\n"),
        ("on tw_o  \x17e\n", &format!("on tw_o  {}e\r\n", "\x08 \x08".repeat(6)), "on e\n"),
        ("a.b\x17\n", "a.b\x08 \x08\r\n", "a.\n"),
        ("abc\x15de\n", &format!("abc{}de\r\n", "\x08 \x08".repeat(3)), "de\n"),
        ("x\ny\x7f\x7fz\n", "x\r\ny\x08 \x08z\r\n", "x\n"),
    ];
    for (typed, shown, read) in edits {
        pty.type_in(typed)?;
        pty.expect_shown(shown).with_context(|| format!("typed {typed:?}"))?;
        pty.expect_read(read).with_context(|| format!("typed {typed:?}"))?;
    }
    pty.expect_read("z\n")?;
    // Displays that cannot wipe.
    pty.set(|settings| settings.c_lflag &= !(libc::ECHOE | libc::ECHOKE))?;
    pty.type_in("ab\x7fc\x15d\n")?;
    pty.expect_shown("ab^?c^U\r\nd\r\n")?;
    pty.expect_read("d\n")
}

fn erasing_utf8() -> Outcome {
    let pty = Pty::open()?;
    pty.set(|settings| settings.c_iflag |= libc::IUTF8)?;
    pty.type_in("aä\x7f\x7fb\n")?;
    pty.expect_shown("aä\x08 \x08\x08 \x08b\r\n")?;
    pty.expect_read("b\n")
}

fn erasing_tabs() -> Outcome {
    let pty = Pty::open()?;
    pty.type_in("ab\t\x7fc\n")?;
    pty.expect_shown("ab\t\x08\x08\x08\x08\x08\x08c\r\n")?;
    pty.expect_read("abc\n")
}

fn end_of_file() -> Outcome {
    let pty = Pty::open()?;
    pty.echo_off()?;
    pty.type_in("\x04")?;
    pty.expect_read("")?;
    pty.type_in("part\x04")?;
    pty.expect_read("part")?;
    pty.type_in("line\n\x04more\n")?;
    pty.expect_read("line\n")?;
    pty.expect_read("")?;
    pty.expect_read("more\n")?;
    ensure!(!pty.has_input()?, "there is more");
    Ok(())
}

fn other_keys() -> Outcome {
    let pty = Pty::open()?;
    pty.set(|settings| settings.c_cc[libc::VEOL] = b';')?;
    pty.type_in("a;b\n")?;
    pty.expect_shown("a;b\r\n")?;
    pty.expect_read("a;")?;
    pty.expect_read("b\n")?;
    pty.type_in("x\x16\x03y\n")?;
    pty.expect_shown("x^\x08^Cy\r\n")?;
    pty.expect_read("x\x03y\n")?;
    pty.type_in("ab\x12c\n")?;
    pty.expect_shown("ab^R\r\nabc\r\n")?;
    pty.expect_read("abc\n")
}

fn translation() -> Outcome {
    let pty = Pty::open()?;
    pty.echo_off()?;
    pty.type_in("a\rb\n")?;
    pty.expect_read("a\n")?;
    pty.expect_read("b\n")?;
    pty.set(|settings| settings.c_iflag = libc::IGNCR | libc::ISTRIP)?;
    pty.type_in(b"a\r\xe2\n")?;
    pty.expect_read("ab\n")?;
    pty.set(|settings| settings.c_iflag = libc::INLCR)?;
    pty.type_in("a\n\x04")?;
    pty.expect_read("a\r")
}

fn raw_reads() -> Outcome {
    let pty = Pty::open()?;
    pty.make_raw(0, 0)?;
    ensure!(pty.read(10)?.is_empty(), "VMIN 0, VTIME 0: something to read");
    pty.type_in("a\x03\x7f\n\x04")?;
    pty.expect_read("a\x03\x7f\n\x04")?;

    pty.make_raw(0, 1)?;
    let started = Instant::now();
    ensure!(pty.read(10)?.is_empty(), "VTIME: something to read");
    ensure!(started.elapsed() >= Duration::from_millis(95), "VTIME: {:?}", started.elapsed());

    pty.make_raw(3, 0)?;
    pty.type_in("ab")?;
    ensure!(!pty.has_input()?, "poll does not look at VMIN");
    let third = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(30));
            pty.type_in("cd")
        });
        pty.read(10)
    })?;
    ensure!(third.len() >= 3, "VMIN 3: {third:?}");
    pty.type_in("efg")?;
    // However much there is already, a small buffer is full sooner.
    ensure!(pty.read(1)?.len() == 1, "a buffer of one byte");

    let pty = Pty::open()?;
    pty.make_raw(10, 1)?;
    pty.type_in("xy")?;
    ensure!(pty.read(20)? == b"xy", "VTIME counts from the first byte");
    ensure!(pty.shows_nothing()?, "raw input is shown");
    Ok(())
}

fn mode_changes() -> Outcome {
    let pty = Pty::open()?;
    pty.echo_off()?;
    pty.type_in("half")?;
    pty.make_raw(1, 0)?;
    pty.expect_read("half")?;
    pty.type_in("raw")?;
    ensure!(pty.has_input()?, "raw bytes cannot be read");
    pty.set(|settings| settings.c_lflag |= libc::ICANON)?;
    pty.expect_read("raw")
}

fn output_processing() -> Outcome {
    let pty = Pty::open()?;
    let write = |text: &str| (&pty.slave).write_all(text.as_bytes());
    write("a\nb\r\tc\n")?;
    pty.expect_shown("a\r\nb\r\tc\r\n")?;
    pty.set(|settings| settings.c_oflag = libc::OPOST | libc::XTABS)?;
    write("\ra\tb\n")?;
    pty.expect_shown("\ra       b\n")?;
    pty.set(|settings| settings.c_oflag = libc::OPOST | libc::OCRNL)?;
    write("a\rb")?;
    pty.expect_shown("a\nb")?;
    pty.set(|settings| settings.c_oflag = libc::OPOST | libc::ONOCR | libc::ONLCR)?;
    write("\n\ra\r")?;
    pty.expect_shown("\r\na\r")?;
    pty.set(|settings| settings.c_oflag = libc::ONLCR)?;
    write("a\nb")?;
    pty.expect_shown("a\nb")
}

fn flow_control() -> Outcome {
    let pty = Pty::open()?;
    pty.type_in("\x13")?;
    // Linux hands on what is typed in the background; whoever looks for input waits for that.
    ensure!(!pty.has_input()?, "^S can be read");
    // A program that writes now waits.
    let child = Child::start(|| report((&pty.slave).write_all(b"late").context("writing")))?;
    thread::sleep(Duration::from_millis(30));
    ensure!(pty.shows_nothing()?, "output goes on after ^S");
    ensure!(!child.has_ended()?, "the writer does not wait");
    pty.type_in("\x11")?;
    pty.expect_shown("late")?;
    child.expect_exit(0)?;
    // SAFETY: calls that take a descriptor, which is open.
    let flow = |action| Errno::result(unsafe { libc::tcflow(pty.slave.as_raw_fd(), action) });
    flow(libc::TCOOFF)?;
    let child = Child::start(|| report((&pty.slave).write_all(b"more").context("writing")))?;
    thread::sleep(Duration::from_millis(30));
    ensure!(pty.shows_nothing()?, "output goes on after TCOOFF");
    flow(libc::TCOON)?;
    pty.expect_shown("more")?;
    child.expect_exit(0)?;
    flow(libc::TCIOFF)?;
    flow(libc::TCION)?;
    pty.expect_shown("\x13\x11")
}

fn writer_waits() -> Outcome {
    const LENGTH: usize = 300_000;
    let pty = Pty::open()?;
    pty.make_raw(1, 0)?;
    let bytes: Vec<u8> = (0..LENGTH).map(|at| at as u8).collect();
    let child = Child::start(|| report((&pty.slave).write_all(&bytes).context("writing")))?;
    pty.expect_shown(&bytes)?;
    child.expect_exit(0)?;
    // And the other way round.
    let child = Child::start(|| {
        report((|| {
            let mut read = vec![0; LENGTH];
            (&pty.slave).read_exact(&mut read)?;
            ensure!(read == bytes, "other bytes are read than were typed");
            Ok(())
        })())
    })?;
    pty.type_in(&bytes)?;
    child.expect_exit(0)
}

fn counting_and_flushing() -> Outcome {
    let pty = Pty::open()?;
    pty.echo_off()?;
    let count = || {
        let mut count = 0;
        // SAFETY: the number lives across the call.
        Errno::result(unsafe { libc::ioctl(pty.slave.as_raw_fd(), libc::FIONREAD, &mut count) })?;
        anyhow::Ok(count)
    };
    ensure!(count()? == 0, "an empty terminal has {} bytes", count()?);
    pty.type_in("one\ntwo\n")?;
    wait::until("two lines have eight bytes", || count().is_ok_and(|count| count == 8))?;
    // SAFETY: calls that take a descriptor, which is open.
    let flush = |what| Errno::result(unsafe { libc::tcflush(pty.slave.as_raw_fd(), what) });
    flush(libc::TCIFLUSH)?;
    ensure!(count()? == 0 && !pty.has_input()?, "something is left after TCIFLUSH");
    pty.type_in("ee\n")?;
    pty.expect_read("ee\n")?;
    ensure!(flush(77) == Err(Errno::EINVAL), "an unknown queue");
    Ok(())
}

fn nonblocking() -> Outcome {
    let pty = Pty::open()?;
    for file in [&pty.slave, &pty.master] {
        // SAFETY: a call that takes plain numbers.
        Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })?;
        let read = { file }.read(&mut [0; 8]).err().and_then(|error| error.raw_os_error());
        ensure!(read == Some(libc::EAGAIN), "{read:?}");
        let events = terminal::events(file, PollFlags::POLLIN | PollFlags::POLLOUT, 0)?;
        ensure!(events == PollFlags::POLLOUT, "{events:?}");
    }
    pty.type_in("half")?;
    let read = (&pty.slave).read(&mut [0; 8]).err().and_then(|error| error.raw_os_error());
    ensure!(read == Some(libc::EAGAIN), "half a line: {read:?}");
    Ok(())
}

/// Makes the caller the leader of a new session that the terminal belongs to.
fn take_terminal(pty: &Pty) -> Outcome {
    setsid()?;
    // SAFETY: a call that takes plain numbers.
    Errno::result(unsafe { libc::ioctl(pty.slave.as_raw_fd(), libc::TIOCSCTTY, 0) }).context("TIOCSCTTY")?;
    Ok(())
}

/// A process that leads a session with the terminal and runs `body`.
fn leader(pty: &Pty, body: impl FnOnce() -> Outcome) -> anyhow::Result<Child> {
    Child::start(|| {
        report((|| {
            take_terminal(pty)?;
            body()
        })())
    })
}

fn idle() -> Outcome {
    loop {
        thread::sleep(Duration::from_secs(1000));
    }
}

fn foreground(pty: &Pty) -> nix::Result<Pid> {
    // SAFETY: a call that takes a descriptor, which is open.
    Errno::result(unsafe { libc::tcgetpgrp(pty.slave.as_raw_fd()) }).map(Pid::from_raw)
}

fn set_foreground(pty: &Pty, group: Pid) -> nix::Result<()> {
    // SAFETY: as above.
    Errno::result(unsafe { libc::tcsetpgrp(pty.slave.as_raw_fd(), group.as_raw()) }).map(drop)
}

fn block(signal: Signal) -> Outcome {
    Ok(sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::from(signal)), None)?)
}

fn keys_that_signal() -> Outcome {
    for (key, signal) in [("\x03", Signal::SIGINT), ("\x1c", Signal::SIGQUIT)] {
        let pty = Pty::open()?;
        let ready = &Shared::<AtomicI32>::zeroed(1)?[0];
        let child = leader(&pty, || {
            // Without a core file, as where there is none.
            nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)?;
            ready.store(1, SeqCst);
            idle()
        })?;
        wait::until("the terminal is taken", || ready.load(SeqCst) == 1)?;
        pty.type_in("gone")?;
        pty.type_in(key)?;
        child.expect_killed(signal)?;
    }
    // The leader runs a job in the foreground, which ^Z stops.
    let pty = Pty::open()?;
    let ready = &Shared::<AtomicI32>::zeroed(1)?[0];
    let child = leader(&pty, || {
        let job = Child::start(|| {
            report(setpgid(Pid::from_raw(0), Pid::from_raw(0)).context("setpgid").and_then(|()| idle()))
        })?;
        wait::until("the job has its group", || nix::unistd::getpgid(Some(job.pid())) == Ok(job.pid()))?;
        set_foreground(&pty, job.pid())?;
        ensure!(foreground(&pty)? == job.pid(), "the job is not in the foreground");
        ready.store(1, SeqCst);
        let how = waitpid(job.pid(), Some(WaitPidFlag::WUNTRACED))?;
        ensure!(how == WaitStatus::Stopped(job.pid(), Signal::SIGTSTP), "^Z: {how:?}");
        Ok(())
    })?;
    wait::until("the job is in the foreground", || ready.load(SeqCst) == 1)?;
    pty.type_in("\x1a")?;
    pty.expect_shown("^Z")?;
    child.expect_exit(0)
}

fn window_size() -> Outcome {
    let pty = Pty::open()?;
    let get = || {
        let mut size = libc::winsize { ws_row: 9, ws_col: 9, ws_xpixel: 9, ws_ypixel: 9 };
        // SAFETY: the structure lives across the call.
        Errno::result(unsafe { libc::ioctl(pty.slave.as_raw_fd(), libc::TIOCGWINSZ, &mut size) })?;
        anyhow::Ok((size.ws_row, size.ws_col))
    };
    ensure!(get()? == (0, 0), "a new window: {:?}", get()?);
    let ready = &Shared::<AtomicI32>::zeroed(1)?[0];
    let child = leader(&pty, || {
        signals::note(Signal::SIGWINCH, SaFlags::empty())?;
        ready.store(1, SeqCst);
        wait::until("SIGWINCH comes", || signals::seen(Signal::SIGWINCH).count == 1)?;
        ensure!(get()? == (24, 80), "the size is {:?}", get()?);
        Ok(())
    })?;
    wait::until("the handler is there", || ready.load(SeqCst) == 1)?;
    let size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    for _ in 0..2 {
        // The second time, nothing changes.
        // SAFETY: as above.
        Errno::result(unsafe { libc::ioctl(pty.master.as_raw_fd(), libc::TIOCSWINSZ, &size) })?;
    }
    child.expect_exit(0)
}

fn controlling_terminal() -> Outcome {
    let pty = Pty::open()?;
    let opened = || File::options().read(true).write(true).open("/dev/tty");
    leader(&pty, || {
        opened()?.write_all(b"via tty")?;
        Child::start(|| {
            report((|| {
                opened().context("a child has no terminal")?;
                // SAFETY: a call that takes plain numbers.
                Errno::result(unsafe { libc::ioctl(pty.slave.as_raw_fd(), libc::TIOCNOTTY) })?;
                let gone = opened().err().and_then(|error| error.raw_os_error());
                ensure!(gone == Some(libc::ENXIO), "after TIOCNOTTY: {gone:?}");
                Ok(())
            })())
        })?
        .expect_exit(0)?;
        opened().context("the leader has lost its terminal")?;
        Ok(())
    })?
    .expect_exit(0)?;
    pty.expect_shown("via tty")?;
    ensure!(foreground(&pty) == Err(Errno::ENOTTY), "a stranger asks for the foreground");
    // Opening it makes it the terminal of a leader that has none, unless that is not wanted.
    let pty = Pty::open()?;
    let name = terminal::name(&pty.master)?;
    Child::start(|| {
        report((|| {
            setsid()?;
            let slave = terminal::open_slave(&name)?;
            ensure!(opened().is_err(), "O_NOCTTY made it the terminal");
            drop(slave);
            let _slave = File::open(&name)?;
            opened().context("opening it did not make it the terminal")?;
            // SAFETY: a call that takes a descriptor, which is open.
            let session = Errno::result(unsafe { libc::tcgetsid(pty.slave.as_raw_fd()) })?;
            ensure!(session == getpid().as_raw(), "its session is {session}");
            Ok(())
        })())
    })?
    .expect_exit(0)
}

/// A job of its own group, in the background of the leader that calls.
fn background_job(body: impl FnOnce() -> Outcome) -> anyhow::Result<Child> {
    let (mut gate, opener) = std::io::pipe()?;
    let job = Child::start(|| {
        report((|| {
            gate.read_exact(&mut [0])?;
            body()
        })())
    })?;
    setpgid(job.pid(), job.pid())?;
    (&opener).write_all(&[0])?;
    Ok(job)
}

fn expect_stopped(job: &Child, by: Signal) -> Outcome {
    let how = waitpid(job.pid(), Some(WaitPidFlag::WUNTRACED))?;
    ensure!(how == WaitStatus::Stopped(job.pid(), by), "{how:?}, not {by}");
    Ok(())
}

fn background() -> Outcome {
    let pty = Pty::open()?;
    let child = leader(&pty, || {
        let job = background_job(|| {
            ensure!(pty.read(10)? == b"typed\n", "another line");
            Ok(())
        })?;
        expect_stopped(&job, Signal::SIGTTIN)?;
        set_foreground(&pty, job.pid())?;
        pty.type_in("typed\n")?;
        job.signal(Signal::SIGCONT)?;
        job.expect_exit(0)?;

        // Now the leader is in the background itself; its group is orphaned, so it is not stopped but refused.
        ensure!(
            set_foreground(&pty, getpgrp()) == Err(Errno::ENOTTY),
            "an orphaned group changes the terminal"
        );
        block(Signal::SIGTTOU)?;
        set_foreground(&pty, getpgrp())?;

        let job = background_job(|| {
            sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&SigSet::from(Signal::SIGTTOU)), None)?;
            pty.echo_off()
        })?;
        expect_stopped(&job, Signal::SIGTTOU)?;
        set_foreground(&pty, job.pid())?;
        job.signal(Signal::SIGCONT)?;
        job.expect_exit(0)?;
        set_foreground(&pty, getpgrp())?;
        ensure!(pty.settings()?.c_lflag & libc::ECHO == 0, "the job changed nothing");

        // Who does not take the signal: reading is an error, changing is allowed.
        let job = background_job(|| {
            signals::ignore(Signal::SIGTTIN)?;
            let read = (&pty.slave).read(&mut [0; 8]).err().and_then(|error| error.raw_os_error());
            ensure!(read == Some(libc::EIO), "SIGTTIN is ignored: {read:?}");
            signals::ignore(Signal::SIGTTOU)?;
            pty.set(|settings| settings.c_lflag |= libc::ECHO)
        })?;
        job.expect_exit(0)
    })?;
    child.expect_exit(0)
}

fn background_output() -> Outcome {
    let pty = Pty::open()?;
    leader(&pty, || {
        let write = |text: &'static str| (&pty.slave).write_all(text.as_bytes()).context("writing");
        background_job(|| write("allowed"))?.expect_exit(0)?;
        pty.set(|settings| settings.c_lflag |= libc::TOSTOP)?;
        let job = background_job(|| write("later"))?;
        expect_stopped(&job, Signal::SIGTTOU)?;
        set_foreground(&pty, job.pid())?;
        job.signal(Signal::SIGCONT)?;
        job.expect_exit(0)
    })?
    .expect_exit(0)?;
    pty.expect_shown("allowedlater")
}

fn foreground_rules() -> Outcome {
    let pty = Pty::open()?;
    ensure!(set_foreground(&pty, getpgrp()) == Err(Errno::ENOTTY), "a stranger sets the foreground");
    let outside = getpgrp();
    leader(&pty, || {
        ensure!(foreground(&pty)? == getpgrp(), "the leader is not in the foreground");
        ensure!(set_foreground(&pty, Pid::from_raw(-1)) == Err(Errno::EINVAL), "a negative group");
        ensure!(
            set_foreground(&pty, Pid::from_raw(1 << 22)) == Err(Errno::ESRCH),
            "a group that is not there"
        );
        ensure!(set_foreground(&pty, outside) == Err(Errno::EPERM), "a group of another session");
        // SAFETY: a call that takes plain numbers.
        let again = Errno::result(unsafe { libc::ioctl(pty.slave.as_raw_fd(), libc::TIOCSCTTY, 0) });
        ensure!(again.is_ok(), "it is ours already: {again:?}");
        Ok(())
    })?
    .expect_exit(0)
}

fn master_closes() -> Outcome {
    let pty = Pty::open()?;
    let ready = &Shared::<AtomicI32>::zeroed(1)?[0];
    let Pty { master, slave } = pty;
    let descriptor = master.as_raw_fd();
    let child = Child::start(|| {
        report((|| {
            // SAFETY: this process's copy of the descriptor is used by nobody else.
            unsafe { libc::close(descriptor) };
            setsid()?;
            // SAFETY: a call that takes plain numbers.
            Errno::result(unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSCTTY, 0) })?;
            signals::note(Signal::SIGHUP, SaFlags::SA_RESTART)?;
            ready.store(1, SeqCst);
            wait::until("SIGHUP comes", || signals::seen(Signal::SIGHUP).count == 1)?;
            ensure!((&slave).read(&mut [0; 8])? == 0, "there is something to read");
            let write = (&slave).write(b"x").err().and_then(|error| error.raw_os_error());
            ensure!(write == Some(libc::EIO), "writing: {write:?}");
            let events = terminal::events(&slave, PollFlags::POLLIN, 0)?;
            ensure!(events.contains(PollFlags::POLLHUP), "poll says {events:?}");
            ensure!(File::open("/dev/tty").is_err(), "the session keeps its terminal");
            Ok(())
        })())
    })?;
    wait::until("the handler is there", || ready.load(SeqCst) == 1)?;
    drop(master);
    child.expect_exit(0)
}

fn slave_closes() -> Outcome {
    let pty = Pty::open()?;
    let name = terminal::name(&pty.master)?;
    (&pty.slave).write_all(b"last words")?;
    let Pty { master, slave } = pty;
    drop(slave);
    let mut buffer = [0; 32];
    let count = (&master).read(&mut buffer)?;
    ensure!(&buffer[..count] == b"last words", "the last words are lost");
    let read = (&master).read(&mut buffer).err().and_then(|error| error.raw_os_error());
    ensure!(read == Some(libc::EIO), "then: {read:?}");
    let events = terminal::events(&master, PollFlags::POLLIN, 0)?;
    ensure!(events.contains(PollFlags::POLLHUP), "poll says {events:?}");
    // It can be opened again.
    let slave = terminal::open_slave(&name)?;
    (&slave).write_all(b"again")?;
    let count = (&master).read(&mut buffer)?;
    ensure!(&buffer[..count] == b"again", "nothing after it was opened again");
    Ok(())
}

fn leader_ends() -> Outcome {
    let pty = Pty::open()?;
    let notes = Shared::<AtomicI32>::zeroed(2)?;
    let (ready, told) = (&notes[0], &notes[1]);
    let (mut alive, keeps_alive) = std::io::pipe()?;
    let child = leader(&pty, || {
        let job = background_job(|| {
            signals::note(Signal::SIGHUP, SaFlags::empty())?;
            ready.store(1, SeqCst);
            wait::until("SIGHUP comes", || signals::seen(Signal::SIGHUP).count == 1)?;
            told.store(1, SeqCst);
            Ok(())
        })?;
        set_foreground(&pty, job.pid())?;
        wait::until("the job is ready", || ready.load(SeqCst) == 1)?;
        job.forget();
        Ok(())
    })?;
    drop(keeps_alive);
    child.expect_exit(0)?;
    ensure!(alive.read(&mut [0])? == 0, "somebody wrote to the pipe");
    ensure!(told.load(SeqCst) == 1, "the job was not told");
    Ok(())
}
