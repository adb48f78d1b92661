//! Calls of Cargo and rustc that are not disturbed by the Cargo that called us.

use crate::ui::Ui;
use anyhow::{Context, Result, bail};
use cargo_metadata::Message;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Settings of the calling Cargo or of the user that would change what is built for the guest.
const FOREIGN: [&str; 9] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_MAKEFLAGS",
    "MAKEFLAGS",
    "CLIPPY_ARGS",
];

pub fn cargo() -> Command {
    undisturbed(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The compiler that goes with [`cargo`]. The one next to it is the one that rustup would choose, without rustup's detour.
pub fn rustc() -> Command {
    let beside = std::env::var_os("CARGO").map(|cargo| PathBuf::from(cargo).with_file_name("rustc"));
    match (std::env::var_os("RUSTC"), beside) {
        (Some(rustc), _) => undisturbed(rustc),
        (None, Some(rustc)) if rustc.exists() => undisturbed(rustc.into()),
        _ => undisturbed("rustc".into()),
    }
}

fn undisturbed(program: OsString) -> Command {
    let mut command = Command::new(program);
    FOREIGN.iter().for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// Sets the flags for rustc, in the one way that no other setting can override.
pub fn set_rustflags(command: &mut Command, flags: &[String]) {
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
}

/// A call of Cargo that failed.
#[derive(Debug, thiserror::Error)]
#[error("`{command}` failed{}", if *.shown { ".".to_owned() } else { format!(":\n{said}") })]
pub struct CargoFailed {
    command: String,
    /// What it wrote to standard error.
    pub said: String,
    /// Whether the user has seen it.
    shown: bool,
}

/// Runs a `cargo build` and returns the programs that it made, by name. Says nothing unless something was compiled.
pub fn build(command: &mut Command, ui: Ui) -> Result<BTreeMap<String, PathBuf>> {
    if ui == Ui::Talkative && std::io::stderr().is_terminal() {
        command.env("CARGO_TERM_PROGRESS_WHEN", "always").env("CARGO_TERM_PROGRESS_WIDTH", "80");
        command.env("CARGO_TERM_COLOR", "always");
    }
    command.arg("--message-format=json-render-diagnostics");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start cargo; is it in PATH?")?;
    let stderr = child.stderr.take().context("cargo has a standard error")?;
    let said = std::thread::spawn(move || relay(stderr, ui));
    let stdout = child.stdout.take().context("cargo has a standard output")?;
    let mut programs = BTreeMap::new();
    for message in Message::parse_stream(BufReader::new(stdout)) {
        if let Message::CompilerArtifact(artifact) = message.context("cannot read what cargo writes")?
            && let Some(path) = artifact.executable
        {
            programs.insert(artifact.target.name, path.into_std_path_buf());
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    let said = said.join().unwrap_or_default();
    if !status.success() {
        bail!(CargoFailed { command: shown(command), said, shown: ui == Ui::Talkative });
    }
    Ok(programs)
}

/// The command as a user would type it, shortened to the program and its arguments.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Passes on what Cargo says from its first word of substance on: not when it only found everything up to date.
/// Returns all of it.
fn relay(mut from: impl Read, ui: Ui) -> String {
    let mut all = Vec::new();
    let mut told = 0;
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        all.extend_from_slice(&buffer[..count]);
        if ui == Ui::Talkative && (told > 0 || is_news(&String::from_utf8_lossy(&all))) {
            // Losing words to a closed terminal is no reason to stop building.
            let _ = std::io::stderr().write_all(&all[told..]);
            told = all.len();
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// Whether Cargo did or found something, rather than only counted or finished.
fn is_news(said: &str) -> bool {
    let complete = said.rfind(['\n', '\r']).map_or("", |end| &said[..end]);
    complete
        .split(['\n', '\r'])
        .any(|line| !line.trim().is_empty() && !line.contains("Finished") && !line.contains("Building"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_was_up_to_date_is_no_news() {
        assert!(!is_news(
            "\x1b[32m    Building\x1b[0m [===> ] 3/9\r\n   Finished `release` profile in 0.04s\n"
        ));
        assert!(is_news("   Compiling tine-kernel v0.1.0\n"));
        assert!(is_news("error: could not find `core`\n"));
    }

    #[test]
    fn what_cargo_said_is_kept_when_nobody_saw_it() {
        let failed = |shown| CargoFailed { command: "cargo build".into(), said: "error: x".into(), shown };
        assert_eq!(failed(false).to_string(), "`cargo build` failed:\nerror: x");
        assert_eq!(failed(true).to_string(), "`cargo build` failed.");
    }
}
