//! The names in a directory, and changing them.
//!
//! One lock for all changes of names makes each of them a step that cannot be half done; looking a name up takes only the
//! directory's own.

use super::{FILE_SYSTEM, Inode, Kind, NewNode, Node};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use alloc::{borrow::ToOwned, collections::BTreeMap, string::String, sync::Arc};

pub type Map = BTreeMap<String, Arc<dyn Inode>>;

static CHANGES: Lock<(), { rank::NAMES }> = Lock::new(());

pub struct Names {
    state: Lock<State, { rank::FILE }>,
}

struct State {
    /// Shared with those who list the directory; a change then makes a copy.
    map: Arc<Map>,
    /// The directory has been removed: nothing can be made in it any more.
    is_removed: bool,
}

impl Names {
    pub fn new() -> Self {
        Self { state: Lock::new(State { map: Arc::new(Map::new()), is_removed: false }) }
    }

    pub fn get(&self, name: &str) -> Option<Arc<dyn Inode>> {
        self.state.lock().map.get(name).cloned()
    }

    pub fn all(&self) -> Arc<Map> {
        self.state.lock().map.clone()
    }

    /// Puts the names back that were there.
    pub fn restore(&self, map: &Arc<Map>) {
        let new = State { map: map.clone(), is_removed: false };
        drop(core::mem::replace(&mut *self.state.lock(), new));
    }

    fn insert(&self, name: &str, inode: Arc<dyn Inode>) -> Result<Option<Arc<dyn Inode>>, Errno> {
        let mut state = self.state.lock();
        if state.is_removed {
            return Err(Errno::ENOENT);
        }
        Ok(Arc::make_mut(&mut state.map).insert(name.to_owned(), inode))
    }

    fn take(&self, name: &str) -> Option<Arc<dyn Inode>> {
        Arc::make_mut(&mut self.state.lock().map).remove(name)
    }

    /// Marks an empty directory as removed.
    fn close(&self) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if !state.map.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        state.is_removed = true;
        Ok(())
    }
}

/// Puts in what the tree begins with, in place of what had that name.
pub fn adopt(directory: &Node, name: &str, inode: Arc<dyn Inode>) {
    let is_directory = inode.kind() == Kind::Directory;
    let Ok(names) = directory.names() else { return };
    if let Ok(None) = names.insert(name, inode)
        && is_directory
    {
        directory.metadata.lock().links += 1;
    }
}

pub fn create(directory: &Node, name: &str, new: NewNode) -> Result<Arc<dyn Inode>, Errno> {
    if mm::frames::is_low() {
        return Err(Errno::ENOSPC);
    }
    let node = Node::new(new, name);
    let inode: Arc<dyn Inode> = node.clone();
    let names = directory.names()?;
    let _alone = CHANGES.lock();
    if names.get(name).is_some() {
        return Err(Errno::EEXIST);
    }
    names.insert(name, inode.clone())?;
    if inode.kind() == Kind::Directory {
        directory.count_links(1);
    }
    directory.touch();
    Ok(inode)
}

pub fn link(directory: &Node, name: &str, inode: &Arc<dyn Inode>) -> Result<(), Errno> {
    let names = directory.names()?;
    let node = Node::of(inode).filter(|node| node.metadata.lock().file_system == FILE_SYSTEM);
    let node = node.ok_or(Errno::EXDEV)?;
    let _alone = CHANGES.lock();
    if names.get(name).is_some() {
        return Err(Errno::EEXIST);
    }
    names.insert(name, inode.clone())?;
    node.count_links(1);
    directory.touch();
    Ok(())
}

/// A name's node, if it may be taken away: not the root of another file system.
fn removable(inode: &Arc<dyn Inode>) -> Result<&Node, Errno> {
    Node::of(inode).ok_or(Errno::EBUSY)
}

pub fn remove(directory: &Node, name: &str, is_directory: bool) -> Result<(), Errno> {
    let names = directory.names()?;
    let alone = CHANGES.lock();
    let inode = names.get(name).ok_or(Errno::ENOENT)?;
    match (inode.kind(), is_directory) {
        (Kind::Directory, false) => return Err(Errno::EISDIR),
        (Kind::Directory, true) => {
            removable(&inode)?.names()?.close()?;
            directory.count_links(-1);
        }
        (_, true) => return Err(Errno::ENOTDIR),
        (_, false) => {}
    }
    let node = removable(&inode)?;
    names.take(name);
    node.count_links(if is_directory { -2 } else { -1 });
    directory.touch();
    drop(alone);
    // What had its last name goes here, without the lock.
    drop(inode);
    Ok(())
}

pub fn rename(from: &Node, name: &str, to: &Node, new_name: &str, exchange: bool) -> Result<(), Errno> {
    let (names, new_names) = (from.names()?, to.names()?);
    let alone = CHANGES.lock();
    let inode = names.get(name).ok_or(Errno::ENOENT)?;
    let node = removable(&inode)?;
    let replaced = new_names.get(new_name);
    let is_directory = inode.kind() == Kind::Directory;
    if let Some(replaced) = &replaced {
        if Arc::ptr_eq(replaced, &inode) {
            return Ok(());
        }
        let other = removable(replaced)?;
        if exchange {
            names.insert(name, replaced.clone())?;
            new_names.insert(new_name, inode.clone())?;
            other.touch_change();
        } else {
            match (is_directory, replaced.kind() == Kind::Directory) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) => {
                    other.names()?.close()?;
                    other.count_links(-2);
                    to.count_links(-1);
                }
                (false, false) => other.count_links(-1),
            }
        }
    } else if exchange {
        return Err(Errno::ENOENT);
    }
    if !exchange {
        // There first: whoever looks meanwhile finds it under one of the names.
        new_names.insert(new_name, inode.clone())?;
        names.take(name);
        if is_directory {
            to.count_links(1);
            from.count_links(-1);
        }
    }
    node.touch_change();
    from.touch();
    to.touch();
    drop(alone);
    drop((replaced, inode));
    Ok(())
}

impl Node {
    /// Notes a change of what `stat` tells.
    fn touch_change(&self) {
        self.metadata.lock().times.changed = super::now();
    }
}
