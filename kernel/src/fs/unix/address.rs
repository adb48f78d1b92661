//! The names of sockets: places in the file system, and the abstract ones (man 7 unix, "Address format").

use super::Endpoint;
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use alloc::{collections::BTreeMap, string::String, sync::Arc, sync::Weak, vec::Vec};

/// Where a socket is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The inode with this number, on the root's file system.
    Inode(u64),
    Abstract(Vec<u8>),
}

/// What a socket is bound to.
#[derive(Debug)]
pub struct Address {
    pub place: Place,
    /// As it was given, for a place in the file system.
    pub path: String,
}

static BOUND: Lock<BTreeMap<Place, Weak<Endpoint>>, { rank::CONTENT }> = Lock::new(BTreeMap::new());

/// Enters `endpoint`.
///
/// # Errors
/// `EADDRINUSE`.
pub fn enter(address: &Address, endpoint: &Arc<Endpoint>) -> Result<(), Errno> {
    let mut bound = BOUND.lock();
    if bound.contains_key(&address.place) {
        return Err(Errno::EADDRINUSE);
    }
    bound.insert(address.place.clone(), Arc::downgrade(endpoint));
    Ok(())
}

pub fn find(place: &Place) -> Option<Arc<Endpoint>> {
    BOUND.lock().get(place).and_then(Weak::upgrade)
}

/// Takes `endpoint` out, unless it is a connection that shares the address of the one who listens.
pub fn forget(address: &Address, endpoint: &Arc<Endpoint>) {
    let mut bound = BOUND.lock();
    if bound.get(&address.place).is_some_and(|it| core::ptr::eq(it.as_ptr(), Arc::as_ptr(endpoint))) {
        bound.remove(&address.place);
    }
    if bound.is_empty() {
        // An emptied map would keep its root.
        *bound = BTreeMap::new();
    }
}
