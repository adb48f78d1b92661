//! Things with a place in the tree of names: files, directories, symbolic links, devices.

use super::File;
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
}

/// What `stat` tells about a file. All files belong to root.
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
    /// Seconds since 1970 of the last change of the content.
    pub modified: i64,
}

impl Metadata {
    /// Of a new file without content.
    pub const fn new(kind: Kind, permissions: u32, number: u64, file_system: DeviceId) -> Self {
        let links = if matches!(kind, Kind::Directory) { 2 } else { 1 };
        let represents = DeviceId::NONE;
        Self { kind, permissions, number, file_system, represents, links, len: 0, modified: 0 }
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

/// An object of a file system.
pub trait Inode: Send + Sync {
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

    /// Whether content may be changed: `EROFS` or another reason why not. Devices accept data on any file system.
    fn check_writable(&self) -> Result<(), Errno> {
        Err(Errno::EROFS)
    }
}
