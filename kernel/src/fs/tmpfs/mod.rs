//! Files in memory (man 5 tmpfs): the root of the tree, which begins as what is in the initramfs.
//!
//! A [`Node`] is any kind of file. Directories hold names, of nodes and of the roots of other file systems; regular files
//! have their content in pages that can be mapped. When a run is over, [`reset`] makes the tree what it was at the start, so
//! that what a program left behind is not mistaken for a leak.

mod allocate;
mod content;
mod names;
mod origin;

pub use names::adopt;
pub use origin::{reset, seal, trim};

use super::fifo::Fifo;
use super::file::Seeking;
use super::{
    Change, DeviceId, Entry, File, Inode, Kind, Metadata, NewNode, Opening, Readiness, Request, Times,
    UserBuffer, dev,
};
use crate::clock;
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use alloc::{string::String, sync::Arc, sync::Weak, vec::Vec};
pub use allocate::{Allocation, allocate};
pub use content::{Content, Seals};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use mm::Object;
use names::Names;

/// As on Linux, the first file system that needs no device.
pub const FILE_SYSTEM: DeviceId = DeviceId::new(0, 2);
/// Files that never had a name: those of `memfd_create`.
const NAMELESS: DeviceId = DeviceId::new(0, 1);

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// A file.
pub struct Node {
    this: Weak<Node>,
    metadata: Lock<Metadata, { rank::FILE }>,
    body: Body,
    /// What it was when the tree was built, if it was there then.
    origin: origin::Origin,
}

enum Body {
    Directory(Names),
    Regular(Content),
    Symlink(String),
    Fifo(Fifo),
    /// A device, or the place of a socket.
    Special,
}

/// The time now, for time stamps.
pub fn now() -> i64 {
    clock::realtime_ns() as i64
}

