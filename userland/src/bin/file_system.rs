//! Files that change: names that come and go, content that grows and shrinks, attributes, FIFOs, files in memory alone.

use anyhow::ensure;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, FallocateFlags, OFlag, RenameFlags, fallocate, open, renameat2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::{Mode, UtimensatFlags, fstat, lstat, stat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{self, linkat, mkdir, mkfifo, read, symlinkat, unlink, write};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::num::NonZero;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use userland::checks::{self, Outcome};
use userland::children::{Child, report};
use userland::place::{Place, number};

fn main() -> ExitCode {
    checks::run(
        "file_system",
        &[
            ("a file is written and read", content),
            ("appending finds the end", append),
            ("a file is cut and grows with zeroes", truncate),
            ("holes are zeroes, and punching makes one", holes),
            ("a mapping and the file are the same bytes", mapping),
            ("an unlinked file lives as long as it is open", unlinked),
            ("directories are made, listed and removed", directories),
            ("links share a file", links),
            ("symbolic links are made and created through", symlinks),
            ("renaming replaces, exchanges, or refuses", renames),
            ("a directory cannot be moved into itself", rename_circle),
            ("a removed directory takes no files", removed_directory),
            ("O_EXCL, O_TMPFILE and O_TRUNC", open_flags),
            ("times can be set", times),
            ("a FIFO joins two processes", fifo),
            ("opening a FIFO follows its rules", fifo_rules),
            ("/dev/fd leads to what is open", dev_fd),
            ("a memory file can be sealed", memory_file),
            ("two processes append without loss", concurrent_appends),
        ],
    )
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    options
}

fn content() -> Outcome {
    let place = Place::new("file_system")?;
    let bytes: Vec<u8> = (0..20_000_u32).map(|at| (at * 7 % 251) as u8).collect();
    let path = place.file("a", &bytes)?;
    ensure!(fs::read(&path)? == bytes, "read something else");
    let file = options().open(&path)?;
    file.write_all_at(b"in the middle", 4090)?;
    let mut part = [0; 13];
    file.read_exact_at(&mut part, 4090)?;
    ensure!(&part == b"in the middle", "across pages: {part:?}");
    let metadata = file.metadata()?;
    ensure!((metadata.len(), metadata.nlink()) == (20_000, 1), "{metadata:?}");
    ensure!(file.read_at(&mut part, 20_000)? == 0, "something after the end");
    Ok(())
}

fn append() -> Outcome {
    let place = Place::new("file_system")?;
    let path = place.file("a", b"one")?;
    let mut file = OpenOptions::new().read(true).append(true).open(&path)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(b"two")?;
    ensure!(file.stream_position()? == 6, "the offset is not at the end");
    ensure!(fs::read(&path)? == b"onetwo", "not appended");
    Ok(())
}

fn truncate() -> Outcome {
    let place = Place::new("file_system")?;
    let file = options().open(place.path("a"))?;
    file.write_all_at(&[7; 10_000], 0)?;
    file.set_len(5000)?;
    file.set_len(9000)?;
    let bytes = fs::read(place.path("a"))?;
    ensure!(bytes.len() == 9000, "length {}", bytes.len());
    ensure!(bytes[..5000].iter().all(|byte| *byte == 7), "lost what was kept");
    ensure!(bytes[5000..].iter().all(|byte| *byte == 0), "found what was cut off");
    unistd::truncate(&place.path("a"), 3)?;
    ensure!(fs::read(place.path("a"))? == [7; 3], "by its name");
    ensure!(unistd::truncate(&place.0, 0) == Err(Errno::EISDIR), "a directory");
    let reader = File::open(place.path("a"))?;
    ensure!(unistd::ftruncate(&reader, 0) == Err(Errno::EINVAL), "open for reading");
    Ok(())
}

fn holes() -> Outcome {
    let place = Place::new("file_system")?;
    let file = options().open(place.path("a"))?;
    file.write_all_at(b"end", 100_000)?;
    let mut bytes = vec![1; 100_003];
    file.read_exact_at(&mut bytes, 0)?;
    ensure!(bytes[..100_000].iter().all(|byte| *byte == 0), "a hole is no zeroes");
    file.write_all_at(&[9; 20_000], 0)?;
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(&file, punch, 1000, 10_000)?;
    file.read_exact_at(&mut bytes[..20_000], 0)?;
    ensure!(bytes[..1000].iter().chain(&bytes[11_000..20_000]).all(|byte| *byte == 9), "too much");
    ensure!(bytes[1000..11_000].iter().all(|byte| *byte == 0), "too little");
    fallocate(&file, FallocateFlags::empty(), 0, 200_000)?;
    ensure!(file.metadata()?.len() == 200_000, "not extended");
    fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, 300_000)?;
    ensure!(file.metadata()?.len() == 200_000, "extended");
    ensure!(fallocate(&file, FallocateFlags::empty(), 0, 0) == Err(Errno::EINVAL), "of nothing");
    Ok(())
}

