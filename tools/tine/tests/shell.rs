//! `tine shell`, on a pseudo-terminal as a user has it and fed by a pipe. The shell is BusyBox's, or the host's where there is none.

use nix::sys::wait::WaitStatus;
use rexpect::session::{PtySession, spawn_command};
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Milliseconds that a step may take on a host that is busy with other things.
const LIMIT: u64 = 120_000;

fn tine() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tine"))
}

/// A shell that shows its prompt.
fn on_a_terminal() -> PtySession {
    let mut command = tine();
    command.args(["shell"]).env("TERM", "xterm");
    let mut session = spawn_command(command, Some(LIMIT)).expect("tine starts");
    prompt(&mut session);
    session
}

fn prompt(session: &mut PtySession) {
    expect(session, "# ");
}

#[track_caller]
fn expect(session: &mut PtySession, what: &str) -> String {
    session.exp_string(what).unwrap_or_else(|error| panic!("{what:?} does not come: {error}"))
}

/// A host's shell on a terminal of 33 lines and 99 columns that runs `tine shell` with `options`, and says afterwards with
/// which status it ended and whether the terminal is as before.
fn in_a_script(options: &str) -> PtySession {
    let script = format!(
        "stty rows 33 cols 99; before=$(stty -g); {} shell {options}; echo ended with $?; \
         [ \"$(stty -g)\" = \"$before\" ] && echo all is restored",
        env!("CARGO_BIN_EXE_tine")
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    spawn_command(command, Some(LIMIT)).expect("sh starts")
}

/// Types a line, and waits for it to be shown.
#[track_caller]
fn type_line(session: &mut PtySession, line: &str) {
    session.send_line(line).expect("typed");
    expect(session, "\n");
}

#[track_caller]
fn press(session: &mut PtySession, key: char) {
    session.send_control(key).expect("pressed");
}

fn fed_with(script: &str) -> Output {
    let mut child = tine()
        .arg("shell")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tine starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(script.as_bytes()).expect("it reads");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

#[test]
fn a_shell_on_a_terminal_edits_lines_and_controls_jobs() {
    let mut session = on_a_terminal();
    type_line(&mut session, "echo $((6 * 7))");
    expect(&mut session, "42");
    prompt(&mut session);

    // The shell's own editing: the erased character is not in what runs.
    session.send("echo onr\x7fe\n").expect("typed");
    expect(&mut session, "\none\r\n");
    prompt(&mut session);

    // The terminal's editing, below a program that reads lines: a character, a word, a line.
    type_line(&mut session, "cat");
    session.send("abx\x7fc wrong\x17right\n").expect("typed");
    expect(&mut session, "\nabc right\r\n");
    session.send("nothing\x15all\n").expect("typed");
    expect(&mut session, "\nall\r\n");
    press(&mut session, 'd');
    prompt(&mut session);

    // ^C ends what runs, not the shell.
    type_line(&mut session, "sleep 1000");
    press(&mut session, 'c');
    prompt(&mut session);
    type_line(&mut session, "echo status $?");
    expect(&mut session, "status 130");
    prompt(&mut session);

    // ^Z stops it; it goes on in the background and comes back.
    type_line(&mut session, "sleep 1001");
    press(&mut session, 'z');
    expect(&mut session, "Stopped");
    prompt(&mut session);
    type_line(&mut session, "jobs");
    expect(&mut session, "sleep 1001");
    prompt(&mut session);
    type_line(&mut session, "bg");
    prompt(&mut session);
    type_line(&mut session, "jobs");
    expect(&mut session, "Running");
    prompt(&mut session);
    type_line(&mut session, "fg");
    expect(&mut session, "sleep 1001");
    press(&mut session, 'c');
    prompt(&mut session);

    // A job in the background may not read.
    type_line(&mut session, "cat &");
    prompt(&mut session);
    type_line(&mut session, "sleep 1; jobs");
    expect(&mut session, "Stopped");
    prompt(&mut session);
    type_line(&mut session, "kill %1; fg");
    prompt(&mut session);

    type_line(&mut session, "cat <<END | tr a-z A-Z | sort -r");
    type_line(&mut session, "first");
    type_line(&mut session, "second");
    type_line(&mut session, "END");
    expect(&mut session, "SECOND\r\nFIRST\r\n");
    prompt(&mut session);

    type_line(&mut session, "exit 5");
    assert!(matches!(session.process().wait(), Ok(WaitStatus::Exited(_, 5))), "the shell's status");
}

#[test]
fn the_window_has_its_size_and_leaving_restores_the_terminal() {
    let mut session = in_a_script("");
    prompt(&mut session);
    type_line(&mut session, "stty size");
    expect(&mut session, "33 99");
    prompt(&mut session);
    type_line(&mut session, "sleep 1000");
    session.send("\x01x").expect("typed");
    session.flush().expect("sent");
    expect(&mut session, "ended with 0");
    expect(&mut session, "all is restored");
}

#[test]
fn a_panic_of_the_guest_restores_the_terminal() {
    let mut session = in_a_script("--append debug.fail=panic");
    expect(&mut session, "ended with 1");
    expect(&mut session, "all is restored");
}

#[test]
fn a_shell_that_is_fed_by_a_pipe_writes_what_a_program_would_and_exits_with_its_status() {
    let output =
        fed_with("nproc\necho two words | wc -w\n[ -t 0 ] || [ -t 1 ] || echo no terminal\nexit 7\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "4\n2\nno terminal\n");
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
}
