//! Locks on files, and bytes that go from file to file: flock(2), fcntl(2), sendfile(2), splice(2), copy_file_range(2).

use anyhow::ensure;
use nix::errno::Errno;
use nix::fcntl::{
    FallocateFlags, FcntlArg, OFlag, SpliceFFlags, copy_file_range, fallocate, fcntl, splice, tee, vmsplice,
};
use nix::sys::sendfile::sendfile;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{dup, getpid, pipe, pipe2, read, write};
use std::fs::{self, File, OpenOptions};
use std::io::{IoSlice, Read, Seek};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use userland::checks::{self, Outcome};
use userland::children::{Child, in_child, report};

fn main() -> ExitCode {
    checks::run(
        "file_transfer",
        &[
            ("shared locks go together, exclusive ones do not", whole_locks),
            ("a lock ends with its description", lock_ends),
            ("waiting for a lock ends when it is given up", lock_waits),
            ("record locks cover ranges and are told", record_locks),
            ("record locks end with any descriptor, and are not inherited", record_rules),
            ("locks of descriptions are apart from those of processes", description_locks),
            ("sendfile copies a file to a socket and to a file", send_file),
            ("copy_file_range copies parts", copy_range),
            ("splice moves between a pipe and a file", spliced),
            ("tee leaves what it copies", teed),
            ("vmsplice puts memory into a pipe", memory_spliced),
            ("preadv2 and pwritev2 follow their flags", vectors),
            ("advice is taken or refused", advice),
            ("there are no extended attributes", attributes),
            ("a pipe can be made larger and smaller", pipe_size),
        ],
    )
}

/// A file of the check's own, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new(bytes: &[u8]) -> anyhow::Result<Self> {
        let place = Self(PathBuf::from(format!("/tmp/file_transfer.{}", getpid())));
        fs::write(&place.0, bytes)?;
        Ok(place)
    }

    fn open(&self) -> std::io::Result<File> {
        OpenOptions::new().read(true).write(true).open(&self.0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn flock(file: &impl AsRawFd, operation: i32) -> nix::Result<i32> {
    // SAFETY: takes two numbers.
    Errno::result(unsafe { libc::flock(file.as_raw_fd(), operation) })
}

fn whole_locks() -> Outcome {
    let place = Place::new(b"")?;
    let (first, second, third) = (place.open()?, place.open()?, place.open()?);
    flock(&first, libc::LOCK_SH)?;
    flock(&second, libc::LOCK_SH)?;
    ensure!(flock(&third, libc::LOCK_EX | libc::LOCK_NB) == Err(Errno::EWOULDBLOCK), "exclusive and shared");
    flock(&first, libc::LOCK_UN)?;
    flock(&second, libc::LOCK_EX | libc::LOCK_NB)?;
    ensure!(flock(&third, libc::LOCK_SH | libc::LOCK_NB) == Err(Errno::EWOULDBLOCK), "shared and exclusive");
    ensure!(flock(&third, 77) == Err(Errno::EINVAL), "an unknown operation");
    ensure!(flock(&999, libc::LOCK_SH) == Err(Errno::EBADF), "a closed descriptor");
    Ok(())
}

fn lock_ends() -> Outcome {
    let place = Place::new(b"")?;
    let (first, other) = (place.open()?, place.open()?);
    flock(&first, libc::LOCK_EX)?;
    let again = dup(&first)?;
    drop(first);
    ensure!(flock(&other, libc::LOCK_EX | libc::LOCK_NB).is_err(), "gone although a descriptor is open");
    drop(again);
    flock(&other, libc::LOCK_EX | libc::LOCK_NB)?;
    Ok(())
}

fn lock_waits() -> Outcome {
    let place = Place::new(b"")?;
    let file = place.open()?;
    flock(&file, libc::LOCK_EX)?;
    let (reader, writer) = pipe()?;
    let child = Child::start(|| {
        report((|| {
            let own = place.open()?;
            write(&writer, b"x")?;
            flock(&own, libc::LOCK_EX)?;
            own.write_all_at(b"second", 0)?;
            Ok(())
        })())
    })?;
    read(&reader, &mut [0])?;
    thread::sleep(Duration::from_millis(10));
    file.write_all_at(b"first!", 0)?;
    flock(&file, libc::LOCK_UN)?;
    child.expect_exit(0)?;
    ensure!(fs::read(&place.0)? == b"second", "not in order");
    Ok(())
}

fn record(kind: i32, start: i64, len: i64) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: start, l_len: len, l_pid: 0 }
}

