//! The sources of the standard library that belong to the compiler: its own, the system's, or Debian's package.

use super::apt::{self, Sources, Suite};
use super::compiler::Compiler;
use crate::ui::Ui;
use anyhow::{Result, anyhow};
use std::path::{Path, PathBuf};

/// The directory `library` of the sources. What has to be fetched goes below `work`.
pub fn find_or_fetch(compiler: &Compiler, work: &Path, ui: Ui) -> Result<PathBuf> {
    if let Some(found) = installed(compiler) {
        return Ok(found);
    }
    fetch(compiler, work, ui).map_err(|why| {
        anyhow!(
            "the kernel needs `core` and `alloc` for x86_64-unknown-none, and there are neither these nor their \
             sources ({why:#}).\nInstall one of these and run the command again:\n  \
             rustup target add x86_64-unknown-none\n  \
             rustup component add rust-src\n  \
             the sources of rustc {} as /usr/src/rustc-{}",
            compiler.release,
            compiler.release
        )
    })
}

fn installed(compiler: &Compiler) -> Option<PathBuf> {
    let own = compiler.sysroot.join("lib/rustlib/src/rust/library");
    let system = Path::new("/usr/src").join(format!("rustc-{}", compiler.release)).join("library");
    [own, system].into_iter().find(|library| library.join("core/src/lib.rs").is_file())
}

/// Downloads and unpacks Debian's package `rust-src` of exactly the compiler's version; needs no root.
fn fetch(compiler: &Compiler, work: &Path, ui: Ui) -> Result<PathBuf> {
    let sources = Sources::of_this_machine()?;
    let suites = candidates(&sources);
    let busy = ui.long(&format!("looking for the package rust-src {} with apt", compiler.release));
    let package = apt::download(&sources, &suites, "rust-src", &compiler.release, work)?;
    apt::unpack(&package, &work.join("rust-src"))?;
    drop(busy);
    let library = work.join(format!("rust-src/usr/src/rustc-{}/library", compiler.release));
    match library.join("core/src/lib.rs").is_file() {
        true => Ok(library),
        false => Err(anyhow!("{} holds no library", package.display())),
    }
}

/// The machine's own suites first. A compiler from rustup is often newer than they are, and the sources are plain text
/// that fits any release.
fn candidates(sources: &Sources) -> Vec<Suite> {
    let mut suites = sources.own_suites();
    if sources.is_debian() {
        let others = ["stable-backports", "testing", "sid", "oldstable-backports", "stable"];
        suites.extend(sources.backports());
        suites.extend(others.map(Suite::named));
    }
    suites
}
