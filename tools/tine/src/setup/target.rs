//! The standard libraries for the guest's targets: as installed, by rustup, or built here.

use super::compiler::Compiler;
use super::sysroot;
use crate::build::{KERNEL_TARGET, USER_TARGET};
use crate::process::run_within;
use crate::ui::Ui;
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// A rustup that cannot reach its server retries for minutes.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);

/// What compiles the kernel.
#[derive(Clone, Debug)]
pub struct KernelTarget {
    pub compiler: Compiler,
    /// Where `core` and `alloc` are, if not with the compiler.
    pub sysroot: Option<PathBuf>,
}

/// Finds or makes the libraries for the kernel.
pub fn ensure_kernel(workspace: &Workspace, ui: Ui) -> Result<KernelTarget> {
    let compiler = Compiler::find()?;
    let sysroot = match compiler.has_target(KERNEL_TARGET) {
        true => None,
        false => match sysroot::existing(workspace, &compiler) {
            Some(sysroot) => Some(sysroot),
            None if rustup_adds(KERNEL_TARGET, &compiler, ui) => None,
            None => Some(sysroot::build(workspace, &compiler, ui)?),
        },
    };
    Ok(KernelTarget { compiler, sysroot })
}

/// Finds or adds the standard library for the user programs: that of the host on x86-64 Linux.
pub fn ensure_user(ui: Ui) -> Result<()> {
    if cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")) {
        return Ok(());
    }
    let compiler = Compiler::find()?;
    if !compiler.has_target(USER_TARGET) && !rustup_adds(USER_TARGET, &compiler, ui) {
        bail!("the standard library for {USER_TARGET} is missing: `rustup target add {USER_TARGET}`");
    }
    Ok(())
}

/// Whether rustup is there and could install `target` for this compiler.
fn rustup_adds(target: &str, compiler: &Compiler, ui: Ui) -> bool {
    // The proxy `rustup` may be there while the compiler is a distribution's; then it would add to another one.
    if !compiler.sysroot.components().any(|part| part.as_os_str() == "toolchains") {
        return false;
    }
    let busy = ui.long(&format!("adding the target {target} with rustup"));
    let done = run_within(Command::new("rustup").args(["target", "add", target]), RUSTUP_LIMIT);
    drop(busy);
    let why = match done {
        Ok(done) if done.succeeded() && compiler.has_target(target) => return true,
        Ok(done) => {
            done.stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no answer").to_owned()
        }
        Err(error) => error.to_string(),
    };
    ui.note(format!("rustup could not add it ({})", why.trim()));
    false
}
