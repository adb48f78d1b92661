//! Files as exec needs them.

use super::{Dentry, Kind};
use crate::errno::Errno;
use alloc::{string::String, sync::Arc};
use mm::{Object, PAGE};

/// A file that may be executed.
pub struct Program {
    /// Its pages, to be mapped and looked at.
    pub object: Arc<Object>,
    /// The length in bytes.
    pub len: u64,
    /// The absolute path, without symbolic links.
    pub path: String,
}

impl Program {
    /// Takes the file at `dentry` as a program.
    ///
    /// # Errors
    /// `EACCES` for anything but a regular file with an execute bit (man 2 execve), and what opening it gives.
    pub fn open(dentry: &Arc<Dentry>) -> Result<Self, Errno> {
        let metadata = dentry.inode().metadata();
        if metadata.kind != Kind::Regular || metadata.permissions & 0o111 == 0 {
            return Err(Errno::EACCES);
        }
        let object = dentry.inode().clone().open()?.object().ok_or(Errno::EACCES)?;
        Ok(Self { object, len: metadata.len, path: dentry.path() })
    }

    /// Reads from `offset` on, until `to` is full or the file ends. Returns how many bytes that were.
    ///
    /// # Errors
    /// `ENOMEM` when there is no memory for the file's pages.
    pub fn read(&self, offset: u64, to: &mut [u8]) -> Result<usize, Errno> {
        let wanted = self.len.saturating_sub(offset).min(to.len() as u64) as usize;
        let mut done = 0;
        while done < wanted {
            let at = offset + done as u64;
            let within = at as usize % PAGE;
            let now = (PAGE - within).min(wanted - done);
            self.object.page(at / PAGE as u64)?.read(within, &mut to[done..done + now]);
            done += now;
        }
        Ok(done)
    }
}
