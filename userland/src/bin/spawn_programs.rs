//! Programs start programs, with `std::process::Command`: arguments, environment, pipes, exit codes, errors.
//!
//! The programs that are started are this one again, with words that say what to do.

use anyhow::{Context, bail, ensure};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use userland::checks::{self, Outcome};
use userland::cpus;
use userland::program::own_path;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["say", rest @ ..] => println!("{}", rest.join("|")),
        ["variable", name] => println!("{}", std::env::var(name).unwrap_or_else(|_| "unset".into())),
        ["exit", status] => return ExitCode::from(status.parse::<u8>().unwrap_or(u8::MAX)),
        ["upper-case"] => return upper_case().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        ["both-streams", bytes] => both_streams(bytes.parse().unwrap_or(0)),
        ["abort"] => std::process::abort(),
        ["sleep"] => thread::sleep(std::time::Duration::from_secs(3600)),
        _ => return run_checks(),
    }
    ExitCode::SUCCESS
}

fn upper_case() -> std::io::Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    print!("{}", text.to_uppercase());
    std::io::stdout().flush()
}

fn both_streams(bytes: usize) {
    for _ in 0..bytes / 100 {
        print!("{}", "o".repeat(100));
        eprint!("{}", "e".repeat(100));
    }
}

fn run_checks() -> ExitCode {
    checks::run(
        "spawn_programs",
        &[
            ("arguments arrive", arguments_arrive),
            ("long arguments arrive", long_arguments_arrive),
            ("the environment arrives", environment_arrives),
            ("exit codes and signals come back", exit_codes_come_back),
            ("a program reads what is written to it", pipes_work),
            ("programs form a pipeline", pipeline),
            ("much output on two streams is read", much_output),
            ("a program without streams has /dev/null", null_streams),
            ("a program that does not exist is NotFound", missing_program),
            ("a file that is no program is refused", not_a_program),
            ("a program can be killed", kill_program),
            ("exec replaces the program and keeps the process", exec_keeps_process),
            ("exec from a thread ends the other threads", exec_from_thread),
            ("threads start programs at the same time", many_at_once),
        ],
    )
}

fn this_program(words: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(own_path()?);
    command.args(words);
    Ok(command)
}

/// What the program writes to standard output.
fn output_of(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().context("start the program")?;
    ensure!(output.status.success(), "it ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn arguments_arrive() -> Outcome {
    let said = output_of(&mut this_program(&["say", "one", "", "two words", "ünïcode"])?)?;
    ensure!(said == "one||two words|ünïcode\n", "said {said:?}");
    Ok(())
}

fn long_arguments_arrive() -> Outcome {
    let word = "x".repeat(10_000);
    let mut words = vec!["say"];
    words.extend([word.as_str(); 9]);
    let said = output_of(&mut this_program(&words)?)?;
    ensure!(said.len() == 90_009 && said.starts_with("xxx"), "{} bytes came back", said.len());
    Ok(())
}

fn environment_arrives() -> Outcome {
    let value = output_of(this_program(&["variable", "TINE_WORD"])?.env("TINE_WORD", "some value"))?;
    ensure!(value == "some value\n", "the variable is {value:?}");
    let value = output_of(this_program(&["variable", "TINE_WORD"])?.env("TINE_WORD", "x").env_clear())?;
    ensure!(value == "unset\n", "the variable is {value:?}");
    Ok(())
}

fn exit_codes_come_back() -> Outcome {
    for status in ["0", "1", "77", "255"] {
        let got = this_program(&["exit", status])?.status()?;
        ensure!(got.code() == status.parse().ok(), "{status}: {got}");
    }
    let got = this_program(&["abort"])?.status()?;
    ensure!(got.signal() == Some(libc::SIGABRT), "abort: {got}");
    Ok(())
}

fn pipes_work() -> Outcome {
    let mut child = this_program(&["upper-case"])?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().context("stdin is a pipe")?.write_all(b"quiet words")?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success() && output.stdout == b"QUIET WORDS", "{output:?}");
    Ok(())
}

