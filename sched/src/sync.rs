//! What the protocols without locks are made of. A model checker that reorders memory accesses has its own in this place: the
//! test `orderings`.

pub(crate) use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::SeqCst};
pub(crate) use crossbeam_utils::atomic::AtomicCell;