fn mapping() -> Outcome {
    let place = Place::new("file_system")?;
    let file = options().open(place.path("a"))?;
    file.write_all_at(&[1; 8192], 0)?;
    let len = NonZero::new(8192).expect("not zero");
    let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping at an address that the kernel chooses.
    let (shared, private) = unsafe {
        (
            mmap(None, len, both, MapFlags::MAP_SHARED, &file, 0)?,
            mmap(None, len, both, MapFlags::MAP_PRIVATE, &file, 0)?,
        )
    };
    let byte = |at: std::ptr::NonNull<std::ffi::c_void>, offset: usize| {
        at.as_ptr().cast::<u8>().wrapping_add(offset)
    };
    // SAFETY: both mappings are 8192 bytes long, and only this thread touches them.
    unsafe {
        ensure!(byte(shared, 5000).read_volatile() == 1, "the file's bytes are not in the mapping");
        byte(shared, 5000).write_volatile(2);
        byte(private, 6000).write_volatile(3);
        file.write_all_at(&[4], 100)?;
        ensure!(byte(shared, 100).read_volatile() == 4, "a write is not seen in the mapping");
    }
    let mut found = [0; 1];
    file.read_exact_at(&mut found, 5000)?;
    ensure!(found == [2], "a shared write is not in the file");
    file.read_exact_at(&mut found, 6000)?;
    ensure!(found == [1], "a private write is in the file");
    // SAFETY: nothing uses the mappings any more.
    unsafe {
        munmap(shared, 8192)?;
        munmap(private, 8192)?;
    }
    Ok(())
}

fn unlinked() -> Outcome {
    let place = Place::new("file_system")?;
    let path = place.file("a", b"still here")?;
    let mut file = File::open(&path)?;
    unlink(&path)?;
    ensure!(number(File::open(&path)) == Some(libc::ENOENT), "it can be opened");
    ensure!(file.metadata()?.nlink() == 0, "it has links");
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    ensure!(text == "still here", "it says {text:?}");
    ensure!(unlink(&path) == Err(Errno::ENOENT), "unlinked twice");
    ensure!(unlink(&place.0) == Err(Errno::EISDIR), "a directory was unlinked");
    Ok(())
}

fn directories() -> Outcome {
    let place = Place::new("file_system")?;
    for name in ["c", "a", "b"] {
        mkdir(&place.path(name), Mode::S_IRWXU)?;
    }
    ensure!(stat(&place.0)?.st_nlink == 5, "links: {}", stat(&place.0)?.st_nlink);
    place.file("a/x", b"")?;
    let mut names: Vec<_> =
        fs::read_dir(&place.0)?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<_>>()?;
    names.sort();
    ensure!(names == ["a", "b", "c"], "names: {names:?}");
    ensure!(mkdir(&place.path("a"), Mode::S_IRWXU) == Err(Errno::EEXIST), "made twice");
    ensure!(number(fs::remove_dir(place.path("a"))) == Some(libc::ENOTEMPTY), "removed with a file in it");
    ensure!(number(fs::remove_dir(place.path("a/x"))) == Some(libc::ENOTDIR), "removed a file");
    fs::remove_dir(place.path("b"))?;
    ensure!(stat(&place.0)?.st_nlink == 4, "links: {}", stat(&place.0)?.st_nlink);
    ensure!(number(fs::remove_dir(place.path("c/."))) == Some(libc::EINVAL), "removed by its dot");
    ensure!(number(fs::create_dir(place.path("no/such"))) == Some(libc::ENOENT), "made in nothing");
    ensure!(number(fs::create_dir(place.path("a/x/y"))) == Some(libc::ENOTDIR), "made in a file");
    let long = "n".repeat(256);
    ensure!(number(fs::create_dir(place.path(&long))) == Some(libc::ENAMETOOLONG), "a long name");
    Ok(())
}

