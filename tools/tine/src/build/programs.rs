//! The user programs that there are, without building them.

use super::cargo;
use crate::names;
use crate::setup::qemu::in_path;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use cargo_metadata::Metadata;
use std::fs;
use std::path::Path;

/// A program of `userland/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub name: String,
    /// The first sentence of its documentation.
    pub summary: String,
}

/// The programs of the package `tine-userland` in alphabetical order.
pub fn list(workspace: &Workspace) -> Result<Vec<Program>> {
    let mut command = cargo::cargo();
    command.args(["metadata", "--no-deps", "--format-version=1"]).current_dir(workspace.root());
    let output = command.output().context("cannot start cargo; is it in PATH?")?;
    if !output.status.success() {
        bail!("`{}` failed:\n{}", cargo::shown(&command), String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("what `cargo metadata` writes")?;
    let userland = metadata.packages.into_iter().filter(|package| package.name.as_str() == "tine-userland");
    let mut programs = Vec::new();
    for target in userland.flat_map(|package| package.targets).filter(|target| target.is_bin()) {
        let source = fs::read_to_string(&target.src_path).with_context(|| format!("{}", target.src_path))?;
        programs.push(Program { name: target.name, summary: first_sentence(&source) });
    }
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(programs)
}

/// Fails with a sentence when `program` (a name, or a path in the guest's `/bin`) does not exist.
pub fn check<'a>(program: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Result<()> {
    let name = program.strip_prefix("/bin/").unwrap_or(program);
    if known.clone().into_iter().any(|known| known == name) {
        return Ok(());
    }
    if in_path(program).is_some() || Path::new(program).is_file() {
        bail!("the guest has no program `{program}`, but this host has: add `--with {program}`");
    }
    bail!("{} `cargo run -- programs` lists them.", names::unknown("program", name, known))
}

fn first_sentence(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let paragraph = lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    match paragraph.split_once(". ") {
        Some((first, _)) => format!("{first}."),
        None => paragraph,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_the_first_sentence_over_its_lines() {
        let source = "//! Forks many children\n//! at once. Then more.\n//!\n//! Details.\nuse x;\n";
        assert_eq!(first_sentence(source), "Forks many children at once.");
        assert_eq!(first_sentence("fn main() {}"), "");
    }

    #[test]
    fn an_unknown_program_gets_the_one_that_was_meant() {
        let known = ["fork_progress_test", "fork_spin_stress"];
        assert!(check("/bin/fork_spin_stress", known).is_ok());
        let said = check("fork_spin_stres", known).expect_err("mistyped").to_string();
        assert!(said.contains("did you mean `fork_spin_stress`?"), "{said}");
    }
}
