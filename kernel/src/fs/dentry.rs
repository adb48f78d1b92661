//! Places in the tree of names, and finding them (man 7 path_resolution).

use super::{Access, Credentials, Inode, Kind};
use crate::errno::Errno;
use alloc::{format, string::String, sync::Arc, vec::Vec};

/// The longest name of one file in bytes (`linux/limits.h`).
pub const NAME_MAX: usize = 255;
/// The most symbolic links that are followed on the way to one file (man 7 path_resolution).
const MOST_LINKS: usize = 40;

/// An inode at its place in the tree.
pub struct Dentry {
    name: String,
    inode: Arc<dyn Inode>,
    /// `None` for the root.
    parent: Option<Arc<Dentry>>,
}

/// What to do when the last component of a path is a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLink {
    Follow,
    Keep,
}

/// Where the last component of a path is to be found or made.
pub struct Target<'p> {
    pub directory: Arc<Dentry>,
    pub name: &'p str,
    /// The path ends with a slash: it means a directory.
    pub is_directory: bool,
}

impl Dentry {
    pub fn root(inode: Arc<dyn Inode>) -> Arc<Self> {
        Arc::new(Self { name: String::new(), inode, parent: None })
    }

    /// A place that is in no directory, or no longer.
    pub fn apart(name: String, inode: Arc<dyn Inode>) -> Arc<Self> {
        Arc::new(Self { name, inode, parent: None })
    }

    /// The place of `inode`, which has just been made here as `name`.
    pub fn place(self: &Arc<Self>, name: &str, inode: Arc<dyn Inode>) -> Arc<Self> {
        Arc::new(Self { name: String::from(name), inode, parent: Some(self.clone()) })
    }

    /// Whether it is `directory` or somewhere below.
    pub fn is_below(&self, directory: &Arc<dyn Inode>) -> bool {
        let mut at = Some(self);
        while let Some(dentry) = at {
            if Arc::ptr_eq(&dentry.inode, directory) {
                return true;
            }
            at = dentry.parent.as_deref();
        }
        false
    }

    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.inode
    }

    pub fn parent(self: &Arc<Self>) -> Arc<Self> {
        self.parent.clone().unwrap_or_else(|| self.clone())
    }

    /// The absolute path.
    pub fn path(&self) -> String {
        let mut names = Vec::new();
        let mut at = self;
        while let Some(parent) = &at.parent {
            names.push(at.name.as_str());
            at = parent;
        }
        if names.is_empty() {
            // The root, or what is in no directory.
            return self.name.clone();
        }
        names.iter().rev().fold(String::new(), |path, name| format!("{path}/{name}"))
    }

    /// The place called `name` in this directory.
    pub fn child(self: &Arc<Self>, name: &str) -> Result<Arc<Self>, Errno> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        Ok(self.place(name, self.inode.lookup(name)?))
    }

    fn is_directory(&self) -> bool {
        self.inode.kind() == Kind::Directory
    }

    /// Whether `who` may look names up here.
    fn check_passage(&self, who: &Credentials) -> Result<(), Errno> {
        if who.is_root() {
            return Ok(());
        }
        who.check(&self.inode.metadata(), Access::EXECUTE)
    }

    fn root_of(self: &Arc<Self>) -> Arc<Self> {
        let mut at = self;
        while let Some(parent) = &at.parent {
            at = parent;
        }
        // What is in no directory has no root above it.
        if at.name.is_empty() { at.clone() } else { super::root() }
    }

    /// Goes along `path`, which starts here unless it is absolute.
    ///
    /// # Errors
    /// `ENOENT`, also for an empty path; `ENOTDIR`; `ELOOP` after 40 symbolic links; `ENAMETOOLONG`; `EACCES` for a directory
    /// that `who` may not go through.
    pub fn resolve(
        self: &Arc<Self>,
        path: &str,
        last_link: LastLink,
        who: &Credentials,
    ) -> Result<Arc<Self>, Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let mut links = 0;
        // What a symbolic link has put in place of the rest of the path.
        let mut replaced: String;
        let mut rest = path;
        let mut at = if path.starts_with('/') { self.root_of() } else { self.clone() };
        loop {
            let from_name = rest.trim_start_matches('/');
            if !at.is_directory() && (from_name.len() != rest.len() || !from_name.is_empty()) {
                return Err(Errno::ENOTDIR);
            }
            if from_name.is_empty() {
                return Ok(at);
            }
            let (name, after) = from_name.split_at(from_name.find('/').unwrap_or(from_name.len()));
            rest = after;
            at = match name {
                "." => continue,
                ".." => at.parent(),
                name => {
                    at.check_passage(who)?;
                    let child = at.child(name)?;
                    let keeps = after.is_empty() && last_link == LastLink::Keep;
                    if child.inode.kind() != Kind::Symlink || keeps {
                        child
                    } else if let Some(place) = child.inode.follow() {
                        place?
                    } else {
                        links += 1;
                        if links > MOST_LINKS {
                            return Err(Errno::ELOOP);
                        }
                        replaced = child.inode.read_link()? + after;
                        rest = &replaced;
                        if rest.starts_with('/') { at.root_of() } else { at }
                    }
                }
            };
        }
    }

    /// Goes along all of `path` but its last component, for calls that make or remove a name.
    ///
    /// # Errors
    /// As [`Self::resolve`]. `None` when the last component is `/`, `.` or `..`, which are always there and cannot go.
    pub fn resolve_target<'p>(
        self: &Arc<Self>,
        path: &'p str,
        who: &Credentials,
    ) -> Result<Option<Target<'p>>, Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let trimmed = path.trim_end_matches('/');
        let (before, name) = trimmed.split_at(trimmed.rfind('/').map_or(0, |slash| slash + 1));
        let directory = if before.is_empty() {
            if path.starts_with('/') { self.root_of() } else { self.clone() }
        } else {
            self.resolve(before, LastLink::Follow, who)?
        };
        if !directory.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        directory.check_passage(who)?;
        let is_directory = trimmed.len() != path.len();
        Ok((!matches!(name, "" | "." | "..")).then_some(Target { directory, name, is_directory }))
    }
}
