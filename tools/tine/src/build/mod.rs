//! Builds everything that runs in the guest: loader, kernel and programs, and the archive for QEMU.
//!
//! Cargo decides what is out of date. A process asks it once per profile; processes at the same time wait for each other.

pub mod cargo;
pub mod host_files;
pub mod initramfs;
pub mod programs;
pub mod shell;

use crate::setup;
use crate::setup::target::KernelTarget;
use crate::ui::Ui;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use host_files::{HostFiles, Tree};
use initramfs::Contents;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

pub const KERNEL_TARGET: &str = "x86_64-unknown-none";
pub const USER_TARGET: &str = "x86_64-unknown-linux-gnu";
const KERNEL: &str = "tine-kernel";
const LOADER: &str = "tine-boot";

/// How the kernel is compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    #[default]
    Release,
    /// Like release, with debug assertions and overflow checks.
    Checked,
    /// Like release, with the policies that are wrong on purpose (`sched/src/planted.rs`).
    Planted,
    /// Like release, without the scheduler's measures (`sched/src/measure.rs`).
    Unmeasured,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Checked => "checked",
            Self::Planted => "planted",
            Self::Unmeasured => "unmeasured",
        }
    }

    /// What Cargo is told besides the profile.
    fn features(self) -> &'static [&'static str] {
        match self {
            Self::Release | Self::Checked => &[],
            Self::Planted => &["--features", "tine-kernel/planted"],
            Self::Unmeasured => &["--features", "tine-kernel/unmeasured"],
        }
    }
}

/// What a machine boots.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The PVH loader, for QEMU's `-kernel`.
    pub loader: PathBuf,
    /// The kernel with its symbols.
    pub kernel: PathBuf,
    /// For QEMU's `-initrd`.
    pub initramfs: PathBuf,
    /// The user programs by name.
    pub programs: BTreeMap<String, PathBuf>,
    /// The compiler, as `rustc --version` names it.
    pub compiler: String,
}

impl Guest {
    /// The same guest with files of the host besides its own.
    ///
    /// # Errors
    /// Also when they do not leave enough free of a machine with `memory_mib`: the archive stays in memory, and what of it is
    /// mapped is there twice.
    pub fn with(self, workspace: &Workspace, host: &HostFiles, memory_mib: u32) -> Result<Self> {
        const SPARE_MIB: u64 = 64;
        if host.tree.is_empty() {
            return Ok(self);
        }
        let contents = Contents { kernel: &self.kernel, programs: &self.programs, host: &host.tree };
        let initramfs = initramfs::cached(&workspace.guest_target().join("with"), contents)?;
        let (own, all) = (fs::metadata(&self.initramfs)?.len() >> 20, fs::metadata(&initramfs)?.len() >> 20);
        let needed = 2 * all - own + SPARE_MIB;
        ensure!(
            needed <= u64::from(memory_mib),
            "the files of the host make up {} MiB: give the machine more memory, for example `--memory {}`",
            all - own,
            needed.next_power_of_two()
        );
        Ok(Self { initramfs, ..self })
    }
}

/// Builds what is out of date, once per process and profile.
pub fn guest(workspace: &Workspace, profile: Profile, ui: Ui) -> Result<Guest> {
    static BUILT: Mutex<BTreeMap<Profile, Guest>> = Mutex::new(BTreeMap::new());
    // A panic while building leaves the map as it was.
    let mut built = BUILT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(guest) = built.get(&profile) {
        return Ok(guest.clone());
    }
    let guest = build(workspace, profile, ui)?;
    built.insert(profile, guest.clone());
    Ok(guest)
}

fn build(workspace: &Workspace, profile: Profile, ui: Ui) -> Result<Guest> {
    let _one_at_a_time = workspace.lock("build")?;
    let target = setup::target::ensure_kernel(workspace, ui)?;
    setup::target::ensure_user(ui)?;
    let mut kernel = kernel_cargo(workspace, &target, "build");
    let mut made = cargo::build(kernel.args(["--profile", profile.name()]).args(profile.features()), ui)?;
    let (kernel, loader) = (take(&mut made, KERNEL)?, take(&mut made, LOADER)?);
    let programs = cargo::build(&mut user_cargo(workspace), ui).map_err(setup::libc::explain)?;
    let initramfs = workspace.guest_target().join(profile.name()).with_extension("cpio");
    let contents = Contents { kernel: &kernel, programs: &programs, host: &Tree::default() };
    initramfs::bring_up_to_date(&initramfs, contents)?;
    Ok(Guest { loader, kernel, initramfs, programs, compiler: target.compiler.description })
}

fn take(made: &mut BTreeMap<String, PathBuf>, name: &str) -> Result<PathBuf> {
    made.remove(name).with_context(|| format!("the package {name} has no program of its name"))
}

/// `cargo build` or another verb for the loader and the kernel, with the guest's flags.
pub fn kernel_cargo(workspace: &Workspace, target: &KernelTarget, verb: &str) -> Command {
    let mut command = cargo::cargo();
    command.current_dir(workspace.root()).arg(verb).args(["-p", LOADER, "-p", KERNEL]);
    command.args(["--target", KERNEL_TARGET, "--target-dir"]).arg(workspace.guest_target());
    // The kernel's hot paths go through three crates. The programs are built for size, and their many would each be
    // optimised anew.
    command.args(["--config", "profile.release.lto=\"fat\"", "--config", "profile.release.codegen-units=1"]);
    let mut flags = vec!["-Crelocation-model=static".to_owned(), "-Cforce-frame-pointers=yes".to_owned()];
    if let Some(sysroot) = &target.sysroot {
        flags.extend(["--sysroot".to_owned(), sysroot.display().to_string()]);
    }
    cargo::set_rustflags(&mut command, &flags);
    command
}

fn user_cargo(workspace: &Workspace) -> Command {
    let mut command = cargo::cargo();
    command.current_dir(workspace.root()).args(["build", "-p", "tine-userland", "--bins", "--release"]);
    command.args(["--target", USER_TARGET, "--target-dir"]).arg(workspace.guest_target());
    // Symbols would make up two thirds of the archive that the machine loads.
    command.args(["--config", "profile.release.strip=\"symbols\""]);
    cargo::set_rustflags(&mut command, &["-Ctarget-feature=+crt-static".to_owned()]);
    command
}
