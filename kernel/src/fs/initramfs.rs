//! What the tree begins with: a cpio archive that the loader left in memory.

use super::Kind;
use super::tmpfs::{Node, adopt};
use alloc::{format, string::String, sync::Arc};
use linux_raw_sys::general as linux;

/// The archive's tree. Of what has no permission bits recorded, such as directories that are only implied, everything may
/// be read and entered.
pub fn read(archive: &'static [u8]) -> Arc<Node> {
    let root = Node::directory(0o755, 0);
    for entry in newc::members(archive) {
        let kind = match entry.mode & linux::S_IFMT {
            linux::S_IFDIR => Kind::Directory,
            linux::S_IFLNK => Kind::Symlink,
            linux::S_IFREG => Kind::Regular,
            // Devices are in /dev.
            _ => continue,
        };
        let permissions = entry.mode & !linux::S_IFMT;
        let modified = i64::from(entry.modified) * 1_000_000_000;
        let (before, name) = split(entry.name);
        let directory = before.fold(root.clone(), |directory, name| below(&directory, name));
        match (kind, name) {
            (Kind::Directory, None) => directory.set_metadata(permissions, modified),
            (Kind::Directory, Some(name)) => below(&directory, name).set_metadata(permissions, modified),
            (Kind::Symlink, Some(name)) => {
                let target = String::from_utf8_lossy(entry.data).into_owned();
                adopt(&directory, name, Node::symlink(target, modified));
            }
            (_, Some(name)) => {
                let path = format!("/{}", entry.name.trim_start_matches(['.', '/']));
                adopt(&directory, name, Node::from_archive(&path, permissions, modified, entry.data));
            }
            (_, None) => {}
        }
    }
    below(&root, "tmp").set_metadata(0o1777, 0);
    root
}

/// The parts of a path before the last, and the last.
fn split(path: &str) -> (impl Iterator<Item = &str>, Option<&str>) {
    let named = |name: &&str| !matches!(*name, "" | ".");
    let count = path.split('/').filter(named).count();
    let mut parts = path.split('/').filter(named);
    let last = path.split('/').rfind(named);
    let mut left = count.saturating_sub(1);
    let before = core::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        parts.next()
    });
    (before, last)
}

/// The directory called `name`, made unless there is one.
fn below(directory: &Arc<Node>, name: &str) -> Arc<Node> {
    if let Some(node) = directory.below(name) {
        return node;
    }
    let node = Node::directory(0o755, 0);
    adopt(directory, name, node.clone());
    node
}
