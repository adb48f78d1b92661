//! poll(2) on pipes: what is ready at once, what is waited for, and what is reported without being asked for.

use anyhow::ensure;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{pipe, pipe2, read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use userland::checks::{self, Outcome};
use userland::children::{Child, report};

const IN: PollFlags = PollFlags::POLLIN;
const OUT: PollFlags = PollFlags::POLLOUT;
const HANG_UP: PollFlags = PollFlags::POLLHUP;

fn main() -> ExitCode {
    checks::run(
        "poll_pipes",
        &[
            ("an empty pipe can be written, not read", empty_pipe),
            ("a pipe with data can be read", pipe_with_data),
            ("a full pipe cannot be written until it is read", full_pipe),
            ("a pipe without writers is hung up", hung_up),
            ("a pipe without readers has an error", error),
            ("a descriptor that is closed is POLLNVAL, a negative one is skipped", invalid),
            ("poll sleeps until data arrives", woken_by_data),
            ("poll sleeps until the writer is gone", woken_by_hang_up),
            ("poll of many pipes finds those that are ready", many_pipes),
        ],
    )
}

/// What poll reports at once for `events` on `file`.
fn now(file: &impl AsFd, events: PollFlags) -> anyhow::Result<PollFlags> {
    wait_for(file.as_fd(), events, PollTimeout::ZERO)
}

fn wait_for(file: BorrowedFd, events: PollFlags, limit: PollTimeout) -> anyhow::Result<PollFlags> {
    let mut files = [PollFd::new(file, events)];
    let ready = poll(&mut files, limit)?;
    let found = files[0].revents().unwrap_or(PollFlags::empty());
    ensure!((ready == 0) == found.is_empty(), "poll returned {ready} and reports {found:?}");
    Ok(found)
}

fn empty_pipe() -> Outcome {
    let (reader, writer) = pipe()?;
    ensure!(now(&reader, IN)?.is_empty(), "an empty pipe can be read");
    ensure!(now(&writer, OUT)? == OUT, "an empty pipe cannot be written");
    Ok(())
}

fn pipe_with_data() -> Outcome {
    let (reader, writer) = pipe()?;
    write(&writer, b"xy")?;
    ensure!(now(&reader, IN)? == IN, "a pipe with data cannot be read");
    read(&reader, &mut [0])?;
    ensure!(now(&reader, IN)? == IN, "what remains cannot be read");
    read(&reader, &mut [0])?;
    ensure!(now(&reader, IN)?.is_empty(), "an empty pipe can be read");
    Ok(())
}

fn full_pipe() -> Outcome {
    let (reader, writer) = pipe2(OFlag::O_NONBLOCK)?;
    while write(&writer, &[0; 4096]) != Err(Errno::EAGAIN) {}
    ensure!(now(&writer, OUT)?.is_empty(), "a full pipe can be written");
    read(&reader, &mut [0; 4096])?;
    ensure!(now(&writer, OUT)? == OUT, "a pipe with room cannot be written");
    Ok(())
}

fn hung_up() -> Outcome {
    let (reader, writer) = pipe()?;
    write(&writer, b"x")?;
    drop(writer);
    ensure!(now(&reader, IN)? == IN | HANG_UP, "with data: {:?}", now(&reader, IN)?);
    read(&reader, &mut [0])?;
    ensure!(now(&reader, IN)? == HANG_UP, "without data: {:?}", now(&reader, IN)?);
    ensure!(now(&reader, PollFlags::empty())? == HANG_UP, "POLLHUP is reported without being asked for");
    Ok(())
}

fn error() -> Outcome {
    let (reader, writer) = pipe()?;
    drop(reader);
    let found = now(&writer, OUT)?;
    ensure!(found.contains(PollFlags::POLLERR), "reported {found:?}");
    Ok(())
}

fn invalid() -> Outcome {
    let (reader, writer) = pipe()?;
    write(&writer, b"x")?;
    let entry = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut files = [entry(-1), entry(1_000), entry(std::os::fd::AsRawFd::as_raw_fd(&reader))];
    // SAFETY: the array has three entries.
    let ready = Errno::result(unsafe { libc::poll(files.as_mut_ptr(), 3, -1) })?;
    let found = files.map(|file| file.revents);
    ensure!((ready, found) == (2, [0, libc::POLLNVAL, libc::POLLIN]), "{ready} ready: {found:?}");
    Ok(())
}

fn woken_by(act: impl FnOnce(OwnedFd) -> Outcome, expected: PollFlags) -> Outcome {
    let (reader, writer) = pipe()?;
    let child = Child::start(move || {
        thread::sleep(Duration::from_millis(20));
        report(act(writer))
    })?;
    // The writer moved to the child's closure, whose copy here is gone.
    let found = wait_for(reader.as_fd(), IN, PollTimeout::NONE)?;
    ensure!(found.contains(expected), "reported {found:?}");
    child.expect_exit(0)
}

fn woken_by_data() -> Outcome {
    woken_by(
        |writer| {
            write(&writer, b"x")?;
            Ok(())
        },
        IN,
    )
}

fn woken_by_hang_up() -> Outcome {
    woken_by(
        |writer| {
            drop(writer);
            Ok(())
        },
        HANG_UP,
    )
}

fn many_pipes() -> Outcome {
    let pipes = (0..100).map(|_| pipe()).collect::<Result<Vec<_>, _>>()?;
    let written = [3, 50, 99];
    for index in written {
        write(&pipes[index].1, b"x")?;
    }
    let mut files: Vec<_> = pipes.iter().map(|(reader, _)| PollFd::new(reader.as_fd(), IN)).collect();
    ensure!(poll(&mut files, PollTimeout::NONE)? == 3, "not three are ready");
    let ready: Vec<usize> = (0..100).filter(|index| files[*index].any() == Some(true)).collect();
    ensure!(ready == written, "ready: {ready:?}");
    Ok(())
}
