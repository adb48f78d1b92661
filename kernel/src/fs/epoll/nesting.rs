//! Event polls in event polls: never in a circle, and not too deep.

use super::{Epoll, Item};
use crate::errno::Errno;
use crate::fs::File;
use crate::lock::{Lock, rank};
use alloc::{sync::Arc, vec::Vec};
use arch::sync::LockGuard;
use core::any::Any;

/// How many event polls may be in each other (man 2 epoll_ctl, `ELOOP`).
const DEEPEST: usize = 5;

/// Held while one is put into another, so that no two make a circle together.
static NESTING: Lock<(), { rank::NESTING }> = Lock::new(());

pub fn as_epoll(file: &Arc<dyn File>) -> Option<Arc<Epoll>> {
    let file: &dyn Any = &**file;
    file.downcast_ref::<Epoll>()?.this.upgrade()
}

/// Checks that `inner` may be put into `outer`. What it returns is held until that is done.
///
/// # Errors
/// `ELOOP`.
pub fn check(outer: &Epoll, inner: &Arc<Epoll>) -> Result<LockGuard<'static, (), { rank::NESTING }>, Errno> {
    let guard = NESTING.lock();
    let below = depth(inner, outer, 1)?;
    let above = height(outer, 1)?;
    if above + below > DEEPEST { Err(Errno::ELOOP) } else { Ok(guard) }
}

/// How deep it goes from `epoll` down, itself included.
fn depth(epoll: &Arc<Epoll>, forbidden: &Epoll, level: usize) -> Result<usize, Errno> {
    if core::ptr::eq(&**epoll, forbidden) || level > DEEPEST {
        return Err(Errno::ELOOP);
    }
    let items: Vec<Arc<Item>> = epoll.items.lock().values().cloned().collect();
    let inner = items.iter().filter_map(|item| item.inner());
    inner.map(|inner| depth(&inner, forbidden, level + 1)).try_fold(1, |most, depth| Ok(most.max(depth? + 1)))
}

/// How many event polls there are from `epoll` up, itself included.
fn height(epoll: &Epoll, level: usize) -> Result<usize, Errno> {
    if level > DEEPEST {
        return Err(Errno::ELOOP);
    }
    let outer = epoll.queue.watchers.owners(|watcher| {
        let watcher: &dyn Any = &**watcher;
        watcher.downcast_ref::<Item>().and_then(|item| item.epoll.upgrade())
    });
    outer.iter().map(|outer| height(outer, level + 1)).try_fold(1, |most, height| Ok(most.max(height? + 1)))
}
