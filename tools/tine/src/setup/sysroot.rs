//! A private sysroot with `core` and `alloc` for the kernel, for compilers that come without.
//!
//! Built by Cargo's `build-std` from the sources that belong to the compiler, once per compiler.

use super::compiler::Compiler;
use super::rust_src;
use crate::build::{KERNEL_TARGET, cargo};
use crate::ui::Ui;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};

const CRATES: [&str; 3] = ["core", "alloc", "compiler_builtins"];

/// The sysroot of this compiler, if it was built before.
pub fn existing(workspace: &Workspace, compiler: &Compiler) -> Option<PathBuf> {
    let path = place(workspace, compiler);
    path.is_dir().then_some(path)
}

fn place(workspace: &Workspace, compiler: &Compiler) -> PathBuf {
    workspace.sysroots().join(compiler.key())
}

/// Finds or fetches the sources and builds the sysroot. Its directory appears when it is complete.
pub fn build(workspace: &Workspace, compiler: &Compiler, ui: Ui) -> Result<PathBuf> {
    fs::create_dir_all(workspace.sysroots())?;
    let work = tempfile::Builder::new().prefix("building-").tempdir_in(workspace.sysroots())?;
    let library = rust_src::find_or_fetch(compiler, work.path(), ui)?;
    let busy = ui.long(&format!(
        "building core and alloc for the kernel from {}, once, about 30 s",
        library.display()
    ));
    let made = compile(work.path(), &library)?;
    let sysroot = work.path().join("sysroot");
    let libraries = sysroot.join("lib/rustlib").join(KERNEL_TARGET).join("lib");
    fs::create_dir_all(&libraries)?;
    for name in CRATES {
        let from = rlib(&made, name)?;
        fs::copy(&from, libraries.join(from.file_name().context("an rlib has a name")?))?;
    }
    drop(busy);
    let place = place(workspace, compiler);
    fs::rename(&sysroot, &place).with_context(|| format!("cannot create {}", place.display()))?;
    Ok(place)
}

/// Builds an empty crate along with the standard crates; returns the directory with their rlibs.
fn compile(work: &Path, library: &Path) -> Result<PathBuf> {
    let package = work.join("empty");
    fs::create_dir_all(package.join("src"))?;
    fs::write(package.join("src/lib.rs"), "#![no_std]\n")?;
    let manifest = "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
                    [profile.release]\npanic = \"abort\"\n";
    fs::write(package.join("Cargo.toml"), manifest)?;
    let mut command = cargo::cargo();
    command.current_dir(&package).args(["build", "--release", "--target", KERNEL_TARGET]);
    command.arg("-Zbuild-std=core,alloc,compiler_builtins");
    command.arg("-Zbuild-std-features=compiler-builtins-mem");
    command.arg("--target-dir").arg(work.join("target"));
    // Stable compilers build their own library this way: it is made of what is unstable for others.
    command.env("RUSTC_BOOTSTRAP", "1").env("__CARGO_TESTS_ONLY_SRC_ROOT", library);
    let output = command.output().context("cannot start cargo; is it in PATH?")?;
    if !output.status.success() {
        bail!(
            "core and alloc for the kernel could not be built from {}:\n{}",
            library.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(work.join("target").join(KERNEL_TARGET).join("release/deps"))
}

fn rlib(directory: &Path, name: &str) -> Result<PathBuf> {
    let prefix = format!("lib{name}-");
    let found = fs::read_dir(directory)?.flatten().map(|entry| entry.path()).find(|path| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        file.starts_with(&prefix) && file.ends_with(".rlib")
    });
    ensure!(found.is_some(), "cargo built no {prefix}*.rlib in {}", directory.display());
    found.context("just checked")
}
