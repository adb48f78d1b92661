//! What `--with` takes from the host: programs with all that they need, data files, directories.
//!
//! Everything goes to the same place in the guest that it has on the host, symbolic links included. [`Tree`] is what goes where;
//! what a program needs besides itself, [`needs`] finds out.

mod libraries;
mod needs;
mod packages;
mod tree;

pub use tree::{Node, Tree};

use crate::setup::qemu::in_path;
use anyhow::{Context, Result, bail};
use needs::{Needs, Strictness};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Symbolic links that merged directories have left behind.
const TOP_LINKS: [&str; 3] = ["/sbin", "/lib", "/lib64"];

/// What was taken, ready to be packed.
#[derive(Clone, Debug, Default)]
pub struct HostFiles {
    pub tree: Tree,
    /// The files that can be run by their last name alone: those that were asked for.
    programs: Vec<PathBuf>,
    /// Whose needs have been looked at.
    seen: BTreeSet<PathBuf>,
}

impl HostFiles {
    /// Takes each of `wanted`: the name of a program in PATH, or a path.
    ///
    /// # Errors
    /// A sentence that says which one the host does not have, or what it lacks to run.
    pub fn take(wanted: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        let mut files = Self::default();
        for wanted in wanted {
            let wanted = wanted.as_ref();
            files.take_one(wanted).with_context(|| format!("--with {wanted}"))?;
        }
        // Programs and scripts say `/sbin` and `/lib` for what is elsewhere.
        let links = TOP_LINKS.map(Path::new).into_iter().filter(|link| link.is_symlink());
        for link in links.filter(|_| !files.programs.is_empty()) {
            files.tree.insert_link(link)?;
        }
        Ok(files)
    }

    /// As [`Self::take`], one more.
    pub fn take_one(&mut self, wanted: &str) -> Result<()> {
        let path = find(wanted)?;
        if path.is_dir() {
            return self.directory(&path);
        }
        self.file(&path, Strictness::Complete)?;
        self.programs.push(path);
        Ok(())
    }

    /// Takes a file, and what it needs.
    fn file(&mut self, path: &Path, strictness: Strictness) -> Result<()> {
        let real = self.tree.insert(path)?;
        if !self.seen.insert(path.to_owned()) {
            return Ok(());
        }
        let Needs { programs, files } = needs::of(path, &real, strictness)?;
        for library in files {
            self.tree.insert(&library)?;
        }
        for program in programs {
            self.file(&program, strictness)?;
        }
        Ok(())
    }

    /// Takes all that is in a directory. Of programs and libraries in it that lack something, nobody says that they will be used.
    fn directory(&mut self, path: &Path) -> Result<()> {
        self.tree.insert(path)?;
        let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.directory(&entry.path())?;
            } else if kind.is_file() {
                self.file(&entry.path(), Strictness::WhatIsThere)?;
            } else if kind.is_symlink() {
                self.tree.insert_link(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Where the guest has a program that was asked for, by its path or by its name.
    pub fn program(&self, name: &str) -> Option<&Path> {
        let whole = name.contains('/').then(|| std::path::absolute(name).ok()).flatten();
        let is_it = |path: &&PathBuf| whole.as_ref().map_or(path.ends_with(name), |whole| *path == whole);
        self.programs.iter().find(is_it).map(PathBuf::as_path)
    }

    /// The names of all that were asked for.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.programs.iter().filter_map(|path| path.file_name()?.to_str())
    }
}

/// The absolute path of what the user means.
fn find(wanted: &str) -> Result<PathBuf> {
    if wanted.contains('/') {
        let path = std::path::absolute(wanted)?;
        return match path.exists() {
            true => Ok(path),
            false => bail!("there is no {}", path.display()),
        };
    }
    match in_path(wanted) {
        Some(path) => Ok(std::path::absolute(path)?),
        None => bail!("this host has no program `{wanted}`. {}", packages::advice(wanted)),
    }
}

#[cfg(test)]
mod tests;
