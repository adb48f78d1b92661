//! Who a process is, and what it may do with files (man 7 credentials, man 7 path_resolution, "Permissions").
//!
//! There are no capabilities: effective user 0 has all, everybody else none.

use super::{Kind, Metadata};
use crate::errno::Errno;
use alloc::sync::Arc;

/// The three identities that calls set and ask for. For files the effective one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ids {
    pub real: u32,
    pub effective: u32,
    pub saved: u32,
    /// For access to files: follows the effective one unless `setfsuid` says otherwise.
    pub file: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Credentials {
    pub user: Ids,
    pub group: Ids,
    /// The supplementary groups.
    pub groups: Arc<[u32]>,
}

/// What is to be done: the bits of `rwx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(u32);

impl Access {
    pub const NONE: Self = Self(0);
    pub const READ: Self = Self(4);
    pub const WRITE: Self = Self(2);
    /// For a directory: to go through it.
    pub const EXECUTE: Self = Self(1);

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Credentials {
    /// Whether it has the rights of user 0.
    pub fn is_root(&self) -> bool {
        self.user.effective == 0
    }

    /// Whether access to files is that of user 0.
    fn overrides(&self) -> bool {
        self.user.file == 0
    }

    pub fn is_in_group(&self, group: u32) -> bool {
        self.group.file == group || self.groups.contains(&group)
    }

    /// Whether it may change the attributes of such a file.
    pub fn owns(&self, metadata: &Metadata) -> bool {
        self.overrides() || self.user.file == metadata.owner
    }

    /// The same, with the real identities in place of the effective ones, as `access` asks.
    pub fn as_real(&self) -> Self {
        let real = |ids: Ids| Ids { file: ids.real, ..ids };
        Self { user: real(self.user), group: real(self.group), groups: self.groups.clone() }
    }

    /// # Errors
    /// `EACCES`.
    pub fn check(&self, metadata: &Metadata, access: Access) -> Result<(), Errno> {
        let granted = if self.overrides() {
            // Everything, but to execute what nobody may execute.
            let executable = metadata.kind == Kind::Directory || metadata.permissions & 0o111 != 0;
            if executable { 7 } else { 6 }
        } else if self.user.file == metadata.owner {
            metadata.permissions >> 6
        } else if self.is_in_group(metadata.group) {
            metadata.permissions >> 3
        } else {
            metadata.permissions
        };
        if access.0 & !granted == 0 { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// Whether it may take the file `of` out of `directory`: where that is sticky, only the owner of one of them.
    ///
    /// # Errors
    /// `EACCES`, `EPERM`.
    pub fn check_removal(&self, directory: &Metadata, of: &Metadata) -> Result<(), Errno> {
        const STICKY: u32 = 0o1000;
        self.check(directory, Access::WRITE.and(Access::EXECUTE))?;
        if directory.permissions & STICKY == 0 || self.owns(of) || self.owns(directory) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }
}