fn links() -> Outcome {
    let place = Place::new("file_system")?;
    let (first, second) = (place.file("a", b"x")?, place.path("b"));
    let here = nix::fcntl::AT_FDCWD;
    linkat(here, &first, here, &second, AtFlags::empty())?;
    let (a, b) = (stat(&first)?, stat(&second)?);
    ensure!((a.st_ino, a.st_nlink, b.st_nlink) == (b.st_ino, 2, 2), "not one file with two names");
    fs::write(&second, b"changed")?;
    ensure!(fs::read(&first)? == b"changed", "two contents");
    unlink(&first)?;
    ensure!(stat(&second)?.st_nlink == 1, "still two names");
    ensure!(linkat(here, &second, here, &second, AtFlags::empty()) == Err(Errno::EEXIST), "onto itself");
    let directory = linkat(here, &place.0, here, &place.path("d"), AtFlags::empty());
    ensure!(directory == Err(Errno::EPERM), "a directory");
    let abroad = linkat(here, &second, here, Path::new("/proc/x"), AtFlags::empty());
    ensure!(abroad.is_err(), "on another file system");
    Ok(())
}

fn symlinks() -> Outcome {
    let place = Place::new("file_system")?;
    let here = nix::fcntl::AT_FDCWD;
    symlinkat("target", here, &place.path("link"))?;
    ensure!(fs::read_link(place.path("link"))? == Path::new("target"), "leads elsewhere");
    ensure!(lstat(&place.path("link"))?.st_size == 6, "length of a link");
    ensure!(number(File::open(place.path("link"))) == Some(libc::ENOENT), "opened nothing");
    fs::write(place.path("link"), b"through")?;
    ensure!(fs::read(place.path("target"))? == b"through", "not made through the link");
    let exclusive = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY;
    ensure!(open(&place.path("link"), exclusive, Mode::S_IRWXU).err() == Some(Errno::EEXIST), "O_EXCL");
    let kept = OFlag::O_NOFOLLOW | OFlag::O_RDONLY;
    ensure!(open(&place.path("link"), kept, Mode::empty()).err() == Some(Errno::ELOOP), "O_NOFOLLOW");
    symlinkat("b", here, &place.path("a"))?;
    symlinkat("a", here, &place.path("b"))?;
    ensure!(number(fs::write(place.path("a"), b"")) == Some(libc::ELOOP), "a circle");
    Ok(())
}

fn renames() -> Outcome {
    let place = Place::new("file_system")?;
    let rename = |from: &str, to: &str| number(fs::rename(place.path(from), place.path(to)));
    place.file("a", b"A")?;
    place.file("b", b"B")?;
    ensure!(rename("a", "b").is_none() && fs::read(place.path("b"))? == b"A", "not replaced");
    ensure!(rename("a", "c") == Some(libc::ENOENT), "what is not there");
    fs::create_dir(place.path("d"))?;
    ensure!(rename("b", "d") == Some(libc::EISDIR), "a file onto a directory");
    ensure!(rename("d", "b") == Some(libc::ENOTDIR), "a directory onto a file");
    ensure!(rename("b", "d/b").is_none() && fs::read(place.path("d/b"))? == b"A", "to another directory");
    fs::create_dir(place.path("e"))?;
    ensure!(rename("e", "d") == Some(libc::ENOTEMPTY), "onto a directory with a file");
    ensure!(rename("d", "e").is_none() && fs::read(place.path("e/b"))? == b"A", "onto an empty one");
    place.file("x", b"X")?;
    place.file("y", b"Y")?;
    let here = nix::fcntl::AT_FDCWD;
    let with = |flags| renameat2(here, &place.path("x"), here, &place.path("y"), flags);
    ensure!(with(RenameFlags::RENAME_NOREPLACE) == Err(Errno::EEXIST), "replaced against the order");
    with(RenameFlags::RENAME_EXCHANGE)?;
    ensure!(fs::read(place.path("x"))? == b"Y" && fs::read(place.path("y"))? == b"X", "not exchanged");
    Ok(())
}

fn rename_circle() -> Outcome {
    let place = Place::new("file_system")?;
    fs::create_dir_all(place.path("a/b/c"))?;
    ensure!(number(fs::rename(place.path("a"), place.path("a/b/d"))) == Some(libc::EINVAL), "into itself");
    ensure!(
        number(fs::rename(place.path("a/b"), place.path("a"))) == Some(libc::ENOTEMPTY),
        "onto its parent"
    );
    ensure!(number(fs::rename(place.path("a"), place.path("a/."))) == Some(libc::EBUSY), "onto a dot");
    Ok(())
}

