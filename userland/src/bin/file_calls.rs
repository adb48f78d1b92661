//! Reading, writing and waiting: offsets, devices, descriptors, pipes, and the errors that each gives.

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, mprotect, munmap};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::select::{FdSet, select};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::stat::{Mode, SFlag, fstat, stat};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::sys::uio::{pread, readv, writev};
use nix::unistd::{Whence, dup, isatty, lseek, mkdir, pipe, read, write};
use std::fs::{self, File};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::num::NonZero;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;
use userland::checks::{self, Outcome};
use userland::program::own_path;
use userland::signals;

fn main() -> ExitCode {
    checks::run(
        "file_calls",
        &[
            ("a file's offset moves as it should", offsets),
            ("reading in pieces, at an offset and through a mapping gives the same bytes", ways_to_read),
            ("a read into memory that ends is shorter", partial_read),
            ("null, zero, full and urandom are what they are called", devices),
            ("what cannot be written cannot be opened for writing", read_only),
            ("the limit of descriptors is an error", too_many_descriptors),
            ("close_range closes a range", range_of_descriptors),
            ("a pipe can be made larger, but not too small for what is in it", capacity_of_pipes),
            ("an event counter counts", event_counter),
            ("a pair of sockets talks both ways, and ends", sockets),
            ("messages between sockets stay apart", messages),
            ("select finds what is ready", ready_by_select),
            ("a pipe is no terminal and has no offset", pipes_are_pipes),
        ],
    )
}

const READ: OFlag = OFlag::O_RDONLY;

/// Opens for reading.
fn opened(path: &(impl nix::NixPath + ?Sized), flags: OFlag) -> nix::Result<OwnedFd> {
    open(path, flags, Mode::empty())
}

/// The error of a call that should fail.
fn error<T>(result: nix::Result<T>) -> Option<Errno> {
    result.err()
}

fn offsets() -> Outcome {
    let file = opened(own_path()?, READ)?;
    let size = fstat(&file)?.st_size;
    for (offset, whence, expected) in [
        (0, Whence::SeekEnd, Ok(size)),
        (-4, Whence::SeekEnd, Ok(size - 4)),
        (-1, Whence::SeekSet, Err(Errno::EINVAL)),
        (0, Whence::SeekCur, Ok(size - 4)),
        (10, Whence::SeekCur, Ok(size + 6)),
        (-size - 7, Whence::SeekCur, Err(Errno::EINVAL)),
        (i64::MAX, Whence::SeekSet, Ok(i64::MAX)),
        (1, Whence::SeekSet, Ok(1)),
        (size, Whence::SeekHole, Err(Errno::ENXIO)),
        (2, Whence::SeekData, Ok(2)),
    ] {
        // The largest offset that a file may have is its file system's to say.
        let found = lseek(&file, offset, whence);
        let is_limit = offset == i64::MAX && found == Err(Errno::EINVAL);
        ensure!(
            found == expected || is_limit,
            "seeking {offset} {whence:?} gave {found:?}, not {expected:?}"
        );
    }
    lseek(&file, size + 6, Whence::SeekSet)?;
    ensure!(read(&file, &mut [0; 8])? == 0, "there is something beyond the end");
    lseek(&file, -3, Whence::SeekEnd)?;
    ensure!(read(&file, &mut [0; 8])? == 3, "there are not three bytes before the end");
    let found = error(pread(&file, &mut [0], -1));
    ensure!(found == Some(Errno::EINVAL), "reading at -1 gave {found:?}");
    Ok(())
}