fn set(file: &File, kind: i32, start: i64, len: i64) -> nix::Result<i32> {
    fcntl(file, FcntlArg::F_SETLK(&record(kind, start, len)))
}

/// What stands in the way of a lock: its kind, range and process.
fn test(file: &File, kind: i32, start: i64, len: i64) -> nix::Result<(i32, i64, i64, i32)> {
    let mut lock = record(kind, start, len);
    fcntl(file, FcntlArg::F_GETLK(&mut lock))?;
    Ok((lock.l_type.into(), lock.l_start, lock.l_len, lock.l_pid))
}

fn record_locks() -> Outcome {
    let place = Place::new(&[0; 100])?;
    let file = place.open()?;
    set(&file, libc::F_WRLCK, 10, 20)?;
    set(&file, libc::F_RDLCK, 15, 5)?;
    set(&file, libc::F_UNLCK, 25, 2)?;
    let own = getpid().as_raw();
    in_child(|| {
        let file = place.open()?;
        ensure!(test(&file, libc::F_WRLCK, 0, 0)? == (libc::F_WRLCK, 10, 5, own), "first");
        ensure!(test(&file, libc::F_WRLCK, 15, 5)? == (libc::F_RDLCK, 15, 5, own), "in the middle");
        ensure!(test(&file, libc::F_RDLCK, 15, 5)?.0 == libc::F_UNLCK, "two who read");
        ensure!(test(&file, libc::F_WRLCK, 25, 2)?.0 == libc::F_UNLCK, "what was given up");
        ensure!(test(&file, libc::F_WRLCK, 27, 0)? == (libc::F_WRLCK, 27, 3, own), "behind it");
        ensure!(set(&file, libc::F_WRLCK, 29, 1) == Err(Errno::EAGAIN), "set where another one is");
        set(&file, libc::F_WRLCK, 30, 0)?;
        Ok(())
    })?;
    ensure!(set(&file, libc::F_WRLCK, -5, 1) == Err(Errno::EINVAL), "before the beginning");
    let reader = File::open(&place.0)?;
    ensure!(set(&reader, libc::F_WRLCK, 50, 1) == Err(Errno::EBADF), "to write what may only be read");
    Ok(())
}

fn record_rules() -> Outcome {
    let place = Place::new(&[0; 100])?;
    let file = place.open()?;
    set(&file, libc::F_WRLCK, 0, 0)?;
    in_child(|| {
        ensure!(set(&file, libc::F_WRLCK, 0, 0) == Err(Errno::EAGAIN), "inherited");
        Ok(())
    })?;
    drop(place.open()?);
    in_child(|| {
        ensure!(test(&file, libc::F_WRLCK, 0, 0)?.0 == libc::F_UNLCK, "there after a close");
        Ok(())
    })?;
    let child = Child::start(|| report(set(&file, libc::F_WRLCK, 0, 0).map(drop).map_err(Into::into)))?;
    child.expect_exit(0)?;
    ensure!(test(&file, libc::F_WRLCK, 0, 0)?.0 == libc::F_UNLCK, "there after the end of its process");
    Ok(())
}

fn description_locks() -> Outcome {
    let place = Place::new(&[0; 100])?;
    let (first, second) = (place.open()?, place.open()?);
    fcntl(&first, FcntlArg::F_OFD_SETLK(&record(libc::F_WRLCK, 0, 10)))?;
    let wanted = record(libc::F_WRLCK, 5, 10);
    ensure!(fcntl(&second, FcntlArg::F_OFD_SETLK(&wanted)) == Err(Errno::EAGAIN), "in one process");
    let mut found = wanted;
    fcntl(&second, FcntlArg::F_OFD_GETLK(&mut found))?;
    ensure!((found.l_start, found.l_len, found.l_pid) == (0, 10, -1), "{} {}", found.l_start, found.l_pid);
    drop(first);
    fcntl(&second, FcntlArg::F_OFD_SETLK(&wanted))?;
    Ok(())
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 % 251) as u8).collect()
}

