//! `tine shell`: a shell in the guest, on this terminal or fed by a pipe.

use super::run::shown;
use super::{MachineOptions, ShellOptions};
use crate::build::shell::command;
use crate::machine::input::{Keyboard, Kind};
use crate::machine::{Cause, Failure, Machine};
use anyhow::{Context, Result};
use formats::record::Exit;
use formats::terminal::Item;
use nix::sys::termios::{self, SetArg, Termios};
use std::io::{self, IsTerminal, Read, Stdin};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// ^A: what follows is for `tine` itself.
const ESCAPE: u8 = 0x01;
/// How often the window's size is looked at.
const SIZE_PERIOD: Duration = Duration::from_millis(200);
/// What a shell's status is when a signal killed it (man 1 sh).
const KILLED: i32 = 128;

/// Runs a shell in a machine until it exits, and exits as it does.
pub fn shell(options: &ShellOptions) -> Result<ExitCode> {
    let stdin = io::stdin();
    let kind = if stdin.is_terminal() { Kind::Terminal } else { Kind::Stream };
    let prepared = machine(&options.machine, kind).prepare()?;
    let (keyboard, cable) = Keyboard::new().context("cannot make a connection to the machine")?;
    let raw = match kind {
        Kind::Terminal => {
            eprintln!("tine: a shell in the guest; ^A x leaves, ^A ^A sends ^A");
            watch_size(keyboard.clone());
            Some(Raw::set(&stdin)?)
        }
        Kind::Stream => None,
    };
    forward(keyboard.clone(), kind);
    let outcome = prepared.run_with(keyboard, cable);
    drop(raw);
    match outcome {
        Ok(outcome) => {
            let problems: Vec<String> = outcome.record.failures().map(|it| it.message.clone()).collect();
            if !problems.is_empty() {
                return Err(shown(outcome.failure(problems)));
            }
            let status = match outcome.record.exit() {
                Some(Exit::Exited { status }) => status,
                Some(Exit::Killed { signal }) => KILLED + signal,
                None => return outcome.check().map(|()| ExitCode::SUCCESS).map_err(shown),
            };
            Ok(ExitCode::from(status as u8))
        }
        Err(Failure { cause: Cause::Left, .. }) => {
            eprintln!("tine: left the machine, which has been ended");
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => Err(shown(failure)),
    }
}

/// The machine with a shell as its first program.
fn machine(options: &MachineOptions, kind: Kind) -> Machine {
    let arguments = options.program.clone();
    let options = MachineOptions { program: Vec::new(), ..options.clone() };
    let has_limit = options.timeout.is_some();
    let terminal = std::env::var("TERM").unwrap_or_else(|_| "linux".into());
    let mut words = command((kind == Kind::Terminal).then_some(&terminal)).into_iter();
    let program = words.next().unwrap_or_default();
    let mut machine = options.machine().input(kind).program(program);
    if !has_limit {
        machine = machine.timeout(Duration::from_secs(u32::MAX.into()));
    }
    machine.args(words).args(arguments)
}

/// Sends to the machine what comes in here, until it ends.
fn forward(keyboard: Keyboard, kind: Kind) {
    thread::spawn(move || {
        let mut buffer = [0; 1024];
        let mut escape = Escape::default();
        // A machine that has ended takes nothing: its end is noticed elsewhere.
        while let Ok(count @ 1..) = io::stdin().lock().read(&mut buffer) {
            let sent = match kind {
                Kind::Stream => keyboard.send(buffer[..count].iter().copied().map(Item::Byte)),
                Kind::Terminal => {
                    let typed: Vec<Item> = buffer[..count]
                        .iter()
                        .filter_map(|byte| escape.typed(*byte))
                        .map(Item::Byte)
                        .collect();
                    if escape.leaves {
                        keyboard.leave();
                    }
                    keyboard.send(typed)
                }
            };
            if sent.is_err() {
                return;
            }
        }
        let _ = keyboard.send([Item::End]);
    });
}

/// Tells the machine the window's size, now and whenever it changes.
fn watch_size(keyboard: Keyboard) {
    thread::spawn(move || {
        let mut last = None;
        loop {
            let size = terminal_size::terminal_size().map(|(columns, rows)| (rows.0, columns.0));
            if size != last
                && let Some((rows, columns)) = size
                && keyboard.send([Item::Size { rows, columns }]).is_err()
            {
                return;
            }
            last = size;
            thread::sleep(SIZE_PERIOD);
        }
    });
}

/// Finds what is meant for `tine` in what is typed.
#[derive(Debug, Default)]
struct Escape {
    is_open: bool,
    leaves: bool,
}

impl Escape {
    /// What the machine gets of `byte`.
    fn typed(&mut self, byte: u8) -> Option<u8> {
        match (std::mem::take(&mut self.is_open), byte) {
            (false, ESCAPE) => {
                self.is_open = true;
                None
            }
            (false, byte) => Some(byte),
            (true, b'x' | b'X') => {
                self.leaves = true;
                None
            }
            (true, ESCAPE) => Some(ESCAPE),
            (true, _) => None,
        }
    }
}

/// This terminal in raw mode, until dropped.
struct Raw {
    before: Termios,
}

impl Raw {
    fn set(stdin: &Stdin) -> Result<Self> {
        let before = termios::tcgetattr(stdin).context("cannot ask the terminal for its settings")?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(stdin, SetArg::TCSANOW, &raw).context("cannot put the terminal in raw mode")?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no settings.
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(typed: &[u8]) -> (Vec<u8>, bool) {
        let mut escape = Escape::default();
        let sent = typed.iter().filter_map(|byte| escape.typed(*byte)).collect();
        (sent, escape.leaves)
    }

    #[test]
    fn control_a_x_leaves_and_control_a_twice_is_one() {
        assert_eq!(sent(b"ls\x03\x1a"), (b"ls\x03\x1a".to_vec(), false));
        assert_eq!(sent(b"a\x01\x01x"), (b"a\x01x".to_vec(), false));
        assert_eq!(sent(b"a\x01x"), (b"a".to_vec(), true));
        assert_eq!(sent(b"a\x01?b"), (b"ab".to_vec(), false));
    }
}