fn ways_to_read() -> Outcome {
    let mut file = File::open(own_path()?)?;
    let mut all = Vec::new();
    file.read_to_end(&mut all)?;
    ensure!(all.len() as i64 == stat(own_path()?)?.st_size, "{} bytes were read", all.len());
    ensure!(all == fs::read(own_path()?)?, "reading twice gives two results");

    let (start, len) = (all.len() / 2 + 11, 5000);
    let mut piece = vec![0; len];
    file.read_exact_at(&mut piece, start as u64)?;
    ensure!(piece == all[start..start + len], "reading at an offset gives other bytes");
    let (mut first, mut second, mut third) = ([0; 3], [0; 0], [0; 4094]);
    lseek(&file, 4095, Whence::SeekSet)?;
    let mut pieces = [&mut first[..], &mut second, &mut third].map(IoSliceMut::new);
    ensure!(readv(&file, &mut pieces)? == 4097, "readv is short");
    ensure!([&first[..], &third].concat() == all[4095..4095 + 4097], "readv gives other bytes");

    let len = NonZero::new(all.len()).context("a file that is not empty")?;
    // SAFETY: a new mapping, which nobody else knows; the file does not change while the program runs.
    let equal = unsafe {
        let at = mmap(None, len, ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE, &file, 0)?;
        let equal = std::slice::from_raw_parts(at.as_ptr().cast::<u8>(), all.len()) == all;
        munmap(at, all.len())?;
        equal
    };
    ensure!(equal, "the mapping has other bytes");
    Ok(())
}

/// A page that can be written, and one behind it that cannot be touched.
fn partial_read() -> Outcome {
    const PAGE: usize = 4096;
    let len = NonZero::new(2 * PAGE).context("not zero")?;
    // SAFETY: new memory, which nobody else knows.
    let at = unsafe {
        let at =
            mmap_anonymous(None, len, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE)?;
        mprotect(at.add(PAGE), PAGE, ProtFlags::PROT_NONE)?;
        at.as_ptr().cast::<u8>()
    };
    let file = File::open("/dev/zero")?;
    let call = |number, descriptor: i32, skipped: usize, len: usize| {
        // SAFETY: only the page that can be written is; the kernel finds that the other cannot.
        let result = unsafe { libc::syscall(number, descriptor, at.add(skipped), len) };
        if result < 0 { Err(Errno::last()) } else { Ok(result) }
    };
    let found = call(libc::SYS_read, file.as_raw_fd(), PAGE, 10);
    ensure!(found == Err(Errno::EFAULT), "reading into nothing gave {found:?}");
    let (_reader, writer) = pipe()?;
    let found = call(libc::SYS_write, writer.as_raw_fd(), PAGE, 10);
    ensure!(found == Err(Errno::EFAULT), "writing from nothing gave {found:?}");
    let found = call(libc::SYS_write, writer.as_raw_fd(), 0, PAGE);
    ensure!(found == Ok(PAGE as i64), "writing a page gave {found:?}");
    Ok(())
}

fn devices() -> Outcome {
    let device = |name: &str| opened(name, OFlag::O_RDWR).with_context(|| name.to_owned());
    let (null, zero, full) = (device("/dev/null")?, device("/dev/zero")?, device("/dev/full")?);
    for name in ["/dev/null", "/dev/zero", "/dev/full", "/dev/urandom"] {
        let kind = SFlag::from_bits_truncate(stat(name)?.st_mode) & SFlag::S_IFMT;
        ensure!(kind == SFlag::S_IFCHR, "{name} is no character device");
    }
    ensure!((stat("/dev/zero")?.st_rdev) == libc::makedev(1, 5), "zero has another number");
    let mut bytes = [7; 9000];
    ensure!(read(&null, &mut bytes)? == 0, "null has something");
    ensure!(write(&null, &bytes)? == 9000, "null does not take all");
    ensure!(read(&zero, &mut bytes)? == 9000 && bytes == [0; 9000], "zero has something else");
    ensure!(write(&zero, &bytes)? == 9000, "zero does not take all");
    ensure!(error(write(&full, &bytes)) == Some(Errno::ENOSPC), "full has room");
    ensure!(lseek(&zero, 100, Whence::SeekSet).is_ok(), "zero cannot be sought");
    let mut random = [[0; 300]; 2];
    for bytes in &mut random {
        ensure!(read(device("/dev/urandom")?, bytes)? == 300, "urandom is short");
    }
    ensure!(random[0] != random[1], "urandom repeats itself");
    Ok(())
}

