//! Pages that several address spaces share: the files that programs are made of, and shared anonymous memory.

mod content;

use crate::frames::{self, Frame};
use crate::machine::{self, Lock};
use crate::space::FaultError;
use crate::{OutOfMemory, PAGE};
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use hashbrown::HashMap;

/// Where the pages of an [`Object`] come from.
///
/// Called with locks of memory management held: it neither sleeps, nor touches user memory, nor calls back.
pub trait Pager: Send + Sync {
    /// Writes page number `index` of the file into `page`, which is all zeroes before.
    fn fill(&self, index: u64, page: &mut [u8; PAGE]);
}

/// A sequence of pages, each made when it is first touched.
///
/// The pages stay until the object is dropped, or until [`Object::shrink`].
pub struct Object {
    id: u64,
    name: Arc<str>,
    /// The number of pages; beyond is a bus error.
    pages: AtomicU64,
    pager: Option<Arc<dyn Pager>>,
    /// The pages can no longer be had from the pager.
    is_changed: AtomicBool,
    cache: Lock<HashMap<u64, Frame>, { machine::OBJECT }>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Object {
    /// A file of `bytes` bytes, whose last page is filled up with zeroes. `name` is what `/proc/self/maps` calls it.
    pub fn file(name: Arc<str>, bytes: u64, pager: Arc<dyn Pager>) -> Self {
        Self::new(name, bytes, Some(pager))
    }

    /// Memory of zeroes that several address spaces may share.
    pub fn anonymous(name: Arc<str>, bytes: u64) -> Self {
        Self::new(name, bytes, None)
    }

    fn new(name: Arc<str>, bytes: u64, pager: Option<Arc<dyn Pager>>) -> Self {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let pages = bytes.div_ceil(PAGE as u64);
        let (pages, is_changed) = (AtomicU64::new(pages), AtomicBool::new(false));
        Self { id, name, pages, pager, is_changed, cache: Lock::new(HashMap::new()) }
    }

    /// A number that no other object of this run has.
    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The length in pages.
    pub fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }

    /// A share of page `index`, which is filled if nobody touched it before.
    ///
    /// # Errors
    /// [`FaultError::Bus`] beyond the end.
    pub fn page(&self, index: u64) -> Result<Frame, FaultError> {
        let mut cache = self.cache.lock();
        if index >= self.pages() {
            return Err(FaultError::Bus);
        }
        if let Some(frame) = cache.get(&index) {
            return Ok(frame.share());
        }
        cache.try_reserve(1).map_err(|_| OutOfMemory)?;
        let mut frame = frames::alloc_zeroed()?;
        if let Some(pager) = &self.pager {
            pager.fill(index, frame.page_mut());
        }
        let share = frame.share();
        cache.insert(index, frame);
        Ok(share)
    }

    /// Calls `each` with those of the pages `indices` that are there already.
    pub(crate) fn present(&self, indices: core::ops::Range<u64>, mut each: impl FnMut(u64, &Frame)) {
        let cache = self.cache.lock();
        for index in indices {
            if let Some(frame) = cache.get(&index) {
                each(index, frame);
            }
        }
    }

    /// Fills those of the pages `indices` that are there with zeroes, for all who map them. False if they are a file's.
    pub(crate) fn wipe(&self, indices: core::ops::Range<u64>) -> bool {
        if self.pager.is_none() {
            self.present(indices, |_, frame| frame.write(0, &[0; PAGE]));
        }
        self.pager.is_none()
    }

    /// Drops the pages that can be had from the pager again and that no address space maps. Returns how many.
    pub fn shrink(&self) -> usize {
        if self.pager.is_none() || self.is_changed() {
            return 0;
        }
        let mut cache = self.cache.lock();
        let before = cache.len();
        cache.retain(|_, frame| frame.is_shared());
        cache.shrink_to_fit();
        before - cache.len()
    }

    /// The number of pages that are there.
    pub fn resident(&self) -> usize {
        self.cache.lock().len()
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {} ({})", self.id, self.name)
    }
}
