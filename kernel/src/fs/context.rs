//! Where a process is in the tree of names, and how it makes files.

use super::{Dentry, root};
use alloc::sync::Arc;

/// Working directory and file mode creation mask; a child gets a copy.
#[derive(Clone)]
pub struct FsContext {
    directory: Arc<Dentry>,
    umask: u32,
}

impl FsContext {
    /// The root directory, and the usual mask `0o022`.
    pub fn new() -> Self {
        Self { directory: root(), umask: 0o022 }
    }

    pub fn directory(&self) -> &Arc<Dentry> {
        &self.directory
    }

    pub fn set_directory(&mut self, directory: Arc<Dentry>) {
        self.directory = directory;
    }

    pub fn umask(&self) -> u32 {
        self.umask
    }

    /// Sets the mask's permission bits and returns the mask from before (man 2 umask).
    pub fn set_umask(&mut self, mask: u32) -> u32 {
        core::mem::replace(&mut self.umask, mask & 0o777)
    }
}
