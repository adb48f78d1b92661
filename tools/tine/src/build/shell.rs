//! BusyBox in the guest, for an interactive shell.

use super::host_files::HostFiles;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// The program that is all of them.
pub const BUSYBOX: &str = "busybox";

/// The shell itself, which BusyBox always has.
pub const SHELL: &str = "sh";

/// Takes the host's BusyBox, with a name in `/bin` for each thing that it can do and that is not there otherwise.
///
/// # Errors
/// A sentence, when the host has none, or one without a shell.
pub fn add(files: &mut HostFiles, has_program: impl Fn(&str) -> bool) -> Result<()> {
    files.take_one(BUSYBOX).context("the shell is BusyBox's")?;
    let busybox = files.program(BUSYBOX).context("what was taken is there")?.to_owned();
    let names = applets(&busybox)?;
    if !names.iter().any(|name| name == SHELL) {
        bail!("{} has no shell", busybox.display());
    }
    for name in names.iter().filter(|name| *name != BUSYBOX && !has_program(name)) {
        files.tree.add_link(&Path::new("/bin").join(name), &busybox);
    }
    Ok(())
}

/// What BusyBox can do, by name.
fn applets(busybox: &Path) -> Result<Vec<String>> {
    let output = Command::new(busybox).arg("--list").output().context("cannot ask BusyBox what it can do")?;
    let names = String::from_utf8_lossy(&output.stdout);
    Ok(names.lines().filter(|name| !name.is_empty()).map(str::to_owned).collect())
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