fn read_only() -> Outcome {
    let (reader, writer) = pipe()?;
    ensure!(error(write(&reader, b"x")) == Some(Errno::EBADF), "the reading end can be written");
    ensure!(error(read(&writer, &mut [0])) == Some(Errno::EBADF), "the writing end can be read");
    let found = error(write(opened(own_path()?, READ)?, b"x"));
    ensure!(found == Some(Errno::EBADF), "writing what is open for reading gave {found:?}");
    let found = error(open("/dev/null", READ | OFlag::O_CREAT | OFlag::O_EXCL, Mode::empty()));
    ensure!(found == Some(Errno::EEXIST), "making what is there gave {found:?}");
    open("/dev/null", OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC, Mode::empty())?;
    let found = error(mkdir("/dev", Mode::empty()));
    ensure!(found == Some(Errno::EEXIST), "making a directory that is there gave {found:?}");
    Ok(())
}

fn too_many_descriptors() -> Outcome {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let limit = i32::try_from(limit.min(100_000))?;
    let (reader, _writer) = pipe()?;
    let found = error(fcntl(&reader, FcntlArg::F_DUPFD(limit)));
    ensure!(limit == 100_000 || found == Some(Errno::EINVAL), "the first impossible number gave {found:?}");
    setrlimit(Resource::RLIMIT_NOFILE, 64, 64)
        .or_else(|error| if limit == 1024 { Ok(()) } else { Err(error) })?;
    let mut kept = Vec::new();
    let found = loop {
        match dup(&reader) {
            Ok(descriptor) => kept.push(descriptor),
            Err(error) => break error,
        }
    };
    ensure!(found == Errno::EMFILE, "too many descriptors gave {found}");
    ensure!(error(pipe()) == Some(Errno::EMFILE), "a pipe needs no descriptors");
    kept.pop();
    ensure!(error(pipe()) == Some(Errno::EMFILE), "a pipe needs one descriptor");
    kept.pop();
    pipe()?;
    Ok(())
}

fn range_of_descriptors() -> Outcome {
    let (reader, _writer) = pipe()?;
    let copies: Vec<i32> =
        (300..306).map(|least| fcntl(&reader, FcntlArg::F_DUPFD(least))).collect::<nix::Result<_>>()?;
    ensure!(copies == [300, 301, 302, 303, 304, 305], "the copies are {copies:?}");
    let close_range = |first: u32, last: u32, flags: u32| {
        // SAFETY: it closes only what was made above, which nothing owns.
        let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
        if result < 0 { Err(Errno::last()) } else { Ok(()) }
    };
    close_range(301, 303, 0)?;
    close_range(305, u32::MAX, 0)?;
    ensure!(close_range(5, 4, 0) == Err(Errno::EINVAL), "a range that ends before it starts");
    let open: Vec<bool> = copies
        .iter()
        // SAFETY: it is only asked about.
        .map(|copy| unsafe { libc::fcntl(*copy, libc::F_GETFD) } >= 0)
        .collect();
    ensure!(open == [true, false, false, false, true, false], "open are {open:?}");
    Ok(())
}

