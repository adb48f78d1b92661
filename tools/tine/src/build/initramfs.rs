//! The archive that QEMU hands to the loader: `kernel` and `bin/<program>`, as a newc cpio.

use crate::workspace::write_whole;
use anyhow::{Context, Result};
use cpio::newc::{Builder, ModeFileType, trailer};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes the archive `to`, unless it is there and was made from the very same files.
pub fn bring_up_to_date(to: &Path, kernel: &Path, programs: &BTreeMap<String, PathBuf>) -> Result<()> {
    let made_from = to.with_extension("inputs");
    let inputs = inputs(kernel, programs)?;
    if to.is_file() && fs::read_to_string(&made_from).is_ok_and(|old| old == inputs) {
        return Ok(());
    }
    write_whole(to, &pack(kernel, programs)?)?;
    write_whole(&made_from, inputs.as_bytes())
}

/// What changes whenever one of the files does.
fn inputs(kernel: &Path, programs: &BTreeMap<String, PathBuf>) -> Result<String> {
    let mut text = String::new();
    for path in std::iter::once(kernel).chain(programs.values().map(PathBuf::as_path)) {
        let metadata = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        text += &format!("{} {} {:?}\n", path.display(), metadata.len(), metadata.modified()?);
    }
    Ok(text)
}

/// Packs the kernel and the programs.
fn pack(kernel: &Path, programs: &BTreeMap<String, PathBuf>) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.file("kernel", &read(kernel)?)?;
    archive.directory("bin")?;
    for (name, path) in programs {
        archive.file(&format!("bin/{name}"), &read(path)?)?;
    }
    archive.finish()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.entry(name, ModeFileType::Regular, 0o755, content)
    }

    fn directory(&mut self, name: &str) -> Result<()> {
        self.entry(name, ModeFileType::Directory, 0o755, &[])
    }

    fn entry(&mut self, name: &str, kind: ModeFileType, mode: u32, content: &[u8]) -> Result<()> {
        let size = u32::try_from(content.len()).with_context(|| format!("`{name}` has 4 GiB or more"))?;
        self.entries += 1;
        let builder = Builder::new(name).ino(self.entries).nlink(1).mode(mode).set_mode_file_type(kind);
        let mut writer = builder.write(std::mem::take(&mut self.bytes), size);
        writer.write_all(content)?;
        self.bytes = writer.finish()?;
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>> {
        Ok(trailer(self.bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_archive_follows_its_files() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (kernel, archive) = (directory.path().join("kernel"), directory.path().join("a.cpio"));
        let contents = |text: &str| {
            fs::write(&kernel, text).expect("a file");
            bring_up_to_date(&archive, &kernel, &BTreeMap::new()).expect("an archive");
            fs::read(&archive).expect("the archive")
        };
        let first = contents("one");
        assert_ne!(contents("another"), first);
        let modified = || fs::metadata(&archive).and_then(|it| it.modified()).expect("a time");
        let before = modified();
        bring_up_to_date(&archive, &kernel, &BTreeMap::new()).expect("an archive");
        assert_eq!(modified(), before, "nothing changed, so it was not written again");
    }

    #[test]
    fn the_archive_holds_the_kernel_first_and_each_program_whole() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = |name: &str, content: &[u8]| {
            let path = directory.path().join(name);
            fs::write(&path, content).expect("a temporary file");
            path
        };
        let kernel = file("tine-kernel", b"\x7fELF kernel");
        let programs =
            BTreeMap::from([("b".to_owned(), file("b", b"odd")), ("a".to_owned(), file("a", b""))]);
        let archive = pack(&kernel, &programs).expect("packed");

        let mut found = Vec::new();
        let mut rest = archive.as_slice();
        loop {
            let mut reader = cpio::newc::Reader::new(rest).expect("an entry");
            if reader.entry().is_trailer() {
                break;
            }
            let mut content = Vec::new();
            reader.read_to_end(&mut content).expect("content");
            found.push((reader.entry().name().to_owned(), reader.entry().mode(), content));
            rest = reader.finish().expect("next entry");
        }
        let expected: [(&str, u32, &[u8]); 4] = [
            ("kernel", 0o100755, b"\x7fELF kernel"),
            ("bin", 0o040755, b""),
            ("bin/a", 0o100755, b""),
            ("bin/b", 0o100755, b"odd"),
        ];
        assert_eq!(found.len(), expected.len());
        for ((name, mode, content), (its_name, its_mode, its_content)) in found.iter().zip(expected) {
            assert_eq!((name.as_str(), *mode, content.as_slice()), (its_name, its_mode, its_content));
        }
    }
}
