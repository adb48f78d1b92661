//! `tine clippy`: lints what the host's `cargo clippy` does not reach.

use crate::build::{USER_TARGET, cargo, kernel_cargo};
use crate::setup::target;
use crate::ui::Ui;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// Lints loader and kernel for their target, and the user programs; every warning is an error.
pub fn clippy() -> Result<()> {
    let workspace = Workspace::find()?;
    let target = target::ensure_kernel(&workspace, Ui::Talkative)?;
    target::ensure_user(Ui::Talkative)?;
    lint(&mut kernel_cargo(&workspace, &target, "clippy"))?;
    let mut user = cargo::cargo();
    user.current_dir(workspace.root()).args(["clippy", "-p", "tine-userland", "--all-targets"]);
    user.args(["--target", USER_TARGET, "--target-dir"]).arg(workspace.guest_target());
    lint(&mut user)
}

fn lint(command: &mut Command) -> Result<()> {
    let status =
        command.args(["--", "-D", "warnings"]).status().context("cannot start cargo; is it in PATH?")?;
    ensure!(status.success(), "`{}` found something, see above.", cargo::shown(command));
    Ok(())
}
