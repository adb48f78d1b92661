//! Making, moving and removing names. All file systems of Tine are read-only, so that each call ends with an error, the one
//! that Linux gives.

use super::start;
use crate::errno::Errno;
use crate::task::Current;
use crate::user;
use linux_raw_sys::general::{AT_FDCWD, AT_REMOVEDIR, RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT};

/// For a call that makes a name.
fn make(current: &Current, directory: i32, path: u64) -> Result<u64, Errno> {
    let path = user::read_path(path)?;
    let target = start(current, directory, &path)?.resolve_target(&path)?.ok_or(Errno::EEXIST)?;
    match target.directory.child(target.name) {
        Ok(_) => Err(Errno::EEXIST),
        Err(Errno::ENOENT) => Err(Errno::EROFS),
        Err(error) => Err(error),
    }
}

/// For a call that takes a name away. `fixed` is the error for `/`, `.` and `..`.
fn remove(current: &Current, directory: i32, path: u64, fixed: Errno) -> Result<u64, Errno> {
    let path = user::read_path(path)?;
    start(current, directory, &path)?.resolve_target(&path)?.ok_or(fixed)?;
    Err(Errno::EROFS)
}

pub fn mkdir(current: &Current, path: u64, _mode: u32) -> Result<u64, Errno> {
    make(current, AT_FDCWD, path)
}

pub fn mkdirat(current: &Current, directory: i32, path: u64, _mode: u32) -> Result<u64, Errno> {
    make(current, directory, path)
}

pub fn symlink(current: &Current, target: u64, path: u64) -> Result<u64, Errno> {
    symlinkat(current, target, AT_FDCWD, path)
}

pub fn symlinkat(current: &Current, target: u64, directory: i32, path: u64) -> Result<u64, Errno> {
    if user::read_path(target)?.is_empty() {
        return Err(Errno::ENOENT);
    }
    make(current, directory, path)
}

pub fn link(current: &Current, from: u64, to: u64) -> Result<u64, Errno> {
    linkat(current, AT_FDCWD, from, AT_FDCWD, to, 0)
}

pub fn linkat(
    current: &Current,
    from_directory: i32,
    from: u64,
    to_directory: i32,
    to: u64,
    flags: u32,
) -> Result<u64, Errno> {
    use linux_raw_sys::general::{AT_EMPTY_PATH, AT_SYMLINK_FOLLOW};
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = user::read_path(from)?;
    if !path.is_empty() || flags & AT_EMPTY_PATH == 0 {
        super::resolve(current, from_directory, &path, super::last_link(flags & AT_SYMLINK_FOLLOW == 0))?;
    }
    make(current, to_directory, to)
}

pub fn unlink(current: &Current, path: u64) -> Result<u64, Errno> {
    remove(current, AT_FDCWD, path, Errno::EISDIR)
}

pub fn rmdir(current: &Current, path: u64) -> Result<u64, Errno> {
    remove(current, AT_FDCWD, path, Errno::EBUSY)
}

pub fn unlinkat(current: &Current, directory: i32, path: u64, flags: u32) -> Result<u64, Errno> {
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    remove(current, directory, path, if flags == 0 { Errno::EISDIR } else { Errno::EBUSY })
}

pub fn rename(current: &Current, from: u64, to: u64) -> Result<u64, Errno> {
    renameat2(current, AT_FDCWD, from, AT_FDCWD, to, 0)
}

pub fn renameat(
    current: &Current,
    from_directory: i32,
    from: u64,
    to_directory: i32,
    to: u64,
) -> Result<u64, Errno> {
    renameat2(current, from_directory, from, to_directory, to, 0)
}

pub fn renameat2(
    current: &Current,
    from_directory: i32,
    from: u64,
    to_directory: i32,
    to: u64,
    flags: u32,
) -> Result<u64, Errno> {
    let replaces = flags & (RENAME_NOREPLACE | RENAME_WHITEOUT) == 0;
    if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) != 0
        || flags & RENAME_EXCHANGE != 0 && !replaces
    {
        return Err(Errno::EINVAL);
    }
    match remove(current, from_directory, from, Errno::EBUSY) {
        Err(Errno::EROFS) => remove(current, to_directory, to, Errno::EBUSY),
        outcome => outcome,
    }
}
