//! Symbolic links in file systems whose names are fixed.

use super::{DeviceId, Inode, Kind, Metadata};
use crate::errno::Errno;
use alloc::string::String;

/// A symbolic link with a fixed target.
pub struct Symlink {
    metadata: Metadata,
    target: String,
}

impl Symlink {
    pub fn new(target: &str, number: u64, file_system: DeviceId) -> Self {
        let metadata = Metadata::new(Kind::Symlink, 0o777, number, file_system);
        Self { metadata: Metadata { len: target.len() as u64, ..metadata }, target: String::from(target) }
    }
}

impl Inode for Symlink {
    fn metadata(&self) -> Metadata {
        self.metadata
    }

    fn read_link(&self) -> Result<String, Errno> {
        Ok(self.target.clone())
    }
}
