//! execve(2) and execveat(2): scripts, limits, threads, what is kept, and what a new program is told.
//!
//! Files to execute are in `userland/scripts`, which has the same place on every system that runs this. With `--report` as its
//! first argument, the program prints what it was given instead.

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;
use nix::sys::wait::WaitStatus;
use nix::unistd::{chdir, close, dup2_stdout, execve, execveat, getpid, gettid, pipe};
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;
use userland::checks::{self, Outcome};
use userland::children::Child;
use userland::program::own_path;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts");
const REPORT: &str = "--report";
const IDENTITY: &str = "--identity";
const DESCRIPTORS: &str = "--descriptors";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        // The rest of a script's first line is one argument.
        Some(first) if first.starts_with(REPORT) => {
            arguments.iter().for_each(|word| println!("{word}"));
            return ExitCode::SUCCESS;
        }
        Some(IDENTITY) => return identity(),
        Some(DESCRIPTORS) => return open_descriptors(&arguments[2..]),
        None if arguments.first().is_some_and(String::is_empty) => return ExitCode::from(7),
        _ => {}
    }
    checks::run(
        "exec_test",
        &[
            ("a script is run by its interpreter, with one argument and its own path", script),
            ("five scripts may interpret each other, six may not", nested_scripts),
            ("what is no program is ENOEXEC", no_programs),
            ("a script whose interpreter is missing is ENOENT", no_interpreter),
            ("a directory, and a file without the permission, is EACCES", no_permission),
            ("one argument may have 128 KiB, no more", long_argument),
            ("all arguments together may have a quarter of the stack's limit, no more", many_arguments),
            ("a program that is given no name has an empty one", no_arguments),
            ("the program that any thread executes has the process's number and one thread", from_a_thread),
            ("one of two threads that execute at once wins", from_two_threads),
            ("execveat finds programs from a directory", from_a_directory),
            ("execveat executes what a descriptor refers to", from_a_descriptor),
            ("execveat refuses unknown flags, and links if told so", execveat_flags),
            ("descriptors stay open but for those that are marked", descriptors),
            ("a failed exec leaves everything as it was", failure),
        ],
    )
}

/// Prints who this is.
fn identity() -> ExitCode {
    let threads = std::fs::read_dir("/proc/self/task").map(|entries| entries.count()).unwrap_or(0);
    println!("{} {} {threads}", getpid(), gettid());
    ExitCode::SUCCESS
}

fn in_scripts(name: &str) -> PathBuf {
    Path::new(SCRIPTS).join(name)
}

