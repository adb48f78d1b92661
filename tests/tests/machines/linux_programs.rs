//! Programs of the host run on Tine as they are: dynamic ones with their libraries, shells, scripts. Each says what it says on
//! the host.

use formats::record::Exit;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use tests::{Require, pass, run, sequence, steps};
use tine::{Machine, machine};

const LIMIT: Duration = Duration::from_secs(120);

/// A dynamic program with threads, which says how it was started.
const PROGRAM: &str = r#"
use std::{env, fs, thread, time::Instant};

thread_local!(static OWN: std::cell::Cell<u64> = const { std::cell::Cell::new(7) });

fn main() {
    let before = Instant::now();
    let sum = |from: u64| (from..from + 1000).map(|n| n + OWN.get()).sum::<u64>();
    let threads: Vec<_> = (0..8).map(|n| thread::spawn(move || sum(n))).collect();
    let sums: Vec<u64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(before <= Instant::now());
    let libraries = fs::read_to_string("/proc/self/maps").unwrap();
    let linked = ["/ld-linux", "/libc.so", "[vdso]"].map(|name| libraries.contains(name));
    let arguments: Vec<String> = env::args().skip(1).collect();
    println!("{sums:?} {linked:?} {arguments:?} {:?}", env::current_exe().unwrap());
}
"#;

/// A directory of files for the guest, at the same place on the host for as long as the tests run.
fn files() -> &'static Path {
    static FILES: OnceLock<PathBuf> = OnceLock::new();
    FILES.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("linux_programs");
        fs::create_dir_all(&directory).expect("a directory");
        directory
    })
}

/// Compiles [`PROGRAM`] for the host, which links it dynamically.
fn dynamic_program() -> PathBuf {
    let (source, program) = (files().join("dynamic.rs"), files().join("dynamic"));
    fs::write(&source, PROGRAM).expect("a source file");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let status = rustc.args(["--edition=2024", "-Cdebuginfo=0", "-o"]).arg(&program).arg(&source).status();
    assert!(status.expect("rustc can be started").success(), "the program cannot be compiled");
    program
}

/// What the command prints on the host.
fn on_linux(command: &str) -> String {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a command has a program");
    let output = Command::new(program).args(words).env_clear().output().expect("it can be started");
    assert!(output.status.success(), "on Linux, {command} fails: {output:?}");
    String::from_utf8(output.stdout).expect("it prints text")
}

/// Requires that the commands, with programs by their absolute paths, end well and say the same on both.
#[track_caller]
fn same(machine: Machine, commands: &[&str]) {
    let programs = commands.iter().filter_map(|command| command.split_whitespace().next());
    let machine = programs.fold(machine.timeout(LIMIT), |machine, program| machine.with(program));
    let outcome = pass(&sequence(machine, commands.iter().copied()));
    let steps = steps(&outcome);
    for command in commands {
        let expected = on_linux(command);
        let said = steps.iter().find(|step| step.command == *command).map(|step| step.stdout.as_str());
        outcome
            .require(said == Some(&expected), format!("{command} said {said:?}, and on Linux {expected:?}"));
    }
}

#[test]
fn dynamic_programs_find_their_libraries() {
    let program = dynamic_program();
    let listed = files().join("listed");
    fs::create_dir_all(listed.join("below")).expect("a directory");
    fs::write(listed.join("file"), "content").expect("a file");
    let with_threads = format!("{} one two", program.display());
    let listing = format!("/bin/ls -1p {}", listed.display());
    let machine = machine().with(listed.to_str().expect("a path"));
    same(machine, &["/bin/true", &listing, &with_threads]);
}

#[test]
fn a_shell_runs_programs_pipelines_and_scripts() {
    let script = files().join("script");
    let text = "#!/bin/sh -e\n\
        echo \"$# $1\" | cat\n\
        for word in b a c; do echo $word; done | sort | tr a-z A-Z\n\
        x=$(printf '%s' \"$2\" | wc -c); echo $((x * 2))\n\
        (exit 3) || echo status $?\n\
        cat <<END | sed s/here/there/\na document here\nEND\n\
        trap 'echo trapped' USR1; kill -USR1 $$\n\
        sleep 0.05 & wait; echo waited\n";
    fs::write(&script, text).expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it can be made executable");
    let tools = ["cat", "sort", "tr", "wc", "sed", "sleep"];
    let machine = tools.iter().fold(machine(), |machine, tool| machine.with(*tool));
    same(machine, &[&format!("{} first 12345", script.display())]);
}

