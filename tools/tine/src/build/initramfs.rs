//! The archive that QEMU hands to the loader: `kernel`, `bin/<program>`, and what was taken from the host, as a newc cpio.

use super::host_files::{Node, Tree};
use crate::workspace::write_whole;
use anyhow::{Context, Result};
use cpio::newc::{Builder, ModeFileType, trailer};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What goes into an archive.
#[derive(Clone, Copy)]
pub struct Contents<'a> {
    pub kernel: &'a Path,
    /// The user programs by name.
    pub programs: &'a BTreeMap<String, PathBuf>,
    /// What was taken from the host. Where it has a file of a user program's name, that one wins.
    pub host: &'a Tree,
}

/// Writes the archive `to`, unless it is there and was made from the very same files.
pub fn bring_up_to_date(to: &Path, contents: Contents<'_>) -> Result<()> {
    let made_from = to.with_extension("inputs");
    let inputs = inputs(contents)?;
    if to.is_file() && fs::read_to_string(&made_from).is_ok_and(|old| old == inputs) {
        return Ok(());
    }
    write_whole(to, &pack(contents)?)?;
    write_whole(&made_from, inputs.as_bytes())
}

/// How many archives with files of the host are kept.
const KEPT: usize = 8;

/// Finds or makes an archive in `directory` and returns its path. Its name follows from what is in it, so that machines with
/// different files do not disturb each other. Those that have not been used for longest go.
pub fn cached(directory: &Path, contents: Contents<'_>) -> Result<PathBuf> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let mut hasher = DefaultHasher::new();
    inputs(contents)?.hash(&mut hasher);
    let path = directory.join(format!("{:016x}.cpio", hasher.finish()));
    bring_up_to_date(&path, contents)?;
    File::options().append(true).open(&path)?.set_modified(SystemTime::now())?;
    let mut all: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "cpio") {
            all.push((fs::metadata(&path)?.modified()?, path));
        }
    }
    all.sort();
    for (_, old) in all.iter().rev().skip(KEPT) {
        fs::remove_file(old)?;
        fs::remove_file(old.with_extension("inputs"))?;
    }
    Ok(path)
}

/// What changes whenever one of the files does.
fn inputs(contents: Contents<'_>) -> Result<String> {
    let Contents { kernel, programs, host } = contents;
    let mut text = String::new();
    let of_host = host.iter().filter_map(|(_, node)| match node {
        Node::File(path, _) => Some(path.as_path()),
        _ => None,
    });
    for path in std::iter::once(kernel).chain(programs.values().map(PathBuf::as_path)).chain(of_host) {
        let metadata = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        text += &format!("{} {} {:?}\n", path.display(), metadata.len(), metadata.modified()?);
    }
    for (path, node) in host.iter() {
        text += &format!("{} {node:?}\n", path.display());
    }
    Ok(text)
}

/// Packs the kernel, the programs, and what was taken from the host.
fn pack(contents: Contents<'_>) -> Result<Vec<u8>> {
    let Contents { kernel, programs, host } = contents;
    let mut archive = Archive::default();
    archive.file("kernel", 0o755, &read(kernel)?)?;
    archive.directory("bin", 0o755)?;
    for (name, path) in programs {
        archive.file(&format!("bin/{name}"), 0o755, &read(path)?)?;
    }
    for (path, node) in host.iter() {
        let name = path.to_str().with_context(|| format!("{}: not UTF-8", path.display()))?;
        let name = name.trim_start_matches('/');
        match node {
            Node::Directory(_) if name == "bin" => {}
            Node::Directory(mode) => archive.directory(name, *mode)?,
            Node::File(from, mode) => archive.file(name, *mode, &read(from)?)?,
            Node::Symlink(target) => {
                archive.entry(name, ModeFileType::Symlink, 0o777, target.as_os_str().as_encoded_bytes())?;
            }
        }
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
    fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.entry(name, ModeFileType::Regular, mode, content)
    }

    fn directory(&mut self, name: &str, mode: u32) -> Result<()> {
        self.entry(name, ModeFileType::Directory, mode, &[])
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
    use crate::build::host_files::HostFiles;
    use std::io::Read;
    use std::sync::LazyLock;

    static NOTHING: (BTreeMap<String, PathBuf>, LazyLock<Tree>) =
        (BTreeMap::new(), LazyLock::new(Tree::default));

    /// An archive with nothing but a kernel in it.
    fn only(kernel: &Path) -> Contents<'_> {
        Contents { kernel, programs: &NOTHING.0, host: &NOTHING.1 }
    }

    #[test]
    fn archives_with_files_of_the_host_are_kept_and_old_ones_go() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (kernel, data) = (directory.path().join("kernel"), directory.path().join("data"));
        fs::write(&kernel, "kernel").expect("a file");
        let archive = |text: &str| {
            if fs::read_to_string(&data).ok().as_deref() != Some(text) {
                fs::write(&data, text).expect("a file");
            }
            let files = HostFiles::take([data.to_str().expect("a path")]).expect("taken");
            let contents = Contents { host: &files.tree, ..only(&kernel) };
            cached(&directory.path().join("kept"), contents).expect("an archive")
        };
        let first = archive("x");
        assert_eq!(archive("x"), first);
        for len in 2..20 {
            assert!(archive(&"x".repeat(len)).exists());
        }
        assert!(!first.exists());
        assert_eq!(fs::read_dir(directory.path().join("kept")).expect("a directory").count(), 2 * KEPT);
    }

    #[test]
    fn the_archive_follows_its_files() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (kernel, archive) = (directory.path().join("kernel"), directory.path().join("a.cpio"));
        let contents = |text: &str| {
            fs::write(&kernel, text).expect("a file");
            bring_up_to_date(&archive, only(&kernel)).expect("an archive");
            fs::read(&archive).expect("the archive")
        };
        let first = contents("one");
        assert_ne!(contents("another"), first);
        let modified = || fs::metadata(&archive).and_then(|it| it.modified()).expect("a time");
        let before = modified();
        bring_up_to_date(&archive, only(&kernel)).expect("an archive");
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
        let archive = pack(Contents { programs: &programs, ..only(&kernel) }).expect("packed");

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
