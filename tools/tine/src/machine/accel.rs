//! Which accelerator runs the guest, and why.
//!
//! A `/dev/kvm` that is there need not work: inside another virtual machine, QEMU may abort on a register that the outer
//! one does not offer, or hang before the guest's first byte. So `auto` boots a few bytes and sees.

use super::config::Accel;
use super::probe_image;
use crate::process::{Finished, run_within};
use crate::setup::qemu::Qemu;
use crate::workspace::write_whole;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Emulated, the probe needs 0.2 s.
const PROBE_LIMIT: Duration = Duration::from_secs(4);
const KVM_DEVICE: &str = "/dev/kvm";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    Kvm,
    /// Emulation with a thread per CPU.
    TcgMulti,
    /// Emulation with the CPUs in turn and time that counts instructions.
    TcgIcount,
}

impl Accelerator {
    /// QEMU's arguments.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm"],
            Self::TcgMulti => &["-accel", "tcg,thread=multi"],
            Self::TcgIcount => &[
                "-accel",
                "tcg",
                "-icount",
                "shift=1,sleep=off",
                "-rtc",
                "base=2026-01-01T00:00:00,clock=vm",
            ],
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::TcgMulti => "emulation, a thread per CPU",
            Self::TcgIcount => "emulation, counting instructions",
        })
    }
}

/// An accelerator and why it was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    pub accelerator: Accelerator,
    pub reason: String,
}

/// Whether KVM can run a guest, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kvm {
    Works,
    Fails(String),
}

/// Takes the accelerator that is wanted. `state` is where the probe's result is kept until the next boot.
/// Fails when KVM is demanded and does not work.
pub fn choose(wanted: Accel, virtual_time: bool, qemu: &Qemu, state: &Path) -> Result<Choice> {
    let choice = |accelerator, reason: &str| Ok(Choice { accelerator, reason: reason.to_owned() });
    if virtual_time {
        return choice(Accelerator::TcgIcount, "virtual time");
    }
    if wanted == Accel::Tcg {
        return choice(Accelerator::TcgMulti, "as configured");
    }
    match (probe_once(qemu, state)?, wanted) {
        (Kvm::Works, _) => choice(Accelerator::Kvm, "KVM runs a guest"),
        (Kvm::Fails(why), Accel::Kvm) => {
            bail!("KVM was asked for, but {why}. Leave `--accel` out to use emulation instead.")
        }
        (Kvm::Fails(why), _) => choice(Accelerator::TcgMulti, &why),
    }
}

/// The result of a probe and what it is valid for.
#[derive(Serialize, Deserialize)]
struct Known {
    key: String,
    kvm: Kvm,
}

fn probe_once(qemu: &Qemu, state: &Path) -> Result<Kvm> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let key = format!("{} {:?} {} {:?}", boot.trim(), device(), qemu.description, qemu.path);
    let cache = state.join("kvm.json");
    let known = fs::read(&cache).ok().and_then(|text| serde_json::from_slice::<Known>(&text).ok());
    if let Some(known) = known.filter(|known| known.key == key) {
        return Ok(known.kvm);
    }
    let kvm = probe(qemu, Path::new(KVM_DEVICE), PROBE_LIMIT)?;
    write_whole(&cache, &serde_json::to_vec(&Known { key, kvm: kvm.clone() })?)?;
    Ok(kvm)
}

/// Whether the device can be opened: access may be granted while the machine is up.
fn device() -> Option<std::io::ErrorKind> {
    open(Path::new(KVM_DEVICE)).err().map(|error| error.kind())
}

fn open(device: &Path) -> std::io::Result<fs::File> {
    fs::File::options().read(true).write(true).open(device)
}

fn probe(qemu: &Qemu, device: &Path, limit: Duration) -> Result<Kvm> {
    let shown = device.display();
    match open(device) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Kvm::Fails(format!("there is no {shown}")));
        }
        Err(error) => return Ok(Kvm::Fails(format!("{shown} cannot be opened ({error})"))),
    }
    let image = tempfile::NamedTempFile::new()?;
    fs::write(image.path(), probe_image::elf())?;
    let mut command = Command::new(&qemu.path);
    command.args(["-accel", "kvm", "-machine", "q35", "-cpu", "max", "-smp", "2", "-m", "64"]);
    command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-kernel"]).arg(image.path());
    let done =
        run_within(&mut command, limit).with_context(|| format!("cannot start {}", qemu.path.display()))?;
    Ok(judge(&done, limit))
}

fn judge(done: &Finished, limit: Duration) -> Kvm {
    let Some(status) = done.status else {
        return Kvm::Fails(format!("a guest under KVM hangs (nothing within {} s)", limit.as_secs_f32()));
    };
    if status.code() == Some((i32::from(probe_image::PASSED) << 1) | 1) {
        return Kvm::Works;
    }
    let complaint =
        done.stderr.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("without a word");
    // "qemu-system-x86_64: error: failed to …"
    let complaint = complaint.rsplit(": ").next().unwrap_or(complaint);
    Kvm::Fails(format!("a guest under KVM ends QEMU with {status}: {complaint}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fake;

    /// Probes with a QEMU that is this shell script; the device is any file that can be opened.
    fn probed(script: &str) -> Kvm {
        let fake = fake::Qemu::new(script);
        let device = tempfile::NamedTempFile::new().expect("a file");
        probe(&fake.qemu(), device.path(), Duration::from_millis(700)).expect("the script starts")
    }

    #[test]
    fn a_guest_that_ends_as_it_should_proves_kvm() {
        assert_eq!(probed("exit 85"), Kvm::Works);
    }

    #[test]
    fn a_qemu_that_aborts_is_not_used_with_kvm() {
        let Kvm::Fails(why) = probed("echo 'error: failed to set MSR 0x1' >&2; kill -ABRT $$") else {
            panic!("an abort is no success");
        };
        assert!(why.contains("failed to set MSR 0x1") && why.contains("SIGABRT"), "{why}");
    }

    #[test]
    fn a_guest_that_hangs_is_given_up() {
        let Kvm::Fails(why) = probed("sleep 100") else { panic!("a hang is no success") };
        assert!(why.contains("hangs"), "{why}");
    }

    #[test]
    fn without_a_device_nothing_is_started() {
        let fake = fake::Qemu::new("exit 85");
        let kvm =
            probe(&fake.qemu(), Path::new("/nonexistent/kvm"), Duration::from_secs(1)).expect("no start");
        assert_eq!(kvm, Kvm::Fails("there is no /nonexistent/kvm".into()));
    }
}
