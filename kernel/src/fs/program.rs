//! Files as exec needs them.

use super::{FsContext, Kind, lookup};
use crate::errno::Errno;
use alloc::{string::String, sync::Arc};
use mm::Object;

/// A file that may be executed.
pub struct Program {
    /// Its pages, to be mapped.
    pub object: Arc<Object>,
    /// Its bytes, to be looked at.
    pub data: &'static [u8],
    /// The absolute path, without symbolic links.
    pub path: String,
}

/// Finds the program at `path`.
///
/// # Errors
/// Those of [`lookup`]; `EACCES` for anything but a regular file with an execute bit (man 2 execve).
pub fn open_program(path: &str, context: &FsContext) -> Result<Program, Errno> {
    let dentry = lookup(path, context)?;
    let metadata = dentry.inode().metadata();
    if metadata.kind != Kind::Regular || metadata.permissions & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    let file = dentry.inode().clone().open()?;
    match (file.object(), file.bytes()) {
        (Some(object), Some(data)) => Ok(Program { object, data, path: dentry.path() }),
        _ => Err(Errno::EACCES),
    }
}
