//! Which files the guest gets, and where.

use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// Directories of the guest's own. Where the host has a symbolic link instead, such as `/bin` to `/usr/bin`, each thing in it is
/// linked by itself.
const GUEST_DIRECTORIES: [&str; 5] = ["/bin", "/dev", "/proc", "/sys", "/tmp"];
/// Directories whose files are not files but a kernel's.
const KERNEL_DIRECTORIES: [&str; 3] = ["/dev", "/proc", "/sys"];
/// The most symbolic links on the way to one file, as on Linux.
const MOST_LINKS: u32 = 40;

/// Something in the guest's file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// The host's file at this path, with these permissions.
    File(PathBuf, u32),
    Directory(u32),
    Symlink(PathBuf),
}

/// Files by their absolute paths; directories come before what is in them.
#[derive(Clone, Debug, Default)]
pub struct Tree(BTreeMap<PathBuf, Node>);

impl Tree {
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &Node)> {
        self.0.iter().map(|(path, node)| (path.as_path(), node))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the file or directory at `path`, with the directories and symbolic links on the way to it. Of a directory, nothing
    /// that is in it. Returns where it really is.
    pub fn insert(&mut self, path: &Path) -> Result<PathBuf> {
        self.walk(path, true)
    }

    /// Takes a symbolic link, whatever it leads to.
    pub fn insert_link(&mut self, path: &Path) -> Result<()> {
        self.walk(path, false).map(drop)
    }

    /// Puts a symbolic link into the guest that the host does not have, unless something is there.
    pub fn add_link(&mut self, at: &Path, to: &Path) {
        self.0.entry(at.to_owned()).or_insert_with(|| Node::Symlink(to.to_owned()));
    }

    fn walk(&mut self, path: &Path, follow_last: bool) -> Result<PathBuf> {
        if KERNEL_DIRECTORIES.iter().any(|directory| path.starts_with(directory)) {
            bail!("{} is the kernel's, and the guest has its own", path.display());
        }
        let mut names = names(path);
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = names.pop_front() {
            if name == Path::new("..") {
                at.pop();
                continue;
            }
            let here = at.join(&name);
            let metadata =
                fs::symlink_metadata(&here).with_context(|| format!("cannot find {}", here.display()))?;
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_symlink() {
                let target = fs::read_link(&here)?;
                links += 1;
                if links > MOST_LINKS {
                    bail!("too many symbolic links on the way to {}", path.display());
                }
                let is_guests = GUEST_DIRECTORIES.iter().any(|own| here == Path::new(own));
                if is_guests {
                    // What is in it gets a link of its own: see `put`.
                    self.0.entry(here.clone()).or_insert(Node::Directory(0o755));
                } else {
                    self.put(&here, Node::Symlink(target.clone()));
                    if names.is_empty() && !follow_last {
                        return Ok(here);
                    }
                }
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                let mut onwards = self::names(&target);
                onwards.append(&mut names);
                names = onwards;
                continue;
            }
            if metadata.is_dir() {
                self.0.entry(here.clone()).or_insert(Node::Directory(mode));
            } else if metadata.is_file() {
                self.put(&here, Node::File(here.clone(), mode));
            } else {
                bail!("{} is neither a file nor a directory", here.display());
            }
            at = here;
        }
        Ok(at)
    }

    /// Enters a file or a link; also into the guest's own directory that leads here on the host.
    fn put(&mut self, path: &Path, node: Node) {
        self.0.insert(path.to_owned(), node);
        for own in GUEST_DIRECTORIES.map(Path::new) {
            let leads_here = own.is_symlink() && fs::canonicalize(own).ok().as_deref() == path.parent();
            if let Some(name) = path.file_name().filter(|_| leads_here) {
                self.0.entry(own.to_owned()).or_insert(Node::Directory(0o755));
                self.0.insert(own.join(name), Node::Symlink(path.to_owned()));
            }
        }
    }
}

/// The components of a path, without the root and `.`.
fn names(path: &Path) -> VecDeque<PathBuf> {
    let name = |component| match component {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        _ => None,
    };
    path.components().filter_map(name).collect()
}
