//! Directories: those whose content is fixed when the tree is built, and any directory once it is open.

use super::file::Seeking;
use super::{Dentry, Entry, File, Inode, Kind, Metadata};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use alloc::{borrow::ToOwned, collections::BTreeMap, string::String, sync::Arc, vec::Vec};

/// A directory whose names do not change.
pub struct Directory {
    metadata: Metadata,
    children: BTreeMap<String, Arc<dyn Inode>>,
}

impl Inode for Directory {
    fn metadata(&self) -> Metadata {
        self.metadata
    }

    fn lookup(&self, name: &str) -> Result<Arc<dyn Inode>, Errno> {
        self.children.get(name).cloned().ok_or(Errno::ENOENT)
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        Ok(self.children.iter().map(|(name, inode)| Entry::of(name, &**inode)).collect())
    }
}

impl Entry {
    pub fn of(name: &str, inode: &dyn Inode) -> Self {
        let Metadata { number, kind, .. } = inode.metadata();
        Self { name: name.to_owned(), number, kind }
    }
}

/// A directory that is being built.
pub struct Builder {
    metadata: Metadata,
    children: BTreeMap<String, Child>,
}

enum Child {
    Directory(Builder),
    Other(Arc<dyn Inode>),
}

impl Builder {
    pub fn new(metadata: Metadata) -> Self {
        Self { metadata, children: BTreeMap::new() }
    }

    /// Puts `inode` in, in place of what had that name.
    pub fn insert(&mut self, name: &str, inode: Arc<dyn Inode>) {
        self.children.insert(name.to_owned(), Child::Other(inode));
    }

    /// The directory called `name`, made with `metadata` unless there is one.
    pub fn directory(&mut self, name: &str, metadata: Metadata) -> &mut Self {
        let child =
            self.children.entry(name.to_owned()).or_insert_with(|| Child::Directory(Self::new(metadata)));
        if matches!(child, Child::Other(_)) {
            *child = Child::Directory(Self::new(metadata));
        }
        match child {
            Child::Directory(directory) => directory,
            Child::Other(_) => unreachable!("replaced above"),
        }
    }

    /// The finished directory.
    pub fn build(self) -> Arc<Directory> {
        let mut metadata = self.metadata;
        let children: BTreeMap<_, Arc<dyn Inode>> = self
            .children
            .into_iter()
            .map(|(name, child)| match child {
                Child::Directory(directory) => (name, directory.build() as Arc<dyn Inode>),
                Child::Other(inode) => (name, inode),
            })
            .collect();
        let below = children.values().filter(|inode| inode.kind() == Kind::Directory).count();
        // Its name, its own `.`, and the `..` of each directory in it.
        metadata.links = 2 + below as u32;
        Arc::new(Directory { metadata, children })
    }
}

/// An open directory. Its offsets count entries, `.` and `..` first.
pub struct OpenDirectory {
    dentry: Arc<Dentry>,
    /// The entries as they were when the listing began, so that offsets keep their meaning while names come and go.
    listing: Lock<Arc<Vec<Entry>>, { rank::FILE }>,
}

impl OpenDirectory {
    pub fn new(dentry: Arc<Dentry>) -> Self {
        Self { dentry, listing: Lock::new(Arc::default()) }
    }

    /// Calls `emit` with the entries from `start` on, each with the offset after it, until it refuses one. Returns the
    /// offset of the next entry.
    pub(super) fn list(&self, start: u64, mut emit: impl FnMut(&Entry, u64) -> bool) -> Result<u64, Errno> {
        if start == 0 {
            let fresh = self.snapshot()?;
            *self.listing.lock() = Arc::new(fresh);
        }
        let entries = self.listing.lock().clone();
        let mut next = start;
        while let Some(entry) = usize::try_from(next).ok().and_then(|at| entries.get(at)) {
            if !emit(entry, next + 1) {
                break;
            }
            next += 1;
        }
        Ok(next)
    }

    fn snapshot(&self) -> Result<Vec<Entry>, Errno> {
        let mut entries = alloc::vec![
            Entry::of(".", &**self.dentry.inode()),
            Entry::of("..", &**self.dentry.parent().inode()),
        ];
        entries.extend(self.dentry.inode().entries()?);
        Ok(entries)
    }
}

impl File for OpenDirectory {
    fn metadata(&self) -> Metadata {
        self.dentry.inode().metadata()
    }

    fn seeking(&self) -> Seeking {
        Seeking::Possible
    }

    fn read(&self, _: &super::Request<'_>, _: &mut super::UserBuffer) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn as_directory(&self) -> Option<&OpenDirectory> {
        Some(self)
    }
}
