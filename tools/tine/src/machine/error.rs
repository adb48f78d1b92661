//! What went wrong with a run: one sentence, the guest's last output, and the command that does it again.

use std::fmt;
use std::time::Duration;

/// How many of the guest's last lines are shown.
const LAST_LINES: usize = 20;

/// What happened.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error("{0:#}")]
    Setup(anyhow::Error),
    #[error("QEMU could not be started ({0}). `cargo run -- doctor` says what is installed.")]
    Start(std::io::Error),
    #[error("QEMU ended with status {status} before the machine did: {complaints}")]
    Qemu { status: i32, complaints: String },
    #[error("QEMU was ended from outside by signal {0}.")]
    Signal(i32),
    #[error(
        "The machine wrote nothing for {} s and was ended. Its loader or kernel hangs before the first word, or the \
         accelerator does not work: try `--accel tcg`, or look with `cargo run -- gdb`.",
        .0.as_secs()
    )]
    Silent(Duration),
    #[error(
        "The machine had not ended after {} s and was ended. `--timeout` gives it longer; \
         `cargo run -- gdb` looks inside.",
        .0.as_secs()
    )]
    TimedOut(Duration),
    #[error(
        "The machine reset, most likely by a triple fault: QEMU ended without the kernel's exit status. \
         `cargo run -- gdb` looks inside."
    )]
    Reset,
    #[error("The machine was ended because you asked for it.")]
    Interrupted,
    #[error("The machine was ended because you left it.")]
    Left,
    #[error("The run ended, and not well: {}.", .0.join("; "))]
    Failed(Vec<String>),
}

/// A run that did not end as it should.
#[derive(thiserror::Error)]
pub struct Failure {
    pub cause: Cause,
    /// The end of what the machine wrote to its console; empty if it was shown already, or there is none.
    pub last_output: String,
    /// The command that boots the same machine again; empty when it did not come to that.
    pub reproduce: String,
}

impl Failure {
    pub fn before_start(error: anyhow::Error) -> Self {
        Self { cause: Cause::Setup(error), last_output: String::new(), reproduce: String::new() }
    }

    /// Keeps the last lines of `console`.
    pub fn of_machine(cause: Cause, console: &str, reproduce: String) -> Self {
        let lines: Vec<&str> = console.trim_end().lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        Self { cause, last_output: last.join("\n"), reproduce }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        if !self.last_output.is_empty() {
            f.write_str("\nThe machine's last output:")?;
            self.last_output.lines().try_for_each(|line| write!(f, "\n  | {line}"))?;
        }
        if !self.reproduce.is_empty() {
            write!(f, "\nTo run it again: {}", self.reproduce)?;
        }
        Ok(())
    }
}

/// As for users, because it is what `unwrap` in a test prints.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_what_happened_shows_the_last_output_and_how_to_do_it_again() {
        let console: String = (1..=30).map(|line| format!("line {line}\n")).collect();
        let failure = Failure::of_machine(Cause::Reset, &console, "cargo run -- run --seed 7".into());
        let said = failure.to_string();
        assert!(said.starts_with("The machine reset"), "{said}");
        assert!(said.contains("| line 11\n") && said.contains("| line 30\n") && !said.contains("line 10\n"));
        assert!(said.ends_with("\nTo run it again: cargo run -- run --seed 7"));
        assert_eq!(format!("{failure:?}"), said);
    }
}
