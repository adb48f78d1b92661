//! What a program needs besides itself: dynamic linker, shared libraries, the interpreter of a script.
//!
//! Only headers are read; nothing of the host is executed.

use super::find;
use anyhow::{Context, Result, anyhow, bail};
use elb::{Class, Elf, Machine};
use elb_dl::{DependencyTree, DynamicLoader, Libc, glibc, musl};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

const PAGE: u64 = 4096;
/// How much of a script's first line counts, as on Linux.
const FIRST_LINE: usize = 256;
/// Where the dynamic linker finds out which directories have libraries; without it, it knows the usual ones.
const LIBRARY_CACHE: &str = "/etc/ld.so.cache";
/// What the linker of other distributions looks at besides.
const MORE_DIRECTORIES: [&str; 2] = ["/lib64", "/usr/lib64"];

/// What to do about needs that the host cannot meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Fail.
    Complete,
    /// Take what is there.
    WhatIsThere,
}

#[derive(Debug, Default)]
pub struct Needs {
    /// Files that may have needs themselves.
    pub programs: Vec<PathBuf>,
    /// Files that are needed as they are.
    pub files: Vec<PathBuf>,
}

/// What the file at `path`, without symbolic links `real`, needs to be run.
pub fn of(path: &Path, real: &Path, strictness: Strictness) -> Result<Needs> {
    let mut start = Vec::new();
    let file = File::open(real).with_context(|| format!("cannot read {}", path.display()))?;
    file.take(FIRST_LINE as u64).read_to_end(&mut start)?;
    let found = if start.starts_with(b"\x7fELF") {
        libraries(real)
    } else if let Some(line) = start.strip_prefix(b"#!") {
        interpreters(line)
    } else {
        Ok(Needs::default())
    };
    match (found, strictness) {
        (Err(_), Strictness::WhatIsThere) => Ok(Needs::default()),
        (found, _) => found.with_context(|| format!("{}", path.display())),
    }
}

/// The program that reads a script with this first line; with `env`, also the one that `env` looks for.
fn interpreters(line: &[u8]) -> Result<Needs> {
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace();
    let interpreter = words.next().context("it begins with `#!` and names no interpreter")?;
    if interpreter.starts_with("/proc/") {
        // Whoever executes it.
        return Ok(Needs::default());
    }
    let mut programs = vec![find(interpreter)?];
    if Path::new(interpreter).file_name().is_some_and(|name| name == "env") {
        let program = words.find(|word| !word.starts_with('-') && !word.contains('='));
        programs.extend(program.map(find).transpose()?);
    }
    Ok(Needs { programs, ..Needs::default() })
}

/// The dynamic linker and all libraries, those of libraries included.
fn libraries(program: &Path) -> Result<Needs> {
    let Some(elf) = read(program)? else { return Ok(Needs::default()) };
    let loader = loader(&elf)?;
    let mut tree = DependencyTree::new();
    let mut files = Vec::new();
    let mut queue = VecDeque::from([program.to_owned()]);
    while let Some(file) = queue.pop_front() {
        let found = loader.resolve_dependencies(&file, &mut tree).map_err(|error| match error {
            elb_dl::Error::FailedToResolve(library, by) => {
                anyhow!(
                    "{} needs the library {}, which is not there",
                    by.display(),
                    library.to_string_lossy()
                )
            }
            error => error.into(),
        })?;
        files.extend(found.iter().cloned());
        queue.extend(found);
    }
    if !files.is_empty() && Path::new(LIBRARY_CACHE).exists() {
        files.push(LIBRARY_CACHE.into());
    }
    Ok(Needs { files, ..Needs::default() })
}

/// What of an ELF file tells how it is linked.
struct Linking {
    interpreter: Option<PathBuf>,
}

/// `None` for object files and the like, which need nothing.
fn read(program: &Path) -> Result<Option<Linking>> {
    let mut file = File::open(program)?;
    let elf = Elf::read_unchecked(&mut file, PAGE)?;
    if elf.header.class != Class::Elf64 || elf.header.machine != Machine::X86_64 {
        bail!("it is not for x86-64");
    }
    let interpreter = elf.read_interpreter(&mut file)?;
    let interpreter = interpreter.map(|name| PathBuf::from(OsString::from_vec(name.into_bytes())));
    Ok(elf.read_dynamic_table(&mut file)?.map(|_| Linking { interpreter }))
}

/// Looks for libraries as the program's own dynamic linker does.
fn loader(linking: &Linking) -> Result<DynamicLoader> {
    let name = linking.interpreter.as_deref().and_then(Path::file_name).unwrap_or_default();
    let options = DynamicLoader::options();
    let options = if name.to_string_lossy().starts_with("ld-musl") {
        options.libc(Libc::Musl).search_dirs(musl::get_search_dirs("/", "x86_64")?)
    } else {
        let mut directories = glibc::get_search_dirs("/")?;
        directories.extend(MORE_DIRECTORIES.map(PathBuf::from));
        options.libc(Libc::Glibc).search_dirs(directories)
    };
    Ok(options.new_loader())
}
