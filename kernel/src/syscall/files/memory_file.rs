//! Files without a name (man 2 memfd_create), and what can be sealed of them (man 2 fcntl).

use crate::errno::Errno;
use crate::fs::tmpfs::{Node, Seals};
use crate::fs::{self, Description};
use crate::task::Current;
use crate::user;
use alloc::format;
use linux_raw_sys::general::{
    MFD_ALLOW_SEALING, MFD_CLOEXEC, MFD_EXEC, MFD_NOEXEC_SEAL, O_LARGEFILE, O_RDWR,
};

/// The longest name, which comes after `memfd:` in a name of at most 255 bytes.
const LONGEST_NAME: usize = 249;

pub fn memfd_create(current: &Current, name: u64, flags: u32) -> Result<u64, Errno> {
    const KNOWN: u32 = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC | MFD_NOEXEC_SEAL;
    if flags & !KNOWN != 0 || flags & MFD_EXEC != 0 && flags & MFD_NOEXEC_SEAL != 0 {
        return Err(Errno::EINVAL);
    }
    let name = user::read_string(name, LONGEST_NAME + 1, Errno::EINVAL)?;
    let path = format!("/memfd:{} (deleted)", alloc::string::String::from_utf8_lossy(&name));
    let (permissions, seals) = match (flags & MFD_NOEXEC_SEAL != 0, flags & MFD_ALLOW_SEALING != 0) {
        (true, _) => (0o666, Seals::EXECUTE),
        (false, true) => (0o777, Seals::empty()),
        (false, false) => (0o777, Seals::SEALED),
    };
    let who = super::credentials(current);
    let node = Node::nameless(&path, permissions, (who.user.file, who.group.file), seals);
    let description = Description::nameless(node, path, O_RDWR | O_LARGEFILE)?;
    Ok(current.task.process.files().insert(description, 0, flags & MFD_CLOEXEC != 0)? as u64)
}

/// `F_GET_SEALS`.
///
/// # Errors
/// `EINVAL` for a file that has none.
pub fn get_seals(description: &Description) -> Result<u64, Errno> {
    let node = fs::downcast::<Node>(description).ok_or(Errno::EINVAL)?;
    Ok(node.content().ok_or(Errno::EINVAL)?.seals().bits().into())
}

/// `F_ADD_SEALS`.
///
/// # Errors
/// `EINVAL` for unknown seals; `EPERM` when the file is sealed against seals, or not open for writing.
pub fn add_seals(description: &Description, seals: u32) -> Result<u64, Errno> {
    let node = fs::downcast::<Node>(description).ok_or(Errno::EINVAL)?;
    let content = node.content().ok_or(Errno::EINVAL)?;
    if !description.is_writable() {
        return Err(Errno::EPERM);
    }
    content.add_seals(Seals::from_bits(seals).ok_or(Errno::EINVAL)?)?;
    Ok(0)
}