fn removed_directory() -> Outcome {
    let place = Place::new("file_system")?;
    fs::create_dir(place.path("d"))?;
    let directory = File::open(place.path("d"))?;
    fs::remove_dir(place.path("d"))?;
    let flags = OFlag::O_CREAT | OFlag::O_WRONLY;
    let made = nix::fcntl::openat(&directory, "x", flags, Mode::S_IRWXU);
    ensure!(made.err() == Some(Errno::ENOENT), "made a file in a removed directory");
    ensure!(fstat(&directory)?.st_nlink == 0, "it has links");
    Ok(())
}

fn open_flags() -> Outcome {
    let place = Place::new("file_system")?;
    let path = place.file("a", b"content")?;
    let with = |flags: OFlag| open(&path, flags, Mode::S_IRWXU);
    ensure!(with(OFlag::O_CREAT | OFlag::O_EXCL).err() == Some(Errno::EEXIST), "O_EXCL");
    ensure!(with(OFlag::O_DIRECTORY).err() == Some(Errno::ENOTDIR), "O_DIRECTORY");
    with(OFlag::O_WRONLY | OFlag::O_TRUNC)?;
    ensure!(fs::read(&path)?.is_empty(), "O_TRUNC");
    let slash = open(&place.path("b/"), OFlag::O_CREAT | OFlag::O_WRONLY, Mode::S_IRWXU);
    ensure!(slash.err() == Some(Errno::EISDIR), "a file with a slash");
    let unnamed = open(&place.0, OFlag::O_TMPFILE | OFlag::O_RDWR, Mode::S_IRWXU)?;
    write(&unnamed, b"nameless")?;
    ensure!(fstat(&unnamed)?.st_nlink == 0, "it has a name");
    ensure!(fs::read_dir(&place.0)?.count() == 1, "it is in the directory");
    Ok(())
}

fn times() -> Outcome {
    let place = Place::new("file_system")?;
    let path = place.file("a", b"")?;
    let here = nix::fcntl::AT_FDCWD;
    let (accessed, modified) = (TimeSpec::new(1_000_000, 5), TimeSpec::new(2_000_000, 7));
    utimensat(here, &path, &accessed, &modified, UtimensatFlags::FollowSymlink)?;
    let found = stat(&path)?;
    ensure!((found.st_atime, found.st_atime_nsec) == (1_000_000, 5), "access");
    ensure!((found.st_mtime, found.st_mtime_nsec) == (2_000_000, 7), "modification");
    let omit = TimeSpec::new(0, libc::UTIME_OMIT);
    utimensat(here, &path, &omit, &TimeSpec::new(3, 0), UtimensatFlags::FollowSymlink)?;
    let found = stat(&path)?;
    ensure!((found.st_atime, found.st_mtime) == (1_000_000, 3), "one of two");
    fs::write(&path, b"x")?;
    ensure!(stat(&path)?.st_mtime > 2_000_000, "writing leaves the time as it was");
    Ok(())
}

fn fifo() -> Outcome {
    let place = Place::new("file_system")?;
    let path = place.path("pipe");
    mkfifo(&path, Mode::S_IRWXU)?;
    let child = Child::start(|| report(fs::write(&path, b"through the pipe").map_err(Into::into)))?;
    ensure!(fs::read(&path)? == b"through the pipe", "something else came");
    child.expect_exit(0)?;
    let child = Child::start(|| {
        thread::sleep(Duration::from_millis(20));
        report(fs::read(&path).map(drop).map_err(Into::into))
    })?;
    fs::write(&path, b"x")?;
    child.expect_exit(0)
}

fn fifo_rules() -> Outcome {
    let place = Place::new("file_system")?;
    let path = place.path("pipe");
    mkfifo(&path, Mode::S_IRWXU)?;
    let with = |flags: OFlag| open(&path, flags | OFlag::O_NONBLOCK, Mode::empty());
    ensure!(with(OFlag::O_WRONLY).err() == Some(Errno::ENXIO), "opened for writing without a reader");
    let reader = with(OFlag::O_RDONLY)?;
    ensure!(read(&reader, &mut [0]) == Ok(0), "no end without writers");
    let found = |file: &OwnedFd| -> anyhow::Result<PollFlags> {
        let mut files = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        poll(&mut files, PollTimeout::ZERO)?;
        Ok(files[0].revents().unwrap_or(PollFlags::empty()))
    };
    ensure!(found(&reader)?.is_empty(), "hung up before anybody came: {:?}", found(&reader)?);
    let writer = with(OFlag::O_WRONLY)?;
    ensure!(read(&reader, &mut [0]) == Err(Errno::EAGAIN), "an end with a writer");
    write(&writer, b"x")?;
    drop(writer);
    ensure!(found(&reader)? == PollFlags::POLLIN | PollFlags::POLLHUP, "{:?}", found(&reader)?);
    ensure!(read(&reader, &mut [0; 2]) == Ok(1), "what was written is gone");
    drop(reader);
    let both = open(&path, OFlag::O_RDWR, Mode::empty())?;
    write(&both, b"to myself")?;
    let mut bytes = [0; 16];
    ensure!(read(&both, &mut bytes)? == 9, "both ends in one");
    Ok(())
}