fn capacity_of_pipes() -> Outcome {
    let (reader, writer) = pipe()?;
    ensure!(fcntl(&reader, FcntlArg::F_GETPIPE_SZ)? == 65_536, "the capacity is another");
    let mut sent: Vec<u8> = (0..20_000u32).map(|number| (number % 251) as u8).collect();
    ensure!(write(&writer, &sent)? == sent.len(), "the pipe does not take it");
    let mut received = vec![0; 7000];
    ensure!(read(&reader, &mut received)? == 7000, "the pipe does not give it back");
    ensure!(fcntl(&writer, FcntlArg::F_SETPIPE_SZ(1 << 20))? == 1 << 20, "it does not grow");
    let more: Vec<u8> = (0..200_000u32).map(|number| (number % 249) as u8).collect();
    ensure!(write(&writer, &more)? == more.len(), "the larger pipe does not take more");
    sent.extend(more);
    ensure!(
        error(fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096))) == Some(Errno::EBUSY),
        "bytes were thrown away"
    );
    let mut waiting = 0i32;
    // SAFETY: FIONREAD writes an int.
    let result = unsafe { libc::ioctl(reader.as_raw_fd(), libc::FIONREAD, &mut waiting) };
    ensure!(result == 0 && waiting == 213_000, "{waiting} bytes wait");
    drop(writer);
    File::from(reader).read_to_end(&mut received)?;
    ensure!(received == sent, "the bytes have changed");
    let found = error(fcntl(File::open("/dev/null")?, FcntlArg::F_GETPIPE_SZ));
    ensure!(found == Some(Errno::EBADF), "the capacity of what is no pipe gave {found:?}");
    Ok(())
}

fn event_counter() -> Outcome {
    let counter = EventFd::from_value_and_flags(3, EfdFlags::EFD_NONBLOCK)?;
    counter.write(4)?;
    ensure!(counter.read()? == 7, "3 and 4 are not 7");
    ensure!(error(counter.read()) == Some(Errno::EAGAIN), "zero can be read");
    ensure!(error(counter.write(u64::MAX)) == Some(Errno::EINVAL), "it counts too far");
    counter.write(u64::MAX - 1)?;
    ensure!(error(counter.write(1)) == Some(Errno::EAGAIN), "it overflows");
    let semaphore = EventFd::from_value_and_flags(2, EfdFlags::EFD_SEMAPHORE | EfdFlags::EFD_NONBLOCK)?;
    ensure!([semaphore.read()?, semaphore.read()?] == [1, 1], "a semaphore gives more than one");
    ensure!(error(semaphore.read()) == Some(Errno::EAGAIN), "a semaphore gives more than it has");
    ensure!(error(read(&semaphore, &mut [0; 7])) == Some(Errno::EINVAL), "seven bytes are enough");
    Ok(())
}

fn sockets() -> Outcome {
    let (mut one, mut other) = UnixStream::pair()?;
    ensure!(fstat(&one)?.st_mode & libc::S_IFMT == libc::S_IFSOCK, "a socket has another kind");
    one.write_all(b"abc")?;
    one.write_all(b"def")?;
    other.write_all(b"back")?;
    let mut bytes = [0; 16];
    ensure!(other.read(&mut bytes[..5])? == 5 && bytes.starts_with(b"abcde"), "the stream brought {bytes:?}");
    ensure!(one.read(&mut bytes)? == 4 && bytes.starts_with(b"back"), "the other way brought {bytes:?}");
    let much: Vec<u8> = (0..1_000_000u32).map(|number| (number % 253) as u8).collect();
    let sent = thread::scope(|scope| {
        let sender = scope.spawn(|| one.write_all(&much));
        let mut received = vec![0; much.len() + 1];
        other.read_exact(&mut received)?;
        ensure!(received[0] == b'f' && received[1..] == much, "the bytes have changed");
        Ok(sender.join())
    })?;
    ensure!(matches!(sent, Ok(Ok(()))), "sending gave {sent:?}");
    one.shutdown(Shutdown::Write)?;
    ensure!(other.read(&mut bytes)? == 0, "there is something after the end");
    other.write_all(b"still")?;
    drop(other);
    ensure!(one.read(&mut bytes)? == 5, "what was sent before the end is lost");
    signals::ignore(Signal::SIGPIPE)?;
    let found = write(&one, b"x");
    ensure!(found == Err(Errno::EPIPE), "writing to nobody gave {found:?}");
    Ok(())
}

