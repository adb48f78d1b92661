//! Files: the tree of names, open file descriptions, descriptors.
//!
//! Three layers, as in every Unix. An [`Inode`] is a thing with a place in the tree, a [`Dentry`] is that place. A [`File`]
//! is what can be read, written and waited for; pipes are files without an inode. A [`Description`] is one use of a file,
//! with an offset and flags, and a [`FileTable`] gives descriptions the numbers that programs know.
//!
//! The root is a tmpfs that begins as what is in the initramfs, with `/dev`, `/proc` and `/sys` in it. The system calls on files are in
//! [`crate::syscall`].

mod buffer;
mod context;
mod credentials;
mod dentry;
mod description;
mod dev;
mod directory;
mod epoll;
mod event_counter;
mod fifo;
mod file;
mod initramfs;
mod inode;
pub mod locks;
mod pipe;
mod proc;
mod process_file;
mod program;
mod ring;
mod signal_file;
mod symlink;
mod sys;
mod table;
mod text;
mod timer_file;
pub mod tmpfs;
pub mod unix;

pub use buffer::UserBuffer;
pub use context::FsContext;
pub use credentials::{Access, Credentials, Ids};
pub use dentry::{Dentry, LastLink, NAME_MAX, Target};
pub use description::{Description, live_descriptions};
pub use dev::random;
pub use directory::OpenDirectory;
pub use epoll::{Epoll, Trigger};
pub use event_counter::EventCounter;
pub use file::{File, Opening, Readiness, Request, Seeking};
pub use inode::{Change, DeviceId, Entry, Inode, Kind, Metadata, NewNode, Times};
pub use pipe::{Pipe, pipe};
pub use process_file::ProcessFile;
pub use program::Program;
pub use signal_file::{SignalFile, signal_arrived};
pub use table::{FileTable, MAX_DESCRIPTORS};
pub use timer_file::TimerFile;
pub use tmpfs::{reset, trim};

use crate::errno::Errno;
use alloc::sync::Arc;
use spin::Once;

static ROOT: Once<Arc<Dentry>> = Once::new();

/// Builds the tree out of the initramfs, a `newc` cpio archive. Called once, before the first process.
pub fn init(archive: &'static [u8]) {
    ROOT.call_once(|| {
        let root = initramfs::read(archive);
        let shared_memory = tmpfs::Node::directory(0o1777, 0);
        tmpfs::adopt(&root, "dev", dev::directory(shared_memory.clone()));
        tmpfs::adopt(&root, "proc", proc::directory());
        tmpfs::adopt(&root, "sys", sys::directory());
        tmpfs::seal(&[root.clone(), shared_memory]);
        Dentry::root(root)
    });
}

/// What `description` has open, if that is a `T`.
pub fn downcast<T: File>(description: &Description) -> Option<&T> {
    let file: &dyn core::any::Any = &**description.file();
    file.downcast_ref()
}

/// The root directory.
pub fn root() -> Arc<Dentry> {
    ROOT.get().expect("fs::init runs before the first process").clone()
}

/// The file at `path`, symbolic links followed.
///
/// # Errors
/// `ENOENT`, `ENOTDIR`, `ELOOP`, `ENAMETOOLONG` (man 7 path_resolution).
pub fn lookup(path: &str, context: &FsContext) -> Result<Arc<Dentry>, Errno> {
    context.directory().resolve(path, LastLink::Follow, context.credentials())
}