fn pipeline() -> Outcome {
    let mut first = this_program(&["say", "down", "the", "pipe"])?.stdout(Stdio::piped()).spawn()?;
    let mut second = this_program(&["upper-case"])?
        .stdin(first.stdout.take().context("stdout is a pipe")?)
        .stdout(Stdio::piped())
        .spawn()?;
    let third =
        output_of(this_program(&["upper-case"])?.stdin(second.stdout.take().context("stdout is a pipe")?))?;
    ensure!(third == "DOWN|THE|PIPE\n", "the pipeline said {third:?}");
    ensure!(first.wait()?.success() && second.wait()?.success(), "a part of the pipeline failed");
    Ok(())
}

fn much_output() -> Outcome {
    let output = this_program(&["both-streams", "300000"])?.output()?;
    ensure!(output.status.success(), "it ended with {}", output.status);
    let all_are = |bytes: &[u8], letter| bytes.len() == 300_000 && bytes.iter().all(|byte| *byte == letter);
    ensure!(all_are(&output.stdout, b'o'), "stdout brought {} bytes", output.stdout.len());
    ensure!(all_are(&output.stderr, b'e'), "stderr brought {} bytes", output.stderr.len());
    Ok(())
}

fn null_streams() -> Outcome {
    let status = this_program(&["upper-case"])?
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

fn refused(command: &mut Command) -> anyhow::Result<std::io::Error> {
    match command.status() {
        Err(error) => Ok(error),
        Ok(status) => bail!("it was started, and ended with {status}"),
    }
}

fn missing_program() -> Outcome {
    for path in ["/no/such/program", "/dev/no_such_program"] {
        let error = refused(&mut Command::new(path))?;
        ensure!(error.kind() == ErrorKind::NotFound, "{path}: {error}");
    }
    // The way without vfork reports through a pipe.
    let mut command = Command::new("/no/such/program");
    // SAFETY: the closure does nothing.
    unsafe { command.pre_exec(|| Ok(())) };
    let error = refused(&mut command)?;
    ensure!(error.kind() == ErrorKind::NotFound, "after fork: {error}");
    Ok(())
}

fn not_a_program() -> Outcome {
    let error = refused(&mut Command::new("/dev/null"))?;
    ensure!(error.kind() == ErrorKind::PermissionDenied, "/dev/null: {error}");
    Ok(())
}

fn kill_program() -> Outcome {
    let mut child = this_program(&["sleep"])?.spawn()?;
    ensure!(child.try_wait()?.is_none(), "it ended by itself");
    child.kill()?;
    let status = child.wait()?;
    ensure!(status.signal() == Some(libc::SIGKILL), "it ended with {status}");
    Ok(())
}

fn exec_keeps_process() -> Outcome {
    use userland::children::Child;
    let child = Child::start(|| {
        let error = this_program(&["exit", "91"]).map(|mut command| command.exec());
        userland::children::report(error.and_then(|error| Err(error.into())))
    })?;
    child.expect_exit(91)
}

fn exec_from_thread() -> Outcome {
    use userland::children::Child;
    let child = Child::start(|| {
        for _ in 0..3 {
            thread::spawn(|| {
                loop {
                    std::hint::spin_loop();
                }
            });
        }
        let result = thread::spawn(|| this_program(&["exit", "92"]).map(|mut command| command.exec())).join();
        userland::children::report(Err(anyhow::anyhow!("exec returned {result:?}")))
    })?;
    child.expect_exit(92)
}

fn many_at_once() -> Outcome {
    let count = 2 * cpus::allowed()?.len();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|index| {
                scope.spawn(move || {
                    for round in 0..5 {
                        let word = format!("{index}-{round}");
                        let said = output_of(&mut this_program(&["say", &word])?)?;
                        ensure!(said == format!("{word}\n"), "said {said:?} and not {word}");
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no check panics"))
    })
}
