//! Things with a place in the tree of names: files, directories, symbolic links, devices.

use super::{File, Opening};
use crate::errno::Errno;
use alloc::{string::String, sync::Arc, vec::Vec};
use linux_raw_sys::general as linux;

/// The kind of a file (man 7 inode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Regular,
    Directory,
    Symlink,
    CharDevice,
    BlockDevice,
    Pipe,
    Socket,
    /// Something without a kind of its own, such as an event counter.
    Anonymous,
}

impl Kind {
    /// The bits of `S_IFMT`.
    pub const fn mode(self) -> u32 {
        match self {
            Self::Regular => linux::S_IFREG,
            Self::Directory => linux::S_IFDIR,
            Self::Symlink => linux::S_IFLNK,
            Self::CharDevice => linux::S_IFCHR,
            Self::BlockDevice => linux::S_IFBLK,
            Self::Pipe => linux::S_IFIFO,
            Self::Socket => linux::S_IFSOCK,
            Self::Anonymous => 0,
        }
    }

    /// `d_type` of a directory entry: the mode bits shifted down (`dirent.h`, `IFTODT`).
    pub const fn directory_type(self) -> u8 {
        (self.mode() >> 12) as u8
    }
}

/// The number of a device: which one a node stands for, or which one a file system is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceId {
    pub major: u32,
    pub minor: u32,
}

impl DeviceId {
    pub const NONE: Self = Self::new(0, 0);

    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// As `stat` reports it (`linux/kdev_t.h`, `new_encode_dev`).
    pub const fn encode(self) -> u64 {
        let (major, minor) = (self.major as u64, self.minor as u64);
        minor & 0xff | major << 8 | (minor & !0xff) << 12
    }

    /// What [`Self::encode`] made, as `mknod` is given it.
    pub const fn decode(number: u32) -> Self {
        Self::new(number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00)
    }
}

/// When something was done to a file, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub accessed: i64,
    /// The last change of the content.
    pub modified: i64,
    /// The last change of the content or of what `stat` tells.
    pub changed: i64,
}

impl Times {
    pub const fn all(ns: i64) -> Self {
        Self { accessed: ns, modified: ns, changed: ns }
    }
}

/// What `stat` tells about a file.
#[derive(Clone, Copy, Debug)]
pub struct Metadata {
    pub kind: Kind,
    /// The permission bits, set-id and sticky bits, `0o7777`.
    pub permissions: u32,
    /// The inode's number, unique in its file system.
    pub number: u64,
    /// The file system, as a device.
    pub file_system: DeviceId,
    /// The device that a node stands for.
    pub represents: DeviceId,
    pub links: u32,
    /// The length in bytes.
    pub len: u64,
    pub owner: u32,
    pub group: u32,
    pub times: Times,
}

impl Metadata {
    /// Of a new file without content.
    pub const fn new(kind: Kind, permissions: u32, number: u64, file_system: DeviceId) -> Self {
        let links = if matches!(kind, Kind::Directory) { 2 } else { 1 };
        let represents = DeviceId::NONE;
        Self {
            kind,
            permissions,
            number,
            file_system,
            represents,
            links,
            len: 0,
            owner: 0,
            group: 0,
            times: Times::all(0),
        }
    }

    /// `st_mode`.
    pub const fn mode(&self) -> u32 {
        self.kind.mode() | self.permissions
    }
}

/// A name in a directory.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub number: u64,
    pub kind: Kind,
}

/// A file that is to be made.
#[derive(Clone, Debug)]
pub struct NewNode {
    pub kind: Kind,
    pub permissions: u32,
    pub represents: DeviceId,
    pub owner: u32,
    pub group: u32,
    /// Where a symbolic link leads.
    pub target: String,
}

/// New values of attributes; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    pub permissions: Option<u32>,
    pub owner: Option<u32>,
    pub group: Option<u32>,
    pub accessed: Option<i64>,
    pub modified: Option<i64>,
}

/// An object of a file system.
///
/// What changes names and attributes is `EROFS` by default. It is asked only after permissions have been checked.
pub trait Inode: core::any::Any + Send + Sync {
    fn metadata(&self) -> Metadata;

    fn kind(&self) -> Kind {
        self.metadata().kind
    }

    /// The object called `name` in this directory. Never asked for `.` and `..`.
    ///
    /// # Errors
    /// `ENOENT`, or `ENOTDIR` when this is no directory.
    fn lookup(&self, name: &str) -> Result<Arc<dyn Inode>, Errno> {
        let _ = name;
        Err(Errno::ENOTDIR)
    }

    /// What is in this directory, without `.` and `..`.
    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        Err(Errno::ENOTDIR)
    }

    /// Where this symbolic link leads.
    fn read_link(&self) -> Result<String, Errno> {
        Err(Errno::EINVAL)
    }

    /// What an open file description works on. Not asked of directories and symbolic links.
    fn open(self: Arc<Self>) -> Result<Arc<dyn File>, Errno> {
        Err(Errno::ENXIO)
    }

    /// As [`Self::open`], for a file that looks at how it is opened.
    ///
    /// # Errors
    /// `ENXIO`; `RESTART` when a signal ends the wait for the other end.
    fn open_for(self: Arc<Self>, how: &Opening<'_>) -> Result<Arc<dyn File>, Errno> {
        let _ = how;
        self.open()
    }

    /// The place that this link stands for, when it is more than a path: what is open under a descriptor.
    fn follow(&self) -> Option<Result<Arc<super::Dentry>, Errno>> {
        None
    }

    /// Makes `new` in this directory.
    ///
    /// # Errors
    /// `EEXIST`; `ENOENT` in a directory that was removed; `ENOMEM`.
    fn create(&self, name: &str, new: NewNode) -> Result<Arc<dyn Inode>, Errno> {
        let _ = (name, new);
        Err(Errno::EROFS)
    }

    /// Makes a regular file without a name on this directory's file system.
    fn create_unnamed(&self, new: NewNode) -> Result<Arc<dyn Inode>, Errno> {
        let _ = new;
        Err(Errno::EOPNOTSUPP)
    }

    /// Gives `inode` another name, in this directory.
    ///
    /// # Errors
    /// `EEXIST`, `EXDEV`, `ENOENT`.
    fn link(&self, name: &str, inode: &Arc<dyn Inode>) -> Result<(), Errno> {
        let _ = (name, inode);
        Err(Errno::EROFS)
    }

    /// Takes a name away: of a directory if `is_directory`, of something else if not.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `EISDIR`, `ENOTEMPTY`, `EBUSY` for the root of another file system.
    fn remove(&self, name: &str, is_directory: bool) -> Result<(), Errno> {
        let _ = (name, is_directory);
        Err(Errno::EROFS)
    }

    /// Moves `name` to `new_name` in `target`. What has that name there is replaced, or changes places with `exchange`.
    ///
    /// # Errors
    /// Those of man 2 rename that are not about paths.
    fn rename(
        &self,
        name: &str,
        target: &Arc<dyn Inode>,
        new_name: &str,
        exchange: bool,
    ) -> Result<(), Errno> {
        let _ = (name, target, new_name, exchange);
        Err(Errno::EROFS)
    }

    /// Sets the length.
    fn truncate(&self, len: u64) -> Result<(), Errno> {
        let _ = len;
        Err(Errno::EROFS)
    }

    fn set_attributes(&self, change: &Change) -> Result<(), Errno> {
        let _ = change;
        Err(Errno::EROFS)
    }

    /// Whether content may be changed: `EROFS` or another reason why not. Devices accept data on any file system.
    fn check_writable(&self) -> Result<(), Errno> {
        Err(Errno::EROFS)
    }
}