fn dev_fd() -> Outcome {
    let place = Place::new("file_system")?;
    let path = place.file("a", b"abc")?;
    let file = File::open(&path)?;
    let number = file.as_raw_fd();
    ensure!(fs::read(format!("/dev/fd/{number}"))? == b"abc", "another file");
    ensure!(fs::read_link(format!("/proc/self/fd/{number}"))? == path, "another name");
    ensure!(fs::read_dir("/proc/self/fd")?.count() >= 4, "too few");
    let (reader, writer) = unistd::pipe()?;
    let text = fs::read_link(format!("/proc/self/fd/{}", reader.as_raw_fd()))?;
    ensure!(text.to_string_lossy().starts_with("pipe:["), "{text:?}");
    fs::write(format!("/dev/fd/{}", writer.as_raw_fd()), b"x")?;
    ensure!(read(&reader, &mut [0; 2])? == 1, "not in the pipe");
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
    ensure!(info.starts_with("pos:\t0\nflags:\t0"), "{info:?}");
    Ok(())
}

fn memory_file() -> Outcome {
    let file = File::from(memfd_create("name", MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC)?);
    file.write_all_at(b"content", 0)?;
    ensure!(file.metadata()?.len() == 7, "length");
    let link = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    ensure!(link == Path::new("/memfd:name (deleted)"), "{link:?}");
    let seals = |file: &File, command: i32, seals: i32| {
        // SAFETY: takes numbers.
        Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), command, seals) })
    };
    ensure!(seals(&file, libc::F_GET_SEALS, 0)? == 0, "sealed from the start");
    seals(&file, libc::F_ADD_SEALS, libc::F_SEAL_GROW | libc::F_SEAL_SHRINK)?;
    ensure!(number(file.set_len(8)) == Some(libc::EPERM), "grew");
    ensure!(number(file.set_len(6)) == Some(libc::EPERM), "shrank");
    ensure!(number(file.write_all_at(b"x", 7)) == Some(libc::EPERM), "grew by writing");
    file.write_all_at(b"C", 0)?;
    seals(&file, libc::F_ADD_SEALS, libc::F_SEAL_WRITE | libc::F_SEAL_SEAL)?;
    ensure!(number(file.write_all_at(b"x", 0)) == Some(libc::EPERM), "written");
    ensure!(seals(&file, libc::F_ADD_SEALS, libc::F_SEAL_GROW) == Err(Errno::EPERM), "sealed again");
    let len = NonZero::new(7).expect("not zero");
    // SAFETY: a new mapping at an address that the kernel chooses.
    let mapped = unsafe { mmap(None, len, ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, &file, 0) };
    ensure!(mapped.err() == Some(Errno::EPERM), "mapped for writing");
    let plain = File::from(memfd_create("", MFdFlags::empty())?);
    ensure!(seals(&plain, libc::F_GET_SEALS, 0)? == libc::F_SEAL_SEAL, "can be sealed");
    ensure!(
        memfd_create("n".repeat(250).as_str(), MFdFlags::empty()).err() == Some(Errno::EINVAL),
        "a long name"
    );
    Ok(())
}

fn concurrent_appends() -> Outcome {
    const LINES: usize = 300;
    let place = Place::new("file_system")?;
    let path = place.file("log", b"")?;
    let writer = |letter: u8| {
        let path = path.clone();
        Child::start(move || {
            report((|| {
                let mut file = OpenOptions::new().append(true).open(&path)?;
                for _ in 0..LINES {
                    file.write_all(&[letter; 50])?;
                }
                Ok(())
            })())
        })
    };
    let children = [writer(b'a')?, writer(b'b')?];
    for child in children {
        child.expect_exit(0)?;
    }
    let bytes = fs::read(&path)?;
    ensure!(bytes.len() == 2 * LINES * 50, "length {}", bytes.len());
    let whole = bytes.chunks(50).all(|line| line.iter().all(|byte| *byte == line[0]));
    ensure!(whole, "lines are mixed");
    Ok(())
}
