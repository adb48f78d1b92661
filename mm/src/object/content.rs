//! Objects that are the content of files which change.

use super::Object;
use crate::frames::Frame;
use core::sync::atomic::Ordering;
use hashbrown::HashMap;

impl Object {
    /// A share of page `index` if it is in memory.
    pub fn peek(&self, index: u64) -> Option<Frame> {
        self.cache.lock().get(&index).map(Frame::share)
    }

    /// From now on the pages are not what the pager makes: [`Self::shrink`] keeps them.
    pub fn set_changed(&self) {
        self.is_changed.store(true, Ordering::Relaxed);
    }

    pub fn is_changed(&self) -> bool {
        self.is_changed.load(Ordering::Relaxed)
    }

    /// Makes it `pages` long. Pages beyond go; who has mapped them keeps them until it unmaps them.
    pub fn resize(&self, pages: u64) {
        let mut cache = self.cache.lock();
        let before = self.pages.swap(pages, Ordering::Relaxed);
        if pages < before {
            cache.retain(|index, _| *index < pages);
        }
    }

    /// Drops the pages from `first` on and before `end`: they are made again when they are touched.
    pub fn discard(&self, first: u64, end: u64) {
        self.cache.lock().retain(|index, _| *index < first || *index >= end);
    }

    /// Forgets all changes.
    pub fn reset(&self, pages: u64) {
        let mut cache = self.cache.lock();
        *cache = HashMap::new();
        self.pages.store(pages, Ordering::Relaxed);
        self.is_changed.store(false, Ordering::Relaxed);
    }
}
