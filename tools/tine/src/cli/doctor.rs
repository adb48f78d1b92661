//! `tine doctor`: what this machine has, what it lacks, and what that means. Changes nothing.

use crate::build::{KERNEL_TARGET, USER_TARGET};
use crate::host;
use crate::machine::accel::{self, Choice};
use crate::machine::config::Accel;
use crate::process::run_within;
use crate::report;
use crate::setup::compiler::Compiler;
use crate::setup::{libc, qemu, sysroot};
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What was found out about one thing.
struct Finding {
    thing: &'static str,
    state: State,
    detail: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Present,
    /// `cargo run` gets it.
    Obtainable,
    Missing,
    /// Missing, but only some commands need it.
    Optional,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Present => "ok",
            Self::Obtainable => "will be set up",
            Self::Missing => "MISSING",
            Self::Optional => "not there",
        }
    }
}

/// Prints the findings; fails if something is missing that `cargo run` cannot get.
pub fn doctor() -> Result<()> {
    let workspace = Workspace::find()?;
    let mut findings = toolchain(&workspace);
    findings.push(static_libc());
    findings.extend(emulator(&workspace)?);
    findings.push(Finding {
        thing: "host",
        state: State::Present,
        detail: format!(
            "{} processors, which do {:.2} times the work of one at the moment",
            host::processors(),
            host::measure_parallelism(host::processors())
        ),
    });
    findings.push(optional("gdb", "`cargo run -- gdb` prints a line for it"));
    findings.push(optional("xorriso", "`cargo run -- iso` needs it"));

    let mut table = report::table();
    table.set_header(["what", "state", "detail"]);
    table.add_rows(findings.iter().map(|it| [it.thing, it.state.word(), &it.detail]));
    println!("{}", table.trim_fmt());
    match findings.iter().any(|it| it.state == State::Missing) {
        true => bail!("something is missing that `cargo run` cannot get by itself, see above."),
        false => Ok(()),
    }
}

fn toolchain(workspace: &Workspace) -> Vec<Finding> {
    let compiler = match Compiler::find() {
        Ok(compiler) => compiler,
        Err(error) => {
            return vec![Finding { thing: "rustc", state: State::Missing, detail: format!("{error:#}") }];
        }
    };
    let (state, detail) = if compiler.has_target(KERNEL_TARGET) {
        (State::Present, format!("{KERNEL_TARGET} came with the compiler"))
    } else if let Some(sysroot) = sysroot::existing(workspace, &compiler) {
        (State::Present, format!("built in {}", sysroot.display()))
    } else {
        (State::Obtainable, format!("{KERNEL_TARGET}: by rustup, or built from rust-src"))
    };
    let kernel = Finding { thing: "core for the kernel", state, detail };
    let (state, detail) = match compiler.has_target(USER_TARGET) {
        true => (State::Present, USER_TARGET.to_owned()),
        false => (State::Obtainable, format!("{USER_TARGET}: by rustup")),
    };
    let user = Finding { thing: "std for programs", state, detail };
    vec![Finding { thing: "rustc", state: State::Present, detail: compiler.description }, kernel, user]
}

fn static_libc() -> Finding {
    let ask = run_within(Command::new("cc").arg("-print-file-name=libc.a"), Duration::from_secs(10));
    let (state, detail) = match ask {
        Err(_) => (State::Missing, libc::NO_LINKER.to_owned()),
        // Without the file, cc repeats the question.
        Ok(done) if Path::new(done.stdout.trim()).is_absolute() => {
            (State::Present, done.stdout.trim().to_owned())
        }
        Ok(_) => (State::Missing, libc::NO_STATIC_LIBC.to_owned()),
    };
    Finding { thing: "static C library", state, detail }
}

fn emulator(workspace: &Workspace) -> Result<Vec<Finding>> {
    let finding = |thing, state, detail| Finding { thing, state, detail };
    Ok(match qemu::find(workspace) {
        Ok(Some(found)) => {
            let Choice { accelerator, reason } =
                accel::choose(Accel::Auto, false, &found, &workspace.state()?)?;
            vec![
                finding("QEMU", State::Present, format!("{} ({})", found.description, found.path.display())),
                finding("accelerator", State::Present, format!("{accelerator} ({reason})")),
            ]
        }
        Ok(None) if qemu::can_install() => {
            vec![finding("QEMU", State::Obtainable, "qemu-system-x86, with apt-get".to_owned())]
        }
        Ok(None) => vec![finding("QEMU", State::Missing, qemu::HOW_TO_INSTALL.to_owned())],
        Err(error) => vec![finding("QEMU", State::Missing, format!("{error:#}"))],
    })
}

fn optional(program: &'static str, use_for: &str) -> Finding {
    match qemu::in_path(program) {
        Some(path) => Finding { thing: program, state: State::Present, detail: path.display().to_string() },
        None => Finding { thing: program, state: State::Optional, detail: use_for.to_owned() },
    }
}
