//! The programs of an interactive shell in the guest: the host's BusyBox, or else its own shell with the usual tools.

use super::host_files::HostFiles;
use crate::setup::qemu::in_path;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// The program that is all of them.
const BUSYBOX: &str = "busybox";

/// The shell of BusyBox, which it always has.
const SHELL: &str = "sh";

/// Shells of the host, the one that edits lines first.
const HOST_SHELLS: [&str; 2] = ["bash", "sh"];

/// What comes with a shell of the host's, as far as the host has it.
const TOOLS: [&str; 38] = [
    "cat", "chmod", "cp", "cut", "date", "df", "echo", "env", "expr", "false", "find", "free", "grep",
    "head", "id", "kill", "ln", "ls", "mkdir", "mv", "nproc", "ps", "rm", "sed", "seq", "sleep", "sort",
    "stty", "tail", "tee", "top", "tr", "true", "tty", "uname", "uniq", "uptime", "wc",
];

/// The words that start the shell, the program first. `terminal` is the kind of terminal, if there is one.
pub fn command(terminal: Option<&str>) -> Vec<String> {
    let mut words = Vec::new();
    let busybox = in_path(BUSYBOX).map(|_| BUSYBOX);
    words.extend(busybox);
    let kind = terminal.map(|terminal| format!("TERM={terminal}"));
    if kind.is_some() {
        words.push("env");
    }
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).chain(kind).collect();
    words.push(if busybox.is_some() { SHELL } else { host_shell() }.to_owned());
    words
}

fn host_shell() -> &'static str {
    HOST_SHELLS.into_iter().find(|shell| in_path(shell).is_some()).unwrap_or(SHELL)
}

/// Takes the host's BusyBox, with a name in `/bin` for each thing that it can do and that is not there otherwise; where the
/// host has none, its shell and tools.
///
/// # Errors
/// A sentence, when the host has neither.
pub fn add(files: &mut HostFiles, has_program: impl Fn(&str) -> bool) -> Result<()> {
    if in_path(BUSYBOX).is_none() {
        files.take_one(host_shell()).context("the shell is BusyBox's, which is not there, or the host's")?;
        return TOOLS
            .into_iter()
            .filter(|tool| in_path(tool).is_some())
            .try_for_each(|tool| files.take_one(tool));
    }
    files.take_one(BUSYBOX)?;
    let busybox = files.program(BUSYBOX).context("what was taken is there")?.to_owned();
    let names = applets(&busybox)?;
    if !names.iter().any(|name| name == SHELL) {
        bail!("{} has no shell", busybox.display());
    }
    for name in names.iter().filter(|name| *name != BUSYBOX && !has_program(name)) {
        files.tree.add_link(&Path::new("/bin").join(name), &busybox);
    }
    Ok(())
}

/// What BusyBox can do, by name.
fn applets(busybox: &Path) -> Result<Vec<String>> {
    let output = Command::new(busybox).arg("--list").output().context("cannot ask BusyBox what it can do")?;
    let names = String::from_utf8_lossy(&output.stdout);
    Ok(names.lines().filter(|name| !name.is_empty()).map(str::to_owned).collect())
}
