//! `tine iso`: an image that boots by Limine, from BIOS and from UEFI.
//!
//! Limine itself is the user's: its binaries are in the branches `v*-binary` of its repository. Versions 5 to 7 read
//! `limine.cfg`, later ones `limine.conf`, so the image has both.

use super::IsoOptions;
use crate::process::run_within;
use crate::setup::qemu::in_path;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);
/// From the directory of Limine into `/boot/limine`.
const STAGES: [&str; 3] = ["limine-bios.sys", "limine-bios-cd.bin", "limine-uefi-cd.bin"];
const UEFI_LOADER: &str = "BOOTX64.EFI";
const KERNEL: &str = "/boot/tine-kernel";
const INITRAMFS: &str = "/boot/initramfs.cpio";

pub fn iso(options: &IsoOptions) -> Result<()> {
    check_limine(&options.limine)?;
    ensure!(
        in_path("xorriso").is_some(),
        "xorriso is not installed, which makes the image. Install it: Debian, Ubuntu: `apt-get install xorriso`; \
         Fedora, openSUSE: `xorriso`; Arch: `libisoburn`; macOS: `brew install xorriso`"
    );
    let prepared = options.machine.machine().prepare()?;
    let root = tempfile::tempdir()?;
    lay_out(root.path(), &options.limine)?;
    copy(&prepared.guest.kernel, &inside(root.path(), KERNEL))?;
    copy(&prepared.guest.initramfs, &inside(root.path(), INITRAMFS))?;
    let command_line = prepared.plan.command_line();
    fs::write(root.path().join("boot/limine/limine.conf"), limine_conf(&command_line))?;
    fs::write(root.path().join("boot/limine/limine.cfg"), limine_cfg(&command_line))?;
    let image = std::path::absolute(&options.output)?;
    make(root.path(), &image)?;
    let bios = install_bios(&options.limine, &image)?;
    println!("{}: boots `{command_line}` from CD by BIOS and UEFI{bios}.", image.display());
    println!(
        "Try it: qemu-system-x86_64 -machine q35 -cpu max -smp 4 -m 512 -serial stdio -cdrom {}",
        image.display()
    );
    Ok(())
}

fn check_limine(directory: &Path) -> Result<()> {
    let missing: Vec<&str> =
        STAGES.into_iter().chain([UEFI_LOADER]).filter(|name| !directory.join(name).is_file()).collect();
    ensure!(
        missing.is_empty(),
        "{} is not a directory with Limine's binaries: it lacks {}. Get them with\n  \
         git clone --depth=1 --branch=v8.x-binary https://github.com/limine-bootloader/limine.git",
        directory.display(),
        missing.join(", ")
    );
    Ok(())
}

fn lay_out(root: &Path, limine: &Path) -> Result<()> {
    fs::create_dir_all(root.join("boot/limine"))?;
    fs::create_dir_all(root.join("EFI/BOOT"))?;
    for name in STAGES {
        copy(&limine.join(name), &root.join("boot/limine").join(name))?;
    }
    copy(&limine.join(UEFI_LOADER), &root.join("EFI/BOOT").join(UEFI_LOADER))
}

fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// For Limine 8 and later; `kernel_path` is what `path` was called before 9.
fn limine_conf(command_line: &str) -> String {
    format!(
        "timeout: 0\nserial: yes\n\n/Tine\n    protocol: limine\n    path: boot():{KERNEL}\n    \
         kernel_path: boot():{KERNEL}\n    cmdline: {command_line}\n    module_path: boot():{INITRAMFS}\n"
    )
}

/// For Limine 5 to 7.
fn limine_cfg(command_line: &str) -> String {
    format!(
        "TIMEOUT=0\nSERIAL=yes\n\n:Tine\nPROTOCOL=limine\nKERNEL_PATH=boot://{KERNEL}\nCMDLINE={command_line}\n\
         MODULE_PATH=boot://{INITRAMFS}\n"
    )
}

fn make(root: &Path, image: &Path) -> Result<()> {
    let mut command = Command::new("xorriso");
    command.args(["-as", "mkisofs", "-quiet", "-R", "-r", "-J"]);
    command.args(["-b", "boot/limine/limine-bios-cd.bin", "-no-emul-boot"]);
    command.args(["-boot-load-size", "4", "-boot-info-table"]);
    command.args(["--efi-boot", "boot/limine/limine-uefi-cd.bin", "-efi-boot-part", "--efi-boot-image"]);
    command.arg("--protective-msdos-label").arg(root).arg("-o").arg(image);
    let done = run_within(&mut command, LIMIT).context("cannot start xorriso")?;
    if !done.succeeded() {
        bail!("xorriso could not make {}:\n{}", image.display(), done.stderr.trim());
    }
    Ok(())
}

/// Makes the image boot from a disk as well, if Limine's tool is there; returns what that adds to the report.
fn install_bios(limine: &Path, image: &Path) -> Result<&'static str> {
    let own = std::path::absolute(limine.join("limine"))?;
    let tool = if own.is_file() { Some(own) } else { in_path("limine") };
    let Some(tool) = tool else {
        return Ok("; from a BIOS disk only after `limine bios-install`, which is not built here");
    };
    let done = run_within(Command::new(&tool).arg("bios-install").arg(image), LIMIT)
        .with_context(|| format!("cannot start {}", tool.display()))?;
    ensure!(done.succeeded(), "`{} bios-install` failed:\n{}", tool.display(), done.stderr.trim());
    Ok(", and from disk by BIOS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_configurations_say_the_same_in_their_own_words() {
        let conf = limine_conf("hz=100 init=/bin/hello");
        let cfg = limine_cfg("hz=100 init=/bin/hello");
        for part in ["path: boot():/boot/tine-kernel", "cmdline: hz=100 init=/bin/hello", "protocol: limine"]
        {
            assert!(conf.contains(part), "{conf}");
        }
        for part in ["KERNEL_PATH=boot:///boot/tine-kernel", "MODULE_PATH=boot:///boot/initramfs.cpio"] {
            assert!(cfg.contains(part), "{cfg}");
        }
    }

    #[test]
    fn what_the_directory_lacks_is_named() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join("limine-bios.sys"), "").expect("a file");
        let said = check_limine(directory.path()).expect_err("incomplete").to_string();
        assert!(said.contains("lacks limine-bios-cd.bin, limine-uefi-cd.bin, BOOTX64.EFI"), "{said}");
        assert!(said.contains("git clone"));
    }
}
