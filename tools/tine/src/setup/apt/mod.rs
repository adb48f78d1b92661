//! Packages from the machine's own Debian or Ubuntu mirror, from suites that it may not have configured.
//!
//! Works on package lists of its own, so the machine's configuration and lists stay as they are, and only
//! [`install`] needs root.

mod sources;

pub use sources::{Sources, Suite};

use crate::process::{Finished, run_within};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// For one call of apt: package lists are some 10 MB, packages up to 50 MB.
const LIMIT: Duration = Duration::from_secs(600);

/// Whether packages can be asked for at all.
pub fn is_there() -> bool {
    run_within(Command::new("apt-get").arg("--version"), LIMIT).is_ok_and(|done| done.succeeded())
}

/// Downloads `package` in the upstream version `version` from the first of `suites` that has it, into `directory`.
pub fn download(
    sources: &Sources,
    suites: &[Suite],
    package: &str,
    version: &str,
    directory: &Path,
) -> Result<PathBuf> {
    let mut trouble = None;
    for suite in suites {
        let apt = Apt::new(directory.join("apt"), sources, std::slice::from_ref(suite))?;
        if let Err(error) = apt.update() {
            trouble.get_or_insert(error);
            continue;
        }
        let known = apt.run(Command::new("apt-cache").args(["madison", package]))?;
        if let Some(exact) = pick_version(&known.stdout, version) {
            return apt.download(&format!("{package}={exact}"), directory);
        }
    }
    let tried = suites.iter().map(Suite::name).collect::<Vec<_>>().join(", ");
    let why = format!("apt has no {package} {version} in {tried}");
    match trouble {
        Some(error) => Err(error.context(why)),
        None => bail!(why),
    }
}

/// Unpacks a package into `directory` without installing it.
pub fn unpack(package: &Path, directory: &Path) -> Result<()> {
    let done = run_within(Command::new("dpkg").arg("-x").args([package, directory]), LIMIT)?;
    ensure!(done.succeeded(), "dpkg cannot unpack {}: {}", package.display(), done.stderr.trim());
    Ok(())
}

/// Installs `package` without what it only recommends, from `newest` if the mirror has that suite, else from the
/// machine's own. Needs root.
pub fn install(sources: &Sources, newest: Option<Suite>, package: &str, scratch: &Path) -> Result<()> {
    let own = sources.own_suites();
    let attempts = newest.map(|newest| (Some(newest.clone()), [own.clone(), vec![newest]].concat()));
    let mut trouble = None;
    for (target, suites) in attempts.into_iter().chain([(None, own)]) {
        let apt = Apt::new(scratch.join("apt"), sources, &suites)?;
        let attempt = apt.update().and_then(|()| apt.install(package, target.as_ref()));
        match attempt {
            Ok(()) => return Ok(()),
            Err(error) => trouble = Some(error),
        }
    }
    Err(trouble.context("nothing was tried")?.context(format!("apt could not install {package}")))
}

/// The full version in the output of `apt-cache madison` whose upstream part begins with `version`.
fn pick_version(madison: &str, version: &str) -> Option<String> {
    let versions = madison.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim);
    let matches = |full: &&str| {
        let upstream = full.split_once(':').map_or(*full, |(_epoch, rest)| rest);
        upstream
            .strip_prefix(version)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', '-', '~']))
    };
    versions.filter(matches).map(str::to_owned).next()
}

/// Apt with its own sources, package lists and cache in a directory.
struct Apt {
    state: PathBuf,
}

impl Apt {
    fn new(state: PathBuf, sources: &Sources, suites: &[Suite]) -> Result<Self> {
        for part in ["sources", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(state.join(part))?;
        }
        fs::write(state.join("sources/tine.sources"), sources.stanzas(suites))?;
        Ok(Self { state })
    }

    fn run(&self, command: &mut Command) -> Result<Finished> {
        let set = |name: &str, value: &Path| format!("{name}={}", value.display());
        let options = [
            set("Dir::Etc::SourceList", Path::new("/dev/null")),
            set("Dir::Etc::SourceParts", &self.state.join("sources")),
            set("Dir::State::Lists", &self.state.join("lists")),
            set("Dir::Cache", &self.state.join("cache")),
            // The directory belongs to whoever calls us, so apt's own user cannot write to it.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Retries=1".to_owned(),
            "Acquire::http::Timeout=20".to_owned(),
            "Acquire::https::Timeout=20".to_owned(),
        ];
        command.args(options.iter().flat_map(|option| ["-o", option]));
        command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
        let program = command.get_program().to_string_lossy().into_owned();
        run_within(command, LIMIT).with_context(|| format!("cannot start {program}"))
    }

    fn checked(&self, command: &mut Command, what: &str) -> Result<()> {
        let done = self.run(command)?;
        ensure!(done.succeeded(), "{what} failed: {}", last_words(&done));
        Ok(())
    }

    fn update(&self) -> Result<()> {
        // Without this, a mirror that cannot be reached is only a warning.
        let mut command = Command::new("apt-get");
        self.checked(command.args(["update", "-q", "-o", "APT::Update::Error-Mode=any"]), "apt-get update")
    }

    fn download(&self, package: &str, into: &Path) -> Result<PathBuf> {
        let mut command = Command::new("apt-get");
        self.checked(command.args(["download", "-q", package]).current_dir(into), "apt-get download")?;
        let files = fs::read_dir(into)?.flatten().map(|entry| entry.path());
        files
            .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .max()
            .with_context(|| format!("apt-get downloaded no package into {}", into.display()))
    }

    fn install(&self, package: &str, target: Option<&Suite>) -> Result<()> {
        let mut command = Command::new("apt-get");
        command.args(["install", "-q", "-y", "--no-install-recommends", package]);
        if let Some(suite) = target {
            command.args(["-t", suite.name()]);
        }
        self.checked(&mut command, "apt-get install")
    }
}

/// The errors of a call of apt in one line.
fn last_words(done: &Finished) -> String {
    if done.status.is_none() {
        return format!("no end after {} s", LIMIT.as_secs());
    }
    let errors: Vec<&str> =
        done.stderr.lines().map(str::trim).filter(|line| line.starts_with("E:")).take(2).collect();
    match errors.is_empty() {
        true => done.stderr.lines().last().unwrap_or("no reason given").to_owned(),
        false => errors.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_exact_up_to_what_debian_appends() {
        let madison = "\
  rust-src | 1.95.1+dfsg1-1 | http://mirror/debian sid/main amd64 Packages
  rust-src | 1:1.95.0+dfsg1-2~bpo13+1 | http://mirror/debian trixie-backports/main amd64 Packages
  rust-src | 1.9.0-1 | http://mirror/debian old/main amd64 Packages\n";
        assert_eq!(pick_version(madison, "1.95.0").as_deref(), Some("1:1.95.0+dfsg1-2~bpo13+1"));
        assert_eq!(pick_version(madison, "1.9.0").as_deref(), Some("1.9.0-1"));
        assert_eq!(pick_version(madison, "1.95"), None);
        assert_eq!(pick_version("", "1.95.0"), None);
    }
}