impl Node {
    fn with(metadata: Metadata, body: Body) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            metadata: Lock::new(metadata),
            body,
            origin: origin::Origin::default(),
        })
    }

    fn metadata_of(new: &NewNode, file_system: DeviceId) -> Metadata {
        let number = NEXT_NUMBER.fetch_add(1, Relaxed);
        let metadata = Metadata::new(new.kind, new.permissions, number, file_system);
        Metadata {
            represents: new.represents,
            owner: new.owner,
            group: new.group,
            len: new.target.len() as u64,
            times: Times::all(now()),
            ..metadata
        }
    }

    /// A file that is in no directory yet. `name` is what maps of its pages are called.
    fn new(new: NewNode, name: &str) -> Arc<Self> {
        let metadata = Self::metadata_of(&new, FILE_SYSTEM);
        let body = match new.kind {
            Kind::Directory => Body::Directory(Names::new()),
            Kind::Regular => Body::Regular(Content::empty(name, Seals::SEALED)),
            Kind::Symlink => Body::Symlink(new.target),
            Kind::Pipe => Body::Fifo(Fifo::new()),
            _ => Body::Special,
        };
        Self::with(metadata, body)
    }

    /// An empty directory of root's, for building the tree.
    pub fn directory(permissions: u32, modified: i64) -> Arc<Self> {
        let number = NEXT_NUMBER.fetch_add(1, Relaxed);
        let metadata = Metadata::new(Kind::Directory, permissions, number, FILE_SYSTEM);
        Self::with(Metadata { times: Times::all(modified), ..metadata }, Body::Directory(Names::new()))
    }

    /// A file of the initramfs.
    pub fn from_archive(path: &str, permissions: u32, modified: i64, bytes: &'static [u8]) -> Arc<Self> {
        let number = NEXT_NUMBER.fetch_add(1, Relaxed);
        let metadata = Metadata::new(Kind::Regular, permissions, number, FILE_SYSTEM);
        let metadata = Metadata { times: Times::all(modified), len: bytes.len() as u64, ..metadata };
        Self::with(metadata, Body::Regular(Content::of_archive(path, bytes)))
    }

    pub fn symlink(target: String, modified: i64) -> Arc<Self> {
        let number = NEXT_NUMBER.fetch_add(1, Relaxed);
        let metadata = Metadata::new(Kind::Symlink, 0o777, number, FILE_SYSTEM);
        let metadata = Metadata { times: Times::all(modified), len: target.len() as u64, ..metadata };
        Self::with(metadata, Body::Symlink(target))
    }

    /// What `memfd_create` makes.
    pub fn nameless(name: &str, permissions: u32, owner: (u32, u32), seals: Seals) -> Arc<Self> {
        let (owner, group) = owner;
        let kind = Kind::Regular;
        let (represents, target) = (DeviceId::NONE, String::new());
        let new = NewNode { kind, permissions, represents, owner, group, target };
        let metadata = Metadata { links: 0, ..Self::metadata_of(&new, NAMELESS) };
        Self::with(metadata, Body::Regular(Content::empty(name, seals)))
    }

    pub fn set_metadata(&self, permissions: u32, modified: i64) {
        let mut metadata = self.metadata.lock();
        metadata.permissions = permissions;
        metadata.times = Times::all(modified);
    }

    fn names(&self) -> Result<&Names, Errno> {
        match &self.body {
            Body::Directory(names) => Ok(names),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// The directory called `name` in this one, while the tree is built.
    pub fn below(&self, name: &str) -> Option<Arc<Self>> {
        let inode = self.names().ok()?.get(name)?;
        let node = Self::of(&inode)?;
        node.names().ok().and_then(|_| node.this.upgrade())
    }

    /// The content, if this is a regular file.
    pub fn content(&self) -> Option<&Content> {
        match &self.body {
            Body::Regular(content) => Some(content),
            _ => None,
        }
    }

    /// Notes a change of the content.
    fn touch(&self) {
        let now = now();
        let mut metadata = self.metadata.lock();
        metadata.times.modified = now;
        metadata.times.changed = now;
    }

    /// Notes that there is a name more, or less.
    fn count_links(&self, change: i32) {
        let mut metadata = self.metadata.lock();
        metadata.links = metadata.links.saturating_add_signed(change);
        metadata.times.changed = now();
    }

    /// The node, if `inode` is one.
    fn of(inode: &Arc<dyn Inode>) -> Option<&Self> {
        let inode: &dyn core::any::Any = &**inode;
        inode.downcast_ref()
    }
}

impl Inode for Node {
    fn metadata(&self) -> Metadata {
        *self.metadata.lock()
    }

    fn lookup(&self, name: &str) -> Result<Arc<dyn Inode>, Errno> {
        self.names()?.get(name).ok_or(Errno::ENOENT)
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        let names = self.names()?.all();
        Ok(names.iter().map(|(name, inode)| Entry::of(name, &**inode)).collect())
    }

    fn read_link(&self) -> Result<String, Errno> {
        match &self.body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn open(self: Arc<Self>) -> Result<Arc<dyn File>, Errno> {
        let metadata = Inode::metadata(&*self);
        match &self.body {
            Body::Regular(_) => Ok(self),
            Body::Special if metadata.kind == Kind::CharDevice => dev::open(metadata),
            _ => Err(Errno::ENXIO),
        }
    }

    fn open_for(self: Arc<Self>, how: &Opening<'_>) -> Result<Arc<dyn File>, Errno> {
        match &self.body {
            Body::Fifo(fifo) => fifo.open(how, Inode::metadata(&*self)),
            _ => self.open(),
        }
    }

    fn create(&self, name: &str, new: NewNode) -> Result<Arc<dyn Inode>, Errno> {
        names::create(self, name, new)
    }

    fn create_unnamed(&self, new: NewNode) -> Result<Arc<dyn Inode>, Errno> {
        let node = Self::new(new, "/tmp/#unnamed (deleted)");
        node.metadata.lock().links = 0;
        Ok(node)
    }

    fn link(&self, name: &str, inode: &Arc<dyn Inode>) -> Result<(), Errno> {
        names::link(self, name, inode)
    }

    fn remove(&self, name: &str, is_directory: bool) -> Result<(), Errno> {
        names::remove(self, name, is_directory)
    }

    fn rename(
        &self,
        name: &str,
        target: &Arc<dyn Inode>,
        new_name: &str,
        exchange: bool,
    ) -> Result<(), Errno> {
        names::rename(self, name, Self::of(target).ok_or(Errno::EXDEV)?, new_name, exchange)
    }

    fn truncate(&self, len: u64) -> Result<(), Errno> {
        content::truncate(self, len)
    }

    fn set_attributes(&self, change: &Change) -> Result<(), Errno> {
        let mut metadata = self.metadata.lock();
        metadata.permissions = change.permissions.unwrap_or(metadata.permissions);
        metadata.owner = change.owner.unwrap_or(metadata.owner);
        metadata.group = change.group.unwrap_or(metadata.group);
        metadata.times.accessed = change.accessed.unwrap_or(metadata.times.accessed);
        metadata.times.modified = change.modified.unwrap_or(metadata.times.modified);
        metadata.times.changed = now();
        Ok(())
    }

    fn check_writable(&self) -> Result<(), Errno> {
        Ok(())
    }
}

/// An open regular file.
impl File for Node {
    fn metadata(&self) -> Metadata {
        Inode::metadata(self)
    }

    fn seeking(&self) -> Seeking {
        Seeking::Possible
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        content::read(self, request.offset, to)
    }

    fn write(&self, request: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        content::write(self, request, from)
    }

    fn readiness(&self) -> Readiness {
        Readiness::READABLE | Readiness::WRITABLE
    }

    fn object(&self) -> Option<Arc<Object>> {
        self.content().map(|content| content.object().clone())
    }

    fn check_mapping(&self, writes: bool, may_write: bool) -> Result<(), Errno> {
        let Some(content) = self.content() else { return Ok(()) };
        if writes {
            content.check_shared_writing()?;
        }
        if may_write {
            content.object().set_changed();
        }
        Ok(())
    }

    fn as_inode(&self) -> Option<Arc<dyn Inode>> {
        self.this.upgrade().map(|this| this as Arc<dyn Inode>)
    }
}
