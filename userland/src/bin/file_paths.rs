//! Paths, directories and places: what each leads to, and the errors of what leads nowhere.

use anyhow::{Context, ensure};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, OFlag, fcntl, open, openat, readlink};
use nix::sys::stat::{Mode, fstat, fstatat, lstat, stat};
use nix::unistd::{AccessFlags, Whence, access, chdir, fchdir, getcwd, lseek, pipe, read};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use userland::checks::{self, Outcome};
use userland::program;

fn main() -> ExitCode {
    checks::run(
        "file_paths",
        &[
            ("a path that leads nowhere says why", errors_of_paths),
            ("`.`, `..`, extra slashes and the working directory mean what they do", ways_to_one_file),
            ("a directory is a place to start from", directories_as_start),
            ("O_PATH gives a place and no access", path_only),
            ("a directory lists itself, its parent and its files", listing),
            ("a process finds itself in /proc", own_process),
        ],
    )
}

const READ: OFlag = OFlag::O_RDONLY;

/// The absolute path of this program, without symbolic links.
fn own_path() -> anyhow::Result<PathBuf> {
    Ok(fs::canonicalize(program::own_path()?)?)
}

/// Opens for reading.
fn opened(path: &(impl nix::NixPath + ?Sized), flags: OFlag) -> nix::Result<OwnedFd> {
    open(path, flags, Mode::empty())
}

/// The error of a call that should fail.
fn error<T>(result: nix::Result<T>) -> Option<Errno> {
    result.err()
}

fn own_path_as(text: &str) -> anyhow::Result<String> {
    Ok(text.replace('@', own_path()?.to_str().context("a path in UTF-8")?))
}

fn errors_of_paths() -> Outcome {
    let long_name = format!("/{}", "x".repeat(256));
    let long_path = "/.".repeat(2048);
    for (path, expected) in [
        ("", Errno::ENOENT),
        ("/nowhere", Errno::ENOENT),
        ("/nowhere/further", Errno::ENOENT),
        ("/nowhere/", Errno::ENOENT),
        ("@/", Errno::ENOTDIR),
        ("@/.", Errno::ENOTDIR),
        ("@/..", Errno::ENOTDIR),
        ("@/further", Errno::ENOTDIR),
        (&long_name, Errno::ENAMETOOLONG),
        (&long_path, Errno::ENAMETOOLONG),
    ] {
        let path = own_path_as(path)?;
        let found = error(opened(path.as_str(), READ));
        ensure!(found == Some(expected), "opening {path:.40} gave {found:?}, not {expected}");
        let found = error(stat(path.as_str()));
        ensure!(found == Some(expected), "stat of {path:.40} gave {found:?}, not {expected}");
    }
    let found = error(opened(&own_path()?, READ | OFlag::O_DIRECTORY));
    ensure!(found == Some(Errno::ENOTDIR), "O_DIRECTORY of a file gave {found:?}");
    let found = error(opened("/dev", OFlag::O_RDWR));
    ensure!(found == Some(Errno::EISDIR), "opening a directory for writing gave {found:?}");
    let found = error(read(opened("/dev", READ)?, &mut [0]));
    ensure!(found == Some(Errno::EISDIR), "reading a directory gave {found:?}");
    // SAFETY: the kernel reads from the address, and finds that there is nothing.
    let result = unsafe { libc::open(std::ptr::without_provenance(8), 0) };
    ensure!(result == -1 && Errno::last() == Errno::EFAULT, "a bad address gave {result}, {}", Errno::last());
    let found = error(access(&own_path()?, AccessFlags::from_bits_retain(64)));
    ensure!(found == Some(Errno::EINVAL), "access with an unknown mode gave {found:?}");
    access(&own_path()?, AccessFlags::R_OK | AccessFlags::X_OK)?;
    Ok(())
}

fn ways_to_one_file() -> Outcome {
    let path = own_path()?;
    let expected = stat(&path)?;
    let directory = path.parent().context("a directory")?;
    let name = path.file_name().and_then(|name| name.to_str()).context("a name")?;
    let last = directory.file_name().and_then(|name| name.to_str()).context("a name of the directory")?;
    chdir(directory)?;
    ensure!(getcwd()? == fs::canonicalize(directory)?, "the working directory is {:?}", getcwd()?);
    for way in [
        name.to_owned(),
        format!("./{name}"),
        format!(".//.///{name}"),
        format!("../{last}/{name}"),
        format!("./../{last}/.././{last}/{name}"),
        format!("/../../{}", path.display()),
    ] {
        let found = stat(way.as_str()).with_context(|| way.clone())?;
        ensure!((found.st_dev, found.st_ino) == (expected.st_dev, expected.st_ino), "{way} is another file");
    }
    let before = opened(".", READ | OFlag::O_DIRECTORY)?;
    chdir("/")?;
    ensure!(getcwd()? == Path::new("/"), "the root is {:?}", getcwd()?);
    fchdir(&before)?;
    stat(name)?;
    ensure!(error(chdir(name)) == Some(Errno::ENOTDIR), "a file is no working directory");
    ensure!(error(chdir("nowhere")) == Some(Errno::ENOENT), "nothing is no working directory");
    // SAFETY: the kernel does not write more than the length says.
    let result = unsafe { libc::syscall(libc::SYS_getcwd, [0u8; 1].as_mut_ptr(), 1) };
    ensure!(result == -1 && Errno::last() == Errno::ERANGE, "getcwd into one byte gave {result}");
    Ok(())
}

