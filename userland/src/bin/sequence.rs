//! Runs several programs one after the other on the same machine, and reports how each ended.
//!
//! Each argument is a command: a program beside this one, or the path of one elsewhere, and its arguments, separated by blanks.

use anyhow::{Context, ensure};
use serde::Serialize;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, Stdio};
use userland::program::{self, own_path};
use userland::results;

const USAGE: &str = "sequence [--repeat N] 'PROGRAM ARGS…'…
  --repeat N  how often the whole sequence is run (1)";

/// Goes to the results file when a command has ended.
#[derive(Serialize)]
struct Record<'a> {
    program: &'static str,
    command: &'a str,
    status: Option<i32>,
    signal: Option<i32>,
    stdout: &'a str,
}

fn main() -> ExitCode {
    program::run(USAGE, |mut options| {
        let repeat: usize = options.value("--repeat", 1)?;
        let mut commands = Vec::new();
        while let Some(command) = options.word()? {
            commands.push(command);
        }
        options.finish()?;
        let mut failed = Vec::new();
        for command in commands.iter().cycle().take(repeat * commands.len()) {
            if !run(command).with_context(|| format!("run {command:?}"))? {
                failed.push(command.as_str());
            }
        }
        ensure!(failed.is_empty(), "these failed: {}", failed.join(", "));
        Ok(())
    })
}

/// Runs one command and passes on what it prints; says whether it succeeded.
fn run(command: &str) -> anyhow::Result<bool> {
    let mut words = command.split_whitespace();
    let path = own_path()?.with_file_name(words.next().context("an empty command")?);
    let output = Command::new(path).args(words).stderr(Stdio::inherit()).output()?;
    std::io::stdout().write_all(&output.stdout)?;
    results::publish(&Record {
        program: "sequence",
        command,
        status: output.status.code(),
        signal: output.status.signal(),
        stdout: &String::from_utf8_lossy(&output.stdout),
    })?;
    Ok(output.status.success())
}
