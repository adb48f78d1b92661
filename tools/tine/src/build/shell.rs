//! The guest's archive with BusyBox in it, for an interactive shell.

use super::Guest;
use crate::workspace::write_whole;
use anyhow::{Context, Result, bail};
use cpio::newc::{Builder, ModeFileType, Reader, trailer};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name under which BusyBox is in the guest's `/bin`.
pub const BUSYBOX: &str = "busybox";

/// The shell itself, which BusyBox always has.
pub const SHELL: &str = "sh";

/// The same guest with the host's BusyBox in it, and a name for each thing that it can do.
pub fn add(guest: Guest) -> Result<Guest> {
    let busybox = find()?;
    let applets = applets(&busybox)?;
    let mut archive = without_trailer(&guest.initramfs)?;
    let content = fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    add_entry(&mut archive, BUSYBOX, ModeFileType::Regular, 0o755, &content)?;
    let mut programs = guest.programs;
    for applet in applets.iter().filter(|applet| !programs.contains_key(*applet)) {
        add_entry(&mut archive, applet, ModeFileType::Symlink, 0o777, BUSYBOX.as_bytes())?;
    }
    programs.insert(BUSYBOX.to_owned(), busybox);
    let initramfs = guest.initramfs.with_extension("shell.cpio");
    write_whole(&initramfs, &trailer(archive)?)?;
    Ok(Guest { initramfs, programs, ..guest })
}

/// BusyBox on this host; it must be the one that needs no libraries.
fn find() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(BUSYBOX)).find(|path| path.is_file());
    match found {
        Some(busybox) if is_static(&busybox)? => Ok(busybox),
        Some(busybox) => {
            bail!("{} needs libraries; install the package `busybox-static` instead", busybox.display())
        }
        None => bail!("the shell is BusyBox's, which is not installed: the package is `busybox-static`"),
    }
}

/// Whether an ELF file names no interpreter.
fn is_static(program: &Path) -> Result<bool> {
    const PT_INTERP: u32 = 3;
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let number = |at: usize, len: usize| -> Option<u64> {
        let mut value = [0; 8];
        value[..len].copy_from_slice(bytes.get(at..at + len)?);
        Some(u64::from_le_bytes(value))
    };
    // Elf64_Ehdr: e_phoff, e_phentsize, e_phnum.
    let headers = || {
        let (offset, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        (0..count).map(|index| number((offset + index * size) as usize, 4)).collect::<Option<Vec<_>>>()
    };
    let headers = headers().with_context(|| format!("{} is no program", program.display()))?;
    Ok(!headers.contains(&PT_INTERP.into()))
}

/// What BusyBox can do, by name.
fn applets(busybox: &Path) -> Result<BTreeSet<String>> {
    let output = Command::new(busybox).arg("--list").output().context("cannot ask BusyBox what it can do")?;
    let names = String::from_utf8_lossy(&output.stdout);
    let applets: BTreeSet<String> =
        names.lines().filter(|name| !name.is_empty() && *name != BUSYBOX).map(str::to_owned).collect();
    if !applets.contains(SHELL) {
        bail!("{} has no shell", busybox.display());
    }
    Ok(applets)
}

/// The bytes of an archive up to the entry that ends it.
fn without_trailer(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut file = std::io::Cursor::new(&bytes);
    let end = loop {
        let start = file.stream_position()?;
        let reader = Reader::new(file).with_context(|| format!("{} is damaged", path.display()))?;
        if reader.entry().is_trailer() {
            break start;
        }
        file = reader.finish()?;
    };
    bytes.truncate(end as usize);
    Ok(bytes)
}

fn add_entry(archive: &mut Vec<u8>, name: &str, kind: ModeFileType, mode: u32, content: &[u8]) -> Result<()> {
    let size = u32::try_from(content.len()).with_context(|| format!("`{name}` has 4 GiB or more"))?;
    // Numbers that the entries before do not have.
    let number = u32::try_from(archive.len()).unwrap_or(u32::MAX) | 1 << 30;
    let all = std::mem::take(archive);
    let builder =
        Builder::new(&format!("bin/{name}")).ino(number).nlink(1).mode(mode).set_mode_file_type(kind);
    let mut writer = builder.write(all, size);
    writer.write_all(content)?;
    *archive = writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_program_that_names_an_interpreter_needs_libraries() {
        let this = std::env::current_exe().expect("this program");
        assert!(!is_static(&this).expect("an ELF file"));
        assert!(is_static(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn an_archive_can_be_added_to() {
        let mut archive = Vec::new();
        add_entry(&mut archive, "first", ModeFileType::Regular, 0o755, b"odd").expect("added");
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), trailer(archive).expect("ended")).expect("written");

        let mut archive = without_trailer(file.path()).expect("an archive");
        add_entry(&mut archive, "second", ModeFileType::Symlink, 0o777, b"first").expect("added");
        let archive = trailer(archive).expect("ended");
        let mut found = Vec::new();
        let mut rest = archive.as_slice();
        loop {
            let mut reader = Reader::new(rest).expect("an entry");
            if reader.entry().is_trailer() {
                break;
            }
            let mut content = String::new();
            reader.read_to_string(&mut content).expect("content");
            found.push((reader.entry().name().to_owned(), reader.entry().mode(), content));
            rest = reader.finish().expect("the next entry");
        }
        let expected = [("bin/first", 0o100755, "odd"), ("bin/second", 0o120777, "first")];
        assert_eq!(found, expected.map(|(name, mode, content)| (name.to_owned(), mode, content.to_owned())));
    }
}