fn c_string(path: &Path) -> anyhow::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// The lines that a program prints.
fn lines(command: &mut Command) -> anyhow::Result<Vec<String>> {
    let output = command.output()?;
    ensure!(output.status.success(), "it ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

/// The error of executing a script, seen from the directory with the scripts. Not by `Command`, whose library gives what is
/// no program to a shell.
fn refusal(name: &str) -> anyhow::Result<Errno> {
    let path = c_string(&in_scripts(name))?;
    let child = Child::start(|| {
        let refused = chdir(SCRIPTS).and_then(|()| execve(&path, &[&path], &[] as &[&CStr]));
        refused.map_or_else(|error| error as i32, |never| match never {})
    })?;
    match child.wait()? {
        WaitStatus::Exited(_, error) if error > 0 => Ok(Errno::from_raw(error)),
        how => anyhow::bail!("{name} was executed: {how:?}"),
    }
}

fn script() -> Outcome {
    let path = in_scripts("report");
    let said = lines(Command::new(&path).args(["a b", "", "c"]))?;
    ensure!(said == ["/proc/self/exe", "--report one  two", SCRIPTS_REPORT, "a b", "", "c"], "{said:?}");
    Ok(())
}

const SCRIPTS_REPORT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/report");

fn nested_scripts() -> Outcome {
    let path = in_scripts("nested_5");
    let said = lines(Command::new(&path).current_dir(SCRIPTS).arg("x"))?;
    let nested = ["./report", "./nested_2", "./nested_3", "./nested_4"];
    let expected: Vec<&str> = ["/proc/self/exe", "--report one  two"]
        .into_iter()
        .chain(nested)
        .chain([path.to_str().context("a path")?, "x"])
        .collect();
    ensure!(said == expected, "{said:?}");
    let refused = refusal("nested_6")?;
    ensure!(refused == Errno::ELOOP, "{refused}");
    Ok(())
}

fn no_programs() -> Outcome {
    for name in ["no_script", "empty", "names_nothing", "names_blanks", "names_without_end"] {
        let refused = refusal(name)?;
        ensure!(refused == Errno::ENOEXEC, "{name}: {refused}");
    }
    Ok(())
}

fn no_interpreter() -> Outcome {
    let refused = refusal("names_nobody")?;
    ensure!(refused == Errno::ENOENT, "{refused}");
    Ok(())
}

fn no_permission() -> Outcome {
    for name in ["not_executable", "."] {
        let refused = refusal(name)?;
        ensure!(refused == Errno::EACCES, "{name}: {refused}");
    }
    Ok(())
}

/// Executes this program with such arguments and a stack limit of 8 MiB.
fn with_arguments(count: usize, bytes: usize) -> io::Result<()> {
    let mut command = Command::new("/proc/self/exe");
    command.env_clear().arg(REPORT).args(vec!["x".repeat(bytes); count]);
    let limit = || {
        let (_, hard) = getrlimit(Resource::RLIMIT_STACK)?;
        setrlimit(Resource::RLIMIT_STACK, 8 << 20, hard)?;
        Ok(())
    };
    // SAFETY: the closure makes two system calls and touches no memory of the parent.
    unsafe { command.pre_exec(limit) };
    let output = command.output()?;
    if output.status.success() { Ok(()) } else { Err(io::Error::other(output.status.to_string())) }
}

fn is_too_big(result: io::Result<()>) -> bool {
    result.is_err_and(|error| error.raw_os_error() == Some(libc::E2BIG))
}

fn long_argument() -> Outcome {
    const MOST: usize = (128 << 10) - 1;
    with_arguments(1, MOST)?;
    ensure!(is_too_big(with_arguments(1, MOST + 1)), "a longer one is taken");
    Ok(())
}

fn many_arguments() -> Outcome {
    // 20 of 100 KiB, and the rest of 2 MiB is for all else.
    with_arguments(20, 100 << 10)?;
    ensure!(is_too_big(with_arguments(21, 100 << 10)), "more are taken");
    // Pointers count as well.
    with_arguments(200_000, 1)?;
    ensure!(is_too_big(with_arguments(220_000, 1)), "more pointers are taken");
    Ok(())
}

fn no_arguments() -> Outcome {
    let path = c_string(own_path()?)?;
    let nothing: [&CStr; 0] = [];
    Child::start(|| execve(&path, &nothing, &nothing).map_or(1, |never| match never {}))?.expect_exit(7)
}

/// What a child prints that executes something, and its number.
fn output_of_child(body: impl FnOnce() -> Infallible) -> anyhow::Result<(i32, String)> {
    let (reader, writer) = pipe()?;
    let child = Child::start(|| {
        dup2_stdout(&writer).expect("standard output can be replaced");
        match body() {}
    })?;
    let pid = child.pid().as_raw();
    drop(writer);
    let mut said = String::new();
    File::from(reader).read_to_string(&mut said)?;
    child.expect_exit(0)?;
    Ok((pid, said))
}

/// Becomes a new program that prints who it is.
fn become_identity() -> Infallible {
    let own = c_string(Path::new("/proc/self/exe")).expect("no zero is in it");
    let arguments = [own.clone(), CString::new(IDENTITY).expect("nor there")];
    let error = match execve(&own, &arguments, &[] as &[&CStr]) {
        Ok(never) => return never,
        Err(error) => error,
    };
    panic!("execve: {error}")
}

fn from_a_thread() -> Outcome {
    let (pid, said) = output_of_child(|| {
        let (reader, _writer) = pipe().expect("a pipe");
        // One that sleeps, one that runs, and the first one, which waits.
        thread::spawn(move || File::from(reader).read(&mut [0]).map(drop));
        thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
        match thread::spawn(become_identity).join() {
            Ok(never) => never,
            Err(_) => std::process::exit(1),
        }
    })?;
    ensure!(said == format!("{pid} {pid} 1\n"), "{pid} says {said:?}");
    Ok(())
}

fn from_two_threads() -> Outcome {
    for _ in 0..10 {
        let (pid, said) = output_of_child(|| {
            thread::spawn(become_identity);
            thread::spawn(become_identity);
            loop {
                thread::sleep(Duration::from_secs(60));
            }
        })?;
        ensure!(said == format!("{pid} {pid} 1\n"), "{pid} says {said:?}");
    }
    Ok(())
}

/// What a program prints that is executed by execveat.
fn execveat_says(directory: impl AsFd, path: &str, flags: AtFlags) -> anyhow::Result<String> {
    let path = CString::new(path)?;
    let (_, said) = output_of_child(|| {
        match execveat(directory, &path, &[&path, c"--report"], &[] as &[&CStr], flags) {
            Ok(never) => never,
            Err(error) => panic!("execveat: {error}"),
        }
    })?;
    Ok(said)
}

/// The error of an execveat that must fail.
fn execveat_refusal(directory: impl AsFd, path: &str, flags: AtFlags) -> anyhow::Result<Errno> {
    let path = CString::new(path)?;
    match execveat(directory, &path, &[&path], &[] as &[&CStr], flags) {
        Ok(never) => match never {},
        Err(error) => Ok(error),
    }
}

fn from_a_directory() -> Outcome {
    let directory = open(SCRIPTS, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty())?;
    let said = execveat_says(&directory, "report", AtFlags::empty())?;
    let name = format!("/dev/fd/{}/report", directory.as_raw_fd());
    ensure!(said == format!("/proc/self/exe\n--report one  two\n{name}\n--report\n"), "{said:?}");
    let missing = execveat_refusal(&directory, "nothing", AtFlags::empty())?;
    ensure!(missing == Errno::ENOENT, "{missing}");
    Ok(())
}

fn from_a_descriptor() -> Outcome {
    let own = open("/proc/self/exe", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let said = execveat_says(&own, "", AtFlags::AT_EMPTY_PATH)?;
    ensure!(said == "\n--report\n", "{said:?}");
    let refused = execveat_refusal(&own, "", AtFlags::empty())?;
    ensure!(refused == Errno::ENOENT, "an empty path: {refused}");
    // Its interpreter could not open it any more.
    let script = open(SCRIPTS_REPORT, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let refused = execveat_refusal(&script, "", AtFlags::AT_EMPTY_PATH)?;
    ensure!(refused == Errno::ENOENT, "a script that will be closed: {refused}");
    let (reader, _writer) = pipe()?;
    let refused = execveat_refusal(&reader, "", AtFlags::AT_EMPTY_PATH)?;
    ensure!(refused == Errno::EACCES, "a pipe: {refused}");
    Ok(())
}

fn execveat_flags() -> Outcome {
    let directory = open(SCRIPTS, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty())?;
    execveat_says(&directory, "link", AtFlags::empty())?;
    let refused = execveat_refusal(&directory, "link", AtFlags::AT_SYMLINK_NOFOLLOW)?;
    ensure!(refused == Errno::ELOOP, "{refused}");
    let refused = execveat_refusal(&directory, "report", AtFlags::AT_EACCESS)?;
    ensure!(refused == Errno::EINVAL, "{refused}");
    Ok(())
}

/// Prints which of the descriptors with these numbers are open.
fn open_descriptors(numbers: &[String]) -> ExitCode {
    for number in numbers {
        // SAFETY: asks about a number, which need not be a descriptor.
        let flags = unsafe { libc::fcntl(number.parse().unwrap_or(-1), libc::F_GETFD) };
        println!("{}", flags >= 0);
    }
    ExitCode::SUCCESS
}

fn descriptors() -> Outcome {
    let kept = open(SCRIPTS, OFlag::O_RDONLY, Mode::empty())?;
    let marked = open(SCRIPTS, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let numbers = [kept.as_raw_fd(), marked.as_raw_fd()].map(|number| number.to_string());
    let said = lines(Command::new("/proc/self/exe").arg(DESCRIPTORS).args(numbers))?;
    ensure!(said == ["true", "false"], "{said:?}");
    Ok(())
}

fn failure() -> Outcome {
    let path = CString::new(in_scripts("no_script").as_os_str().as_bytes())?;
    let marked = open(SCRIPTS, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let sleeper = thread::spawn(|| thread::sleep(Duration::from_millis(50)));
    let refused = execve(&path, &[&path], &[] as &[&CStr]);
    ensure!(refused == Err(Errno::ENOEXEC), "{refused:?}");
    close(marked)?;
    ensure!(sleeper.join().is_ok(), "a thread has ended");
    Ok(())
}