fn send_file() -> Outcome {
    const LEN: usize = 30_000;
    let place = Place::new(&text(LEN))?;
    let mut file = place.open()?;
    let (first, second) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::empty())?;
    let mut offset = 100;
    ensure!(sendfile(&first, &file, Some(&mut offset), LEN)? == LEN - 100, "not all");
    ensure!(offset == LEN as i64, "offset {offset}");
    ensure!(file.stream_position()? == 0, "the file's own offset moved");
    drop(first);
    let mut bytes = Vec::new();
    File::from(second).read_to_end(&mut bytes)?;
    ensure!(bytes == text(LEN)[100..], "other bytes");
    let other = Place(place.0.with_extension("copy"));
    let copy = File::create(&other.0)?;
    ensure!(sendfile(&copy, &file, None, 1000)? == 1000, "not so many");
    ensure!(file.stream_position()? == 1000, "the offset did not move");
    ensure!(sendfile(&copy, &file, None, LEN)? == LEN - 1000, "not the rest");
    ensure!(fs::read(&other.0)? == text(LEN), "another copy");
    ensure!(sendfile(&copy, &file, None, 1)? == 0, "something after the end");
    let reader = File::open(&place.0)?;
    ensure!(sendfile(&reader, &file, None, 1) == Err(Errno::EBADF), "into what may only be read");
    Ok(())
}

fn copy_range() -> Outcome {
    let place = Place::new(&text(10_000))?;
    let other = Place(place.0.with_extension("copy"));
    let (from, to) = (place.open()?, File::create(&other.0)?);
    let (mut from_offset, mut to_offset) = (1000, 500);
    let count = copy_file_range(&from, Some(&mut from_offset), &to, Some(&mut to_offset), 5000)?;
    ensure!((count, from_offset, to_offset) == (5000, 6000, 5500), "{count} {from_offset} {to_offset}");
    let bytes = fs::read(&other.0)?;
    ensure!(bytes.len() == 5500 && bytes[500..] == text(10_000)[1000..6000], "other bytes");
    let (reader, _writer) = pipe()?;
    ensure!(copy_file_range(&reader, None, &to, None, 1) == Err(Errno::EINVAL), "from a pipe");
    let (mut a, mut b) = (0, 10);
    let same = place.open()?;
    let overlap = copy_file_range(&from, Some(&mut a), &same, Some(&mut b), 100);
    ensure!(overlap == Err(Errno::EINVAL), "onto itself");
    Ok(())
}

fn spliced() -> Outcome {
    let place = Place::new(&text(3000))?;
    let file = place.open()?;
    let (reader, writer) = pipe()?;
    let none = SpliceFFlags::empty();
    let mut offset = 500;
    ensure!(splice(&file, Some(&mut offset), &writer, None, 1000, none)? == 1000, "into the pipe");
    ensure!(offset == 1500, "offset {offset}");
    let mut bytes = [0; 400];
    ensure!(read(&reader, &mut bytes)? == 400 && bytes[..] == text(900)[500..], "other bytes");
    let other = Place(place.0.with_extension("copy"));
    let copy = File::create(&other.0)?;
    ensure!(splice(&reader, None, &copy, None, 5000, none)? == 600, "out of the pipe");
    ensure!(fs::read(&other.0)? == text(1500)[900..], "another copy");
    let now = SpliceFFlags::SPLICE_F_NONBLOCK;
    ensure!(splice(&reader, None, &copy, None, 10, now) == Err(Errno::EAGAIN), "from an empty pipe");
    ensure!(splice(&file, None, &copy, None, 10, none) == Err(Errno::EINVAL), "without a pipe");
    drop(writer);
    ensure!(splice(&reader, None, &copy, None, 10, none)? == 0, "from a pipe that has ended");
    Ok(())
}

fn teed() -> Outcome {
    let ((first_reader, first_writer), (second_reader, second_writer)) = (pipe()?, pipe()?);
    write(&first_writer, b"twice")?;
    let none = SpliceFFlags::empty();
    ensure!(tee(&first_reader, &second_writer, 100, none)? == 5, "not all");
    let mut bytes = [0; 8];
    ensure!(read(&first_reader, &mut bytes)? == 5 && read(&second_reader, &mut bytes)? == 5, "not twice");
    let now = SpliceFFlags::SPLICE_F_NONBLOCK;
    ensure!(tee(&first_reader, &second_writer, 1, now) == Err(Errno::EAGAIN), "from an empty pipe");
    Ok(())
}

fn memory_spliced() -> Outcome {
    let (reader, writer) = pipe()?;
    let parts = [IoSlice::new(b"from "), IoSlice::new(b"memory")];
    ensure!(vmsplice(&writer, &parts, SpliceFFlags::empty())? == 11, "not all");
    let mut bytes = [0; 16];
    ensure!(read(&reader, &mut bytes)? == 11 && &bytes[..11] == b"from memory", "{bytes:?}");
    Ok(())
}

