//! BusyBox in the guest, for an interactive shell.

use super::host_files::HostFiles;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// The program that is all of them.
pub const BUSYBOX: &str = "busybox";

/// The shell itself, which BusyBox always has.
pub const SHELL: &str = "sh";

/// Takes the host's BusyBox, with a name in `/bin` for each thing that it can do and that is not there otherwise.
///
/// # Errors
/// A sentence, when the host has none, or one without a shell.
pub fn add(files: &mut HostFiles, has_program: impl Fn(&str) -> bool) -> Result<()> {
    files.take_one(BUSYBOX).context("the shell is BusyBox's")?;
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