/// Files for the script: see there.
fn applet_data() -> PathBuf {
    let directory = files().join("data");
    fs::create_dir_all(directory.join("sub")).expect("a directory");
    let contents = [
        ("a.txt", "apple\nbanana\ncherry\n"),
        ("b.txt", "apple\nblueberry\ncherry\n"),
        ("p.txt", "root:x:0\nbin:x:1\n"),
        ("u.txt", "a\na\nb\nb\nb\nc\n"),
        ("sub/s.txt", "s\n"),
    ];
    for (name, content) in contents {
        fs::write(directory.join(name), content).expect("a file");
    }
    link("a.txt".as_ref(), &directory.join("link"));
    directory
}

/// Makes a symbolic link, unless an earlier run has.
fn link(target: &Path, at: &Path) {
    match symlink(target, at) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => panic!("{}: {error}", at.display()),
        _ => {}
    }
}

/// A directory with a link for each applet of the host's BusyBox; `None` if the host has none.
fn applets() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let busybox = std::env::split_paths(&path).map(|it| it.join("busybox")).find(|it| it.is_file())?;
    let directory = files().join("applets");
    fs::create_dir_all(&directory).expect("a directory");
    let names = Command::new(&busybox).arg("--list").output().expect("it can be started").stdout;
    for name in String::from_utf8(names).expect("names are text").lines() {
        link(&busybox, &directory.join(name));
    }
    Some(directory)
}

#[test]
fn busybox_runs_a_script_of_seventy_applets() {
    const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/applets.sh");
    let Some(applets) = applets() else {
        eprintln!("not tested: the host has no busybox");
        return;
    };
    let (applets, data) = (applets.display().to_string(), applet_data().display().to_string());
    // The C library's `popen` wants that one.
    let machine = machine().with(&applets).with(&data).with(SCRIPT).with("/bin/sh");
    same(machine, &[&format!("{applets}/sh {SCRIPT} {applets} {data}")]);
}

#[test]
fn a_thousand_runs_of_true_leave_nothing_behind() {
    let runs = "i=0; while [ $i -lt 1000 ]; do /bin/true || exit 1; i=$((i+1)); done";
    let machine = machine().with("/bin/true").with("/bin/sh").program("/bin/sh").args(["-c", runs]);
    pass(&machine.timeout(Duration::from_secs(300)));
}

#[test]
fn a_program_of_the_host_can_be_the_first() {
    let machine = machine().with("/bin/sh").program("/bin/sh").args(["-c", "exit 42"]).timeout(LIMIT);
    let outcome = run(&machine);
    let ended = outcome.record.exit();
    outcome.require(ended == Some(Exit::Exited { status: 42 }), format!("it ended as {ended:?}"));
}

#[test]
fn a_program_that_is_missing_is_refused_before_anything_starts() {
    let said = |machine: Machine| format!("{:#}", machine.prepare().expect_err("it is refused"));
    let missing = said(machine().with("no-such-program").program("no-such-program"));
    assert!(missing.contains("this host has no program `no-such-program`"), "{missing}");
    let forgotten = said(machine().program("/bin/sh"));
    assert!(forgotten.contains("add `--with /bin/sh`"), "{forgotten}");
}

/// Copies of a program with bytes changed in its headers, where the kernel looks, in a directory.
fn damaged_programs() -> PathBuf {
    const COUNT: u64 = 150;
    const HEADERS: usize = 64 + 13 * 56;
    let directory = files().join("damaged");
    fs::create_dir_all(&directory).expect("a directory");
    let whole = fs::read("/bin/true").expect("the host has it");
    let mut random = fastrand::Rng::with_seed(1);
    for number in 0..COUNT {
        let mut program = whole.clone();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(4..HEADERS);
            let values = [0, 1, 0x7f, 0x80, 0xff, random.u8(..)];
            program[at] = values[random.usize(..values.len())];
        }
        if number % 10 == 0 {
            program.truncate(random.usize(..whole.len()));
        }
        let path = directory.join(format!("{number}"));
        fs::write(&path, program).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be made executable");
    }
    directory
}

#[test]
fn damaged_programs_do_no_harm() {
    let directory = damaged_programs();
    let directory = directory.to_str().expect("a path");
    let machine = machine().checked().with("/bin/true").with(directory).program("damaged_programs");
    pass(&machine.args([directory]).timeout(Duration::from_secs(300)));
}
