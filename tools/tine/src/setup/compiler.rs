//! Which rustc builds the guest.

use crate::build::cargo;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// The compiler, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// The line of `rustc --version`.
    pub description: String,
    /// For example `1.95.0`.
    pub release: String,
    /// Short hash of the commit, or `unknown` for a distribution's own build.
    pub commit: String,
    pub sysroot: PathBuf,
}

impl Compiler {
    pub fn find() -> Result<Self> {
        let version = ask(&["-vV"])?;
        let sysroot = ask(&["--print", "sysroot"])?;
        Self::parse(&version, sysroot.trim()).context("cannot make sense of `rustc -vV`")
    }

    fn parse(version: &str, sysroot: &str) -> Option<Self> {
        let field = |name: &str| version.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let commit = field("commit-hash:").unwrap_or("unknown");
        Some(Self {
            description: version.lines().next()?.to_owned(),
            release: field("release:")?.to_owned(),
            commit: commit.get(..9).unwrap_or(commit).to_owned(),
            sysroot: sysroot.into(),
        })
    }

    /// What tells one compiler from another in the name of a directory.
    pub fn key(&self) -> String {
        format!("{}-{}", self.release, self.commit)
    }

    /// Whether the standard library for `target` is installed along with the compiler.
    pub fn has_target(&self, target: &str) -> bool {
        let libraries = self.sysroot.join("lib/rustlib").join(target).join("lib");
        let Ok(entries) = libraries.read_dir() else { return false };
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    }
}

fn ask(arguments: &[&str]) -> Result<String> {
    let mut command = cargo::rustc();
    let output = command.args(arguments).output().context("cannot start rustc; is it in PATH?")?;
    if !output.status.success() {
        bail!("`{}` failed:\n{}", cargo::shown(&command), String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).context("rustc does not write UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_taken_apart() {
        let version = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\n\
                       commit-hash: 59807616e1fa2540724bfbac14d7976d7e4a3860\nrelease: 1.95.0\n";
        let compiler = Compiler::parse(version, "/usr").expect("a compiler");
        assert_eq!(compiler.key(), "1.95.0-59807616e");
        let distribution = Compiler::parse("rustc 1.85.0\ncommit-hash: unknown\nrelease: 1.85.0\n", "/usr");
        assert_eq!(distribution.expect("a compiler").key(), "1.85.0-unknown");
        assert_eq!(Compiler::parse("", "/usr"), None);
    }
}
