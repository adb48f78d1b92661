//! Directories for checks, and who works in them.

use crate::children::in_child;
use anyhow::Context;
use nix::sys::stat::Mode;
use nix::unistd::{self, Gid, Uid, getpid, mkdir};
use std::fs;
use std::path::PathBuf;

/// A directory in `/tmp` that is removed, with all that is in it, when this is dropped.
pub struct Place(pub PathBuf);

impl Place {
    /// Makes one; `name` tells programs apart.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let path = PathBuf::from(format!("/tmp/{name}.{}", getpid()));
        mkdir(&path, Mode::from_bits_truncate(0o755)).context("mkdir")?;
        Ok(Self(path))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file with this content.
    pub fn file(&self, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        fs::write(self.path(name), bytes)?;
        Ok(self.path(name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The error number of a failed call of the standard library.
pub fn number<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// Runs `body` in a child that is this user, in the group of the same number, and in no others.
pub fn as_user(id: u32, body: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    in_child(|| {
        unistd::setgroups(&[])?;
        unistd::setresgid(Gid::from_raw(id), Gid::from_raw(id), Gid::from_raw(id))?;
        unistd::setresuid(Uid::from_raw(id), Uid::from_raw(id), Uid::from_raw(id))?;
        body()
    })
}