fn vectors() -> Outcome {
    let place = Place::new(b"0123456789")?;
    let file = place.open()?;
    let call = |writes: bool, bytes: &mut [u8], offset: i64, flags: i32| {
        let vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: the vector and its bytes live across the call.
        Errno::result(unsafe {
            match writes {
                true => libc::pwritev2(file.as_raw_fd(), &vector, 1, offset, flags),
                false => libc::preadv2(file.as_raw_fd(), &vector, 1, offset, flags),
            }
        })
    };
    let mut bytes = [0; 3];
    ensure!(call(false, &mut bytes, 4, 0)? == 3 && &bytes == b"456", "at an offset");
    ensure!(call(false, &mut bytes, -1, 0)? == 3 && &bytes == b"012", "at its own");
    ensure!(call(false, &mut bytes, -1, 0)? == 3 && &bytes == b"345", "which moves");
    ensure!(call(true, &mut b"end".to_owned(), 0, libc::RWF_APPEND)? == 3, "appended");
    ensure!(fs::read(&place.0)? == b"0123456789end", "not at the end");
    ensure!(call(false, &mut bytes, 0, 1 << 20) == Err(Errno::EOPNOTSUPP), "unknown flags");
    Ok(())
}

fn advice() -> Outcome {
    let place = Place::new(b"x")?;
    let file = place.open()?;
    let (reader, _writer) = pipe()?;
    // SAFETY: these take numbers.
    unsafe {
        let advise = |fd: i32, advice| libc::posix_fadvise(fd, 0, 0, advice);
        ensure!(advise(file.as_raw_fd(), libc::POSIX_FADV_WILLNEED) == 0, "advice");
        ensure!(advise(file.as_raw_fd(), 77) == libc::EINVAL, "unknown advice");
        ensure!(advise(reader.as_raw_fd(), 0) == libc::ESPIPE, "on a pipe");
        ensure!(libc::readahead(file.as_raw_fd(), 0, 10) == 0, "readahead");
        let sync = |fd: i32, flags| Errno::result(libc::sync_file_range(fd, 0, 0, flags));
        ensure!(sync(file.as_raw_fd(), libc::SYNC_FILE_RANGE_WRITE).is_ok(), "sync_file_range");
        ensure!(sync(file.as_raw_fd(), 64) == Err(Errno::EINVAL), "unknown flags");
    }
    ensure!(fallocate(&reader, FallocateFlags::empty(), 0, 1).is_err(), "room in a pipe");
    Ok(())
}

fn attributes() -> Outcome {
    let place = Place::new(b"x")?;
    let path = std::ffi::CString::new(place.0.to_string_lossy().into_owned())?;
    let mut bytes = [0_u8; 64];
    let mut get = |name: &std::ffi::CStr| {
        // SAFETY: the strings and the buffer live across the call.
        Errno::result(unsafe {
            libc::getxattr(path.as_ptr(), name.as_ptr(), bytes.as_mut_ptr().cast(), bytes.len())
        })
    };
    let missing = get(c"security.capability");
    ensure!(matches!(missing, Err(Errno::ENODATA | Errno::EOPNOTSUPP)), "found {missing:?}");
    ensure!(get(c"nonsense.name") == Err(Errno::EOPNOTSUPP), "an unknown kind");
    Ok(())
}

fn pipe_size() -> Outcome {
    let (reader, writer) = pipe2(OFlag::O_NONBLOCK)?;
    let size = |size| fcntl(writer.as_fd(), FcntlArg::F_SETPIPE_SZ(size));
    ensure!(fcntl(writer.as_fd(), FcntlArg::F_GETPIPE_SZ)? == 65_536, "not 64 KiB");
    ensure!(size(10_000)? == 16_384, "not a power of two");
    ensure!(write(&writer, &[0; 20_000])? == 16_384, "more than fits");
    ensure!(size(4096) == Err(Errno::EBUSY), "smaller than what is in it");
    ensure!(size(131_072)? == 131_072, "not larger");
    ensure!(write(&writer, &[1; 200_000])? == 131_072 - 16_384, "not as much as there is room");
    let mut bytes = vec![2; 131_072];
    ensure!(read(&reader, &mut bytes)? == 131_072, "not all");
    ensure!(bytes[..16_384].iter().all(|byte| *byte == 0), "what was there first");
    ensure!(bytes[16_384..].iter().all(|byte| *byte == 1), "what came later");
    Ok(())
}
