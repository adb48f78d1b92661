//! File descriptors belong to a process, file descriptions to all whose descriptors refer to them; and what follows for
//! pipes. See open(2), fork(2), dup(2), pipe(7).

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::signal::{SaFlags, Signal};
use nix::unistd::{Whence, close, dup, dup2_raw, execv, lseek, pipe, pipe2, read, write};
use std::ffi::CString;
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use userland::checks::{self, Outcome};
use userland::children::{Child, in_child, report};
use userland::program::own_path;
use userland::signals;

/// The word that makes this program say, by its status, which of the descriptors after it are open: a bit for each.
const WHICH_ARE_OPEN: &str = "which-are-open";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some(WHICH_ARE_OPEN) {
        let open = words.enumerate().map(|(bit, word)| u8::from(word.parse().is_ok_and(is_open)) << bit);
        return ExitCode::from(open.sum::<u8>());
    }
    checks::run(
        "shared_file_descriptions",
        &[
            ("a child's reading moves its parent's offset", offset_is_shared_by_fork),
            ("duplicates share an offset, separate opens do not", offset_is_shared_by_dup),
            ("descriptors are each process's own", descriptors_are_copied),
            ("dup gives the lowest free number, dup2 the one asked for", numbers_of_duplicates),
            ("status flags belong to the description, close-on-exec to the descriptor", flags),
            ("exec closes what is marked, and nothing else", close_on_exec),
            ("a pipe ends when its last writer is gone, and not before", end_of_pipe),
            ("a write into a pipe without readers gives EPIPE", broken_pipe_is_an_error),
            ("a write into a pipe without readers kills by SIGPIPE", broken_pipe_kills),
            ("a non-blocking pipe says EAGAIN when empty and when full", non_blocking_pipe),
            ("a full pipe holds its writer back until it is read", full_pipe_blocks),
            ("short writes of several processes do not mix", short_writes_are_whole),
        ],
    )
}

fn own_file() -> anyhow::Result<File> {
    File::open(own_path()?).context("open this program's file")
}

fn offset(file: &File) -> anyhow::Result<i64> {
    Ok(lseek(file, 0, Whence::SeekCur)?)
}

fn offset_is_shared_by_fork() -> Outcome {
    let file = &own_file()?;
    in_child(|| {
        let mut start = [0; 4];
        (&mut &*file).read_exact(&mut start)?;
        ensure!(&start == b"\x7fELF", "the file starts with {start:?}");
        Ok(())
    })?;
    ensure!(offset(file)? == 4, "the offset is {}", offset(file)?);
    Ok(())
}

fn offset_is_shared_by_dup() -> Outcome {
    let (file, separate) = (own_file()?, own_file()?);
    let duplicate = File::from(dup(&file)?);
    lseek(&duplicate, 100, Whence::SeekSet)?;
    ensure!(offset(&file)? == 100, "the duplicate has an offset of its own");
    ensure!(offset(&separate)? == 0, "another description's offset has moved");
    Ok(())
}

fn descriptors_are_copied() -> Outcome {
    let file = own_file()?;
    let number = file.as_raw_fd();
    in_child(|| {
        close(number)?;
        ensure!(close(number) == Err(Errno::EBADF), "a descriptor can be closed twice");
        Ok(())
    })?;
    ensure!(offset(&file)? == 0, "the offset has moved");
    Ok(())
}

fn numbers_of_duplicates() -> Outcome {
    let (first, second) = (own_file()?, own_file()?);
    let (low, high) = (first.as_raw_fd(), second.as_raw_fd());
    ensure!(low < high, "descriptors are {low}, then {high}");
    drop(first);
    let duplicate = dup(&second)?;
    ensure!(duplicate.as_raw_fd() == low, "dup gave {} and not {low}", duplicate.as_raw_fd());
    // SAFETY: 200 is a number that nothing here owns.
    let chosen = unsafe { dup2_raw(&second, 200) }?;
    ensure!(chosen.as_raw_fd() == 200, "dup2 gave {}", chosen.as_raw_fd());
    let (reader, writer) = pipe()?;
    // SAFETY: the descriptor that it replaces is `chosen`, which is forgotten here.
    let replaced = unsafe { dup2_raw(&writer, chosen.as_raw_fd()) }?;
    std::mem::forget(chosen);
    write(&replaced, b"x")?;
    drop((writer, replaced));
    let mut bytes = Vec::new();
    PipeReader::from(reader).read_to_end(&mut bytes)?;
    ensure!(bytes == b"x", "the pipe brought {bytes:?}");
    Ok(())
}