fn messages() -> Outcome {
    let (one, other) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
    )?;
    let mut bytes = [0; 8];
    ensure!(error(read(&other, &mut bytes)) == Some(Errno::EAGAIN), "there is a message already");
    write(&one, b"abcd")?;
    write(&one, b"efghij")?;
    ensure!(read(&other, &mut bytes[..3])? == 3 && bytes.starts_with(b"abc"), "the first is {bytes:?}");
    ensure!(recv(other.as_raw_fd(), &mut bytes, MsgFlags::MSG_PEEK)? == 6, "the second has changed");
    ensure!(read(&other, &mut bytes)? == 6 && bytes.starts_with(b"efghij"), "the second is {bytes:?}");
    let full = loop {
        match send(one.as_raw_fd(), &[7; 10_000], MsgFlags::MSG_NOSIGNAL) {
            Ok(count) => ensure!(count == 10_000, "a message was cut"),
            Err(error) => break error,
        }
    };
    ensure!(full == Errno::EAGAIN, "a full socket gave {full}");
    // With messages unread, the error would be another on Linux.
    while read(&other, &mut bytes).is_ok() {}
    drop(other);
    let found = error(send(one.as_raw_fd(), b"x", MsgFlags::MSG_NOSIGNAL));
    ensure!(found == Some(Errno::EPIPE), "sending to nobody gave {found:?}");
    let found = error(recv(pipe()?.0.as_raw_fd(), &mut bytes, MsgFlags::empty()));
    ensure!(found == Some(Errno::ENOTSOCK), "receiving from a pipe gave {found:?}");
    Ok(())
}

fn ready_by_select() -> Outcome {
    let (reader, writer) = pipe()?;
    let (other, _other_writer) = pipe()?;
    let sets = || {
        let (mut read, mut write) = (FdSet::new(), FdSet::new());
        read.insert(reader.as_fd());
        read.insert(other.as_fd());
        write.insert(writer.as_fd());
        (read, write)
    };
    let (mut read, mut write_set) = sets();
    ensure!(select(None, &mut read, &mut write_set, None, &mut TimeVal::zero())? == 1, "an empty pipe");
    ensure!(read.highest().is_none() && write_set.contains(writer.as_fd()), "the wrong ones");
    write(&writer, b"x")?;
    let (mut read, mut write_set) = sets();
    ensure!(select(None, &mut read, &mut write_set, None, &mut TimeVal::zero())? == 2, "a pipe with a byte");
    ensure!(read.contains(reader.as_fd()), "the wrong pipe is readable");
    ensure!(!read.contains(other.as_fd()), "the empty pipe is readable");
    let mut only = FdSet::new();
    only.insert(other.as_fd());
    let started = Instant::now();
    ensure!(select(None, &mut only, None, None, &mut TimeVal::milliseconds(30))? == 0, "nothing was found");
    ensure!(started.elapsed().as_millis() >= 30, "select came back after {:?}", started.elapsed());
    Ok(())
}

fn pipes_are_pipes() -> Outcome {
    let (reader, writer) = pipe()?;
    ensure!(fstat(&reader)?.st_mode & libc::S_IFMT == libc::S_IFIFO, "a pipe has another kind");
    ensure!(fstat(&reader)?.st_ino == fstat(&writer)?.st_ino, "the ends are two pipes");
    ensure!(error(lseek(&reader, 0, Whence::SeekCur)) == Some(Errno::ESPIPE), "a pipe has an offset");
    ensure!(error(pread(&reader, &mut [0], 0)) == Some(Errno::ESPIPE), "a pipe can be read at an offset");
    ensure!(!isatty(&reader)?, "a pipe is a terminal");
    ensure!(writev(&writer, &[IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")])? == 5, "writev");
    let mut bytes = [0; 8];
    ensure!(read(&reader, &mut bytes)? == 5 && bytes.starts_with(b"abcde"), "writev wrote {bytes:?}");
    Ok(())
}
