//! The system calls that execute programs (man 2 execve, execveat).

use crate::errno::Errno;
use crate::fs::{Dentry, LastLink};
use crate::syscall::files;
use crate::task::{self, ArgumentSpace, Current, ExecRequest, Strings};
use crate::user;
use alloc::{format, string::String, sync::Arc};
use linux_raw_sys::general::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, RLIMIT_STACK};

pub fn execve(current: &Current, path: u64, arguments: u64, environment: u64) -> Result<u64, Errno> {
    execveat(current, AT_FDCWD, path, arguments, environment, 0)
}

pub fn execveat(
    current: &Current,
    directory: i32,
    path: u64,
    arguments: u64,
    environment: u64,
    flags: u32,
) -> Result<u64, Errno> {
    if flags & !(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = user::read_path(path)?;
    let program = find(current, directory, &path, flags)?;
    let path_vanishes = !path.starts_with('/') && is_close_on_exec(current, directory);
    let path = name(directory, path);

    let stack_limit = current.task.process.limits.lock().get(RLIMIT_STACK)?.soft;
    let mut space = ArgumentSpace::new(stack_limit);
    space.take(path.len() + 1)?;
    let arguments = Strings::read(arguments, &mut space)?;
    let environment = Strings::read(environment, &mut space)?;
    task::exec(current, ExecRequest { program, path, path_vanishes, arguments, environment, stack_limit })?;
    Err(Errno::KEEP_REGISTERS)
}

/// The file that is meant.
fn find(current: &Current, directory: i32, path: &str, flags: u32) -> Result<Arc<Dentry>, Errno> {
    if path.is_empty() && flags & AT_EMPTY_PATH != 0 {
        return if directory == AT_FDCWD {
            Ok(current.task.process.fs.lock().directory().clone())
        } else {
            files::description(current, directory)?.dentry().cloned().ok_or(Errno::EACCES)
        };
    }
    let keeps = flags & AT_SYMLINK_NOFOLLOW != 0;
    let last_link = if keeps { LastLink::Keep } else { LastLink::Follow };
    let found = files::resolve(current, directory, path, last_link)?;
    if found.inode().kind() == crate::fs::Kind::Symlink { Err(Errno::ELOOP) } else { Ok(found) }
}

/// How the program is named to itself and to the interpreter of a script.
fn name(directory: i32, path: String) -> String {
    match path.as_str() {
        absolute if directory == AT_FDCWD || absolute.starts_with('/') => path,
        "" => format!("/dev/fd/{directory}"),
        relative => format!("/dev/fd/{directory}/{relative}"),
    }
}

fn is_close_on_exec(current: &Current, directory: i32) -> bool {
    current.task.process.files().is_close_on_exec(directory).unwrap_or(false)
}