fn flags() -> Outcome {
    let (reader, _writer) = pipe()?;
    let duplicate = dup(&reader)?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    fcntl(&reader, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    let status = OFlag::from_bits_retain(fcntl(&duplicate, FcntlArg::F_GETFL)?);
    ensure!(status.contains(OFlag::O_NONBLOCK), "O_NONBLOCK is not shared");
    ensure!(fcntl(&duplicate, FcntlArg::F_GETFD)? == 0, "FD_CLOEXEC is shared");
    Ok(())
}

fn close_on_exec() -> Outcome {
    let (kept, _kept_writer) = pipe()?;
    let (marked, _marked_writer) = pipe2(OFlag::O_CLOEXEC)?;
    let unmarked = dup(&marked)?;
    let child = Child::start(|| {
        report((|| {
            let path = CString::new(own_path()?.as_os_str().as_bytes())?;
            let mut words = vec![path.clone(), CString::new(WHICH_ARE_OPEN)?];
            for descriptor in [&kept, &marked, &unmarked] {
                words.push(CString::new(descriptor.as_raw_fd().to_string())?);
            }
            execv(&path, &words)?;
            Ok(())
        })())
    })?;
    child.expect_exit(0b101)
}

fn is_open(descriptor: RawFd) -> bool {
    // SAFETY: it is only asked about.
    fcntl(unsafe { BorrowedFd::borrow_raw(descriptor) }, FcntlArg::F_GETFD).is_ok()
}

fn end_of_pipe() -> Outcome {
    let (mut reader, writer) = std::io::pipe()?;
    let (gate, opener) = std::io::pipe()?;
    let writers = [b'a', b'b'].map(|letter| {
        let (writer, mut gate) = (&writer, &gate);
        Child::start(move || {
            report((|| {
                gate.read_exact(&mut [0])?;
                Ok((&mut &*writer).write_all(&[letter])?)
            })())
        })
    });
    drop(writer);
    let mut received = Vec::new();
    for (count, child) in writers.into_iter().enumerate() {
        // One of the two writes and exits; which one is open.
        (&opener).write_all(&[0])?;
        let mut byte = [0];
        ensure!(reader.read(&mut byte)? == 1, "the pipe ended after {count} of 2 writers");
        received.push(byte[0]);
        child?.forget();
    }
    ensure!(reader.read(&mut [0])? == 0, "the pipe has not ended");
    received.sort_unstable();
    ensure!(received == b"ab", "received {received:?}");
    for _ in 0..2 {
        nix::sys::wait::wait()?;
    }
    Ok(())
}

/// A pipe whose reader is closed.
fn broken_pipe() -> anyhow::Result<PipeWriter> {
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    Ok(writer)
}

fn broken_pipe_is_an_error() -> Outcome {
    signals::note(Signal::SIGPIPE, SaFlags::empty())?;
    ensure!(write(broken_pipe()?, b"x") == Err(Errno::EPIPE), "the write did not give EPIPE");
    ensure!(signals::seen(Signal::SIGPIPE).count == 1, "SIGPIPE came {} times", 1);
    signals::ignore(Signal::SIGPIPE)?;
    ensure!(write(broken_pipe()?, b"x") == Err(Errno::EPIPE), "with SIGPIPE ignored there is no EPIPE");
    Ok(())
}

fn broken_pipe_kills() -> Outcome {
    Child::start(|| {
        report((|| {
            signals::restore_default(Signal::SIGPIPE, SaFlags::empty())?;
            write(broken_pipe()?, b"x")?;
            Ok(())
        })())
    })?
    .expect_killed(Signal::SIGPIPE)
}

/// Writes until the pipe takes no more; returns how many bytes it took.
fn fill(writer: &OwnedFd) -> anyhow::Result<usize> {
    let mut total = 0;
    loop {
        match write(writer, &[7; 1024]) {
            Ok(count) => total += count,
            Err(Errno::EAGAIN) => return Ok(total),
            Err(error) => return Err(error.into()),
        }
    }
}

fn non_blocking_pipe() -> Outcome {
    let (reader, writer) = pipe2(OFlag::O_NONBLOCK)?;
    let mut byte = [0; 4096];
    ensure!(read(&reader, &mut byte) == Err(Errno::EAGAIN), "an empty pipe gave something");
    let capacity = fill(&writer)?;
    ensure!(capacity == 65_536, "the pipe took {capacity} bytes; pipe(7) says 65536");
    ensure!(read(&reader, &mut byte)? == 4096, "the pipe gave less than it has");
    ensure!(fill(&writer)? == 4096, "the pipe did not take what was read before");
    Ok(())
}

fn full_pipe_blocks() -> Outcome {
    const TOTAL: usize = 300_000;
    let (mut reader, writer) = std::io::pipe()?;
    let child = Child::start(|| {
        let bytes: Vec<u8> = (0..TOTAL).map(|index| index as u8).collect();
        report((&writer).write_all(&bytes).context("write_all"))
    })?;
    drop(writer);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    ensure!(bytes.len() == TOTAL, "{} of {TOTAL} bytes arrived", bytes.len());
    ensure!(bytes.iter().enumerate().all(|(index, byte)| *byte == index as u8), "bytes are out of order");
    child.expect_exit(0)
}

/// pipe(7): writes of at most PIPE_BUF (4096) bytes are atomic.
fn short_writes_are_whole() -> Outcome {
    const WRITERS: u8 = 6;
    const MESSAGES: usize = 50;
    const SIZE: usize = 600;
    let (mut reader, writer) = std::io::pipe()?;
    let children = (0..WRITERS)
        .map(|letter| {
            let writer = &writer;
            Child::start(move || {
                let sent = (0..MESSAGES).try_for_each(|_| (&mut &*writer).write_all(&[letter; SIZE]));
                report(sent.context("write"))
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    drop(writer);
    let mut counts = [0; WRITERS as usize];
    let mut message = [0; SIZE];
    for _ in 0..MESSAGES * counts.len() {
        reader.read_exact(&mut message)?;
        ensure!(message.iter().all(|byte| *byte == message[0]), "messages are mixed");
        counts[message[0] as usize] += 1;
    }
    ensure!(counts == [MESSAGES; WRITERS as usize], "messages per writer: {counts:?}");
    children.into_iter().try_for_each(|child| child.expect_exit(0))
}