fn directories_as_start() -> Outcome {
    let path = own_path()?;
    let directory = opened(path.parent().context("a directory")?, READ | OFlag::O_DIRECTORY)?;
    let name = path.file_name().context("a name")?;
    let file = openat(&directory, name, READ, Mode::empty())?;
    ensure!(fstat(&file)?.st_ino == stat(&path)?.st_ino, "another file was opened");
    let found = error(openat(&file, name, READ, Mode::empty()));
    ensure!(found == Some(Errno::ENOTDIR), "a file as a place to start from gave {found:?}");
    let (reader, _writer) = pipe()?;
    let found = error(openat(&reader, name, READ, Mode::empty()));
    ensure!(found == Some(Errno::ENOTDIR), "a pipe as a place to start from gave {found:?}");
    openat(&reader, &path, READ, Mode::empty()).context("an absolute path does not need it")?;
    let by_descriptor = fstatat(&file, "", AtFlags::AT_EMPTY_PATH)?;
    ensure!(by_descriptor.st_ino == stat(&path)?.st_ino, "AT_EMPTY_PATH finds another file");
    ensure!(error(fstatat(&file, "", AtFlags::empty())) == Some(Errno::ENOENT), "an empty path was found");
    Ok(())
}

fn path_only() -> Outcome {
    let file = opened(&own_path()?, OFlag::O_PATH)?;
    ensure!(error(read(&file, &mut [0])) == Some(Errno::EBADF), "it can be read");
    ensure!(error(lseek(&file, 0, Whence::SeekCur)) == Some(Errno::EBADF), "it has an offset");
    ensure!(
        error(fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))) == Some(Errno::EBADF),
        "it has flags to set"
    );
    ensure!(fstat(&file)?.st_size == stat(&own_path()?)?.st_size, "it is another file");
    fcntl(&file, FcntlArg::F_DUPFD(100))?;
    Ok(())
}

fn listing() -> Outcome {
    let mut names = Vec::new();
    for entry in Dir::open("/dev", READ | OFlag::O_DIRECTORY, Mode::empty())?.iter() {
        names.push(entry?.file_name().to_str()?.to_owned());
    }
    for name in [".", "..", "null", "zero", "urandom"] {
        ensure!(names.iter().filter(|other| *other == name).count() == 1, "{name} is not listed once");
    }
    let directory = opened("/dev", READ | OFlag::O_DIRECTORY)?;
    let list = |len: usize| {
        let mut bytes = vec![0u8; len];
        // SAFETY: the kernel does not write more than `len` bytes.
        let result =
            unsafe { libc::syscall(libc::SYS_getdents64, directory.as_raw_fd(), bytes.as_mut_ptr(), len) };
        if result < 0 { Err(Errno::last()) } else { Ok(result) }
    };
    ensure!(list(8) == Err(Errno::EINVAL), "an entry fits into eight bytes");
    let mut total = 0;
    while let count @ 1.. = list(64)? {
        total += count;
    }
    ensure!(total > 0 && list(4096)? == 0, "the end of the directory does not stay");
    lseek(&directory, 0, Whence::SeekSet)?;
    ensure!(list(64)? > 0, "the listing does not begin again");
    let found = fs::read_dir(&own_path()?).err().and_then(|error| error.raw_os_error());
    ensure!(found == Some(libc::ENOTDIR), "listing a file gave {found:?}");
    Ok(())
}

fn own_process() -> Outcome {
    let id = std::process::id();
    ensure!(
        readlink("/proc/self")?.to_str() == Some(&id.to_string()),
        "/proc/self is {:?}",
        readlink("/proc/self")?
    );
    ensure!(
        Path::new(&readlink("/proc/self/exe")?) == own_path()?,
        "exe is {:?}",
        readlink("/proc/self/exe")?
    );
    ensure!(lstat("/proc/self/exe")?.st_mode & libc::S_IFMT == libc::S_IFLNK, "exe is no symbolic link");
    let name = own_path()?.file_name().and_then(|name| name.to_str()).context("a name")?.to_owned();
    ensure!(fs::read_to_string("/proc/self/comm")? == format!("{name:.15}\n"), "comm is another");
    let words = fs::read("/proc/self/cmdline")?;
    ensure!(
        words.ends_with(b"\0") && words.starts_with(std::env::args().next().unwrap_or_default().as_bytes())
    );
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<_> = stat.split_whitespace().collect();
    ensure!(fields[0] == id.to_string() && fields[2] == "R" && fields.len() == 52, "stat is {stat}");
    let status = fs::read_to_string("/proc/self/status")?;
    ensure!(status.lines().any(|line| line == format!("Pid:\t{id}")), "status is {status}");
    let maps = fs::read_to_string("/proc/self/maps")?;
    let code = own_process as *const () as usize;
    let is_here = |line: &str| {
        let (start, rest) = line.split_once('-')?;
        let (end, rest) = rest.split_once(' ')?;
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        Some(range.contains(&code) && rest.starts_with("r-xp"))
    };
    ensure!(maps.lines().any(|line| is_here(line) == Some(true)), "this code is not in {maps}");
    ensure!(!Path::new("/proc/0").exists() && !Path::new(&format!("/proc/+{id}")).exists(), "too many names");
    Ok(())
}
