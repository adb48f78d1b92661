//! Where a process is in the tree of names, and how it makes files.

use super::{Credentials, Dentry, root};
use alloc::sync::Arc;

/// Working directory, file mode creation mask, and who the process is; a child gets a copy.
#[derive(Clone)]
pub struct FsContext {
    directory: Arc<Dentry>,
    umask: u32,
    credentials: Arc<Credentials>,
}

impl FsContext {
    /// The root directory, the usual mask `0o022`, user 0.
    pub fn new() -> Self {
        Self { directory: root(), umask: 0o022, credentials: Arc::default() }
    }

    pub fn directory(&self) -> &Arc<Dentry> {
        &self.directory
    }

    /// Returns the old one.
    pub fn set_directory(&mut self, directory: Arc<Dentry>) -> Arc<Dentry> {
        core::mem::replace(&mut self.directory, directory)
    }

    pub fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    pub fn set_credentials(&mut self, credentials: Credentials) {
        self.credentials = Arc::new(credentials);
    }

    pub fn umask(&self) -> u32 {
        self.umask
    }

    /// Sets the mask's permission bits and returns the mask from before (man 2 umask).
    pub fn set_umask(&mut self, mask: u32) -> u32 {
        core::mem::replace(&mut self.umask, mask & 0o777)
    }
}
