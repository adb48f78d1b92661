//! QEMU for x86-64: as installed, or installed now.

use super::apt::{self, Sources};
use crate::process::run_within;
use crate::ui::Ui;
use crate::workspace::{Workspace, write_whole};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

const PROGRAM: &str = "qemu-system-x86_64";
/// The oldest that boots every configuration that does without x2APIC.
const OLDEST: Version = Version { major: 7, minor: 2 };

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// An emulator that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qemu {
    pub path: PathBuf,
    pub version: Version,
    /// The first line of `--version`.
    pub description: String,
    /// Changes when the program is replaced.
    stamp: (u64, u64),
}

#[cfg(test)]
impl Qemu {
    /// A program that stands in for QEMU.
    pub fn fake(path: PathBuf) -> Self {
        let description = "QEMU emulator version 99.0".to_owned();
        Self { path, version: Version { major: 99, minor: 0 }, description, stamp: (0, 0) }
    }
}

/// Finds QEMU, or installs it where that is possible without asking.
pub fn ensure(workspace: &Workspace, ui: Ui) -> Result<Qemu> {
    if let Some(qemu) = find(workspace)? {
        return Ok(qemu);
    }
    let _one_at_a_time = workspace.lock("install")?;
    if let Some(qemu) = find(workspace)? {
        return Ok(qemu);
    }
    if !can_install() {
        bail!("QEMU ({PROGRAM}) is not installed. {HOW_TO_INSTALL}");
    }
    install(ui).with_context(|| format!("QEMU ({PROGRAM}) is not installed. {HOW_TO_INSTALL}"))?;
    find(workspace)?.with_context(|| format!("QEMU was installed, but {PROGRAM} is not in PATH"))
}

/// Whether [`ensure`] would install it.
pub fn can_install() -> bool {
    nix::unistd::geteuid().is_root() && apt::is_there()
}

/// QEMU in PATH; fails when it is too old or does not run.
pub fn find(workspace: &Workspace) -> Result<Option<Qemu>> {
    let Some(path) = in_path(PROGRAM) else { return Ok(None) };
    let stamp = stamp(&path)?;
    let cache = workspace.state()?.join("qemu.json");
    let known = fs::read(&cache).ok().and_then(|text| serde_json::from_slice::<Qemu>(&text).ok());
    if let Some(known) = known.filter(|known| known.path == path && known.stamp == stamp) {
        return Ok(Some(known));
    }
    let qemu = describe(path, stamp)?;
    write_whole(&cache, &serde_json::to_vec(&qemu)?)?;
    Ok(Some(qemu))
}

pub(crate) fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

fn stamp(path: &Path) -> Result<(u64, u64)> {
    let metadata = fs::metadata(path).with_context(|| format!("{}", path.display()))?;
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok((metadata.len(), modified.unwrap_or_default().as_nanos() as u64))
}

fn describe(path: PathBuf, stamp: (u64, u64)) -> Result<Qemu> {
    let done = run_within(Command::new(&path).arg("--version"), Duration::from_secs(30));
    let done = done.with_context(|| format!("{} cannot be started", path.display()))?;
    let description = done.stdout.lines().next().unwrap_or_default().to_owned();
    let Some(version) = parse_version(&description).filter(|_| done.succeeded()) else {
        bail!("{} does not say its version; it says: {}{}", path.display(), done.stdout, done.stderr);
    };
    if version < OLDEST {
        bail!("{} is QEMU {version}; Tine needs {OLDEST} or later. {HOW_TO_INSTALL}", path.display());
    }
    Ok(Qemu { path, version, description, stamp })
}

fn parse_version(description: &str) -> Option<Version> {
    let number = description.split("version ").nth(1)?.split_whitespace().next()?;
    let mut parts = number.split('.').map(str::parse);
    Some(Version { major: parts.next()?.ok()?, minor: parts.next()?.ok()? })
}

fn install(ui: Ui) -> Result<()> {
    let sources = Sources::of_this_machine()?;
    let scratch = tempfile::tempdir()?;
    let newest = sources.backports();
    let from = newest.as_ref().map_or(String::new(), |suite| format!(" (from {} if possible)", suite.name()));
    let _busy = ui.long(&format!("QEMU is missing: installing qemu-system-x86 with apt-get{from}"));
    apt::install(&sources, newest, "qemu-system-x86", scratch.path())
}

/// The command on each of the common systems.
pub const HOW_TO_INSTALL: &str = "Install it:
  Debian, Ubuntu   sudo apt-get install --no-install-recommends qemu-system-x86
  Fedora           sudo dnf install qemu-system-x86-core
  Arch             sudo pacman -S qemu-system-x86
  openSUSE         sudo zypper install qemu-x86
  macOS            brew install qemu";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        let debian = parse_version("QEMU emulator version 7.2.15 (Debian 1:7.2+dfsg-7+deb12u12)");
        assert_eq!(debian, Some(Version { major: 7, minor: 2 }));
        assert_eq!(parse_version("QEMU emulator version 10.0.2"), Some(Version { major: 10, minor: 0 }));
        assert!(parse_version("QEMU emulator version 10.0.2") > Some(OLDEST));
        assert_eq!(parse_version("not QEMU"), None);
    }
}
