//! What a program needs besides itself: dynamic linker, shared libraries, the interpreter of a script.
//!
//! Only headers are read; nothing of the host is executed.

use super::find;
use super::libraries::{Libraries, Linking};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// How much of a script's first line counts, as on Linux.
const FIRST_LINE: usize = 256;
/// Where the dynamic linker finds out which directories have libraries; without it, it knows the usual ones.
const LIBRARY_CACHE: &str = "/etc/ld.so.cache";

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
    let Some(linking) = Linking::read(program)? else { return Ok(Needs::default()) };
    let mut files = Libraries::of(program, &linking)?.all(program, linking)?;
    if !files.is_empty() && Path::new(LIBRARY_CACHE).exists() {
        files.push(LIBRARY_CACHE.into());
    }
    Ok(Needs { files, ..Needs::default() })
}
