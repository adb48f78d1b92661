//! Mapping, unmapping and protecting ranges, and dropping what is in them.

use super::area::{Area, OnFork, Source};
use super::fault::rights;
use super::gather::Gather;
use super::request::{Access, Backing, MapError, MapRequest, Place, Prot};
use super::{AddressSpace, Inner, user_range};
use crate::object::Object;
use crate::pages::{Page, PageRange, USER};
use crate::tables::Visit;
use crate::{PAGE, VirtAddr, frames};
use alloc::sync::Arc;

impl AddressSpace {
    /// Makes a mapping and returns where it starts (man 2 mmap).
    ///
    /// # Errors
    /// Nothing has changed then, except that [`Place::Fixed`] may have unmapped what was there when memory ran out.
    pub fn map(&self, request: MapRequest) -> Result<VirtAddr, MapError> {
        if frames::is_low() {
            return Err(MapError::OutOfMemory);
        }
        let count = request.bytes.div_ceil(PAGE as u64);
        if count == 0 || count > USER.len() {
            return Err(if count == 0 { MapError::Invalid } else { MapError::OutOfMemory });
        }
        let source = source(&request)?;
        let mut inner = self.inner.lock();
        let mut gather = Gather::new(&self.cpus);
        inner.areas.reserve(3)?;
        let pages = inner.place(request.place, request.bytes, count, &mut gather)?;
        let lowest = request.grows_down.map(|bytes| {
            let most = (bytes / PAGE as u64).max(count);
            pages.end.minus(most).max(USER.start)
        });
        inner.areas.insert(Area {
            pages,
            prot: request.prot,
            shared: request.shared,
            may_write: request.may_write,
            source,
            lowest,
            on_fork: OnFork::Share,
            label: request.label,
        });
        Ok(pages.start.start())
    }

    /// Unmaps `bytes` from `start` (man 2 munmap). What is not mapped stays so.
    pub fn unmap(&self, start: VirtAddr, bytes: u64) -> Result<(), MapError> {
        let pages = user_range(start, bytes)?;
        let mut inner = self.inner.lock();
        inner.unmap(pages, &mut Gather::new(&self.cpus))
    }

    /// Changes what the program may do with a range that is mapped all through (man 2 mprotect).
    pub fn protect(&self, start: VirtAddr, bytes: u64, prot: Prot) -> Result<(), MapError> {
        let pages = user_range(start, bytes)?;
        let mut inner = self.inner.lock();
        let mut gather = Gather::new(&self.cpus);
        if !inner.areas.covers(pages) {
            return Err(MapError::NotMapped);
        }
        if prot.contains(Prot::WRITE) && inner.areas.overlapping(pages).iter().any(|area| !area.may_write) {
            return Err(MapError::Denied);
        }
        inner.areas.reserve(2)?;
        inner.areas.change(pages, |area| area.prot = prot);
        inner.set_rights(pages, prot, &mut gather);
        Ok(())
    }

    /// Drops the pages of a range, so that private memory is as when it was mapped (man 2 madvise, MADV_DONTNEED).
    pub fn discard(&self, start: VirtAddr, bytes: u64) -> Result<(), MapError> {
        let pages = user_range(start, bytes)?;
        let mut inner = self.inner.lock();
        inner.release(pages, &mut Gather::new(&self.cpus));
        inner.areas.covers(pages).then_some(()).ok_or(MapError::NotMapped)
    }

    /// Touches all pages of a range, as far as its areas allow and memory reaches (MAP_POPULATE).
    pub fn populate(&self, start: VirtAddr, bytes: u64) {
        let Ok(pages) = user_range(start, bytes) else { return };
        for page in pages.iter() {
            // One lock at a time: others may fault meanwhile. Writable memory is wanted for writing.
            let mut inner = self.inner.lock();
            let Some(area) = inner.areas.find(page) else { return };
            let access = if area.allows(Access::WRITE) { Access::WRITE } else { Access::READ };
            if inner.fault(page, access, &mut Gather::new(&self.cpus)).is_err() {
                return;
            }
        }
    }

    /// Whether all of a range is mapped.
    pub fn is_mapped(&self, start: VirtAddr, bytes: u64) -> bool {
        user_range(start, bytes).is_ok_and(|pages| self.inner.lock().areas.covers(pages))
    }
}

fn source(request: &MapRequest) -> Result<Source, MapError> {
    match &request.backing {
        Backing::Anonymous if request.shared => {
            let object = Arc::new(Object::anonymous("/dev/zero (deleted)".into(), request.bytes));
            Ok(Source::Object { object, first: 0 })
        }
        Backing::Anonymous => Ok(Source::Anonymous),
        Backing::Object(object, offset) if offset.is_multiple_of(PAGE as u64) => {
            Ok(Source::Object { object: object.clone(), first: offset / PAGE as u64 })
        }
        Backing::Object(..) => Err(MapError::Invalid),
    }
}

impl Inner {
    /// Finds the pages for a mapping, and frees them if they are wanted whatever is there. The caller has reserved two areas.
    fn place(
        &mut self,
        place: Place,
        bytes: u64,
        count: u64,
        gather: &mut Gather,
    ) -> Result<PageRange, MapError> {
        let anywhere = |inner: &Self| inner.areas.find_free(count).ok_or(MapError::OutOfMemory);
        match place {
            Place::Anywhere => anywhere(self),
            Place::Hint(start) => {
                let start = start.align_down(PAGE as u64);
                match user_range(start, bytes) {
                    Ok(pages) if USER.includes(&pages) && self.areas.is_free(pages) => Ok(pages),
                    _ => anywhere(self),
                }
            }
            Place::Fixed(start) => {
                let pages = fixed(start, bytes)?;
                self.release(pages, gather);
                self.areas.remove(pages);
                Ok(pages)
            }
            Place::FixedNoReplace(start) => {
                let pages = fixed(start, bytes)?;
                self.areas.is_free(pages).then_some(pages).ok_or(MapError::Exists)
            }
        }
    }

    pub(super) fn unmap(&mut self, pages: PageRange, gather: &mut Gather) -> Result<(), MapError> {
        self.areas.reserve(2)?;
        self.release(pages, gather);
        self.areas.remove(pages);
        Ok(())
    }

    /// Makes the entries of `pages` allow no more than `prot`. What it allows beyond is granted by faults.
    fn set_rights(&mut self, pages: PageRange, prot: Prot, gather: &mut Gather) {
        self.tables.visit(pages, |visit| {
            let Visit::Leaf(leaf, pages) = visit else { return };
            for page in pages.iter() {
                let Some(old) = leaf.get(page).map(|entry| entry.rights) else { continue };
                // A page without the right to write may be shared with others: a fault finds out.
                let new = rights(prot, old.can_write() && prot.contains(Prot::WRITE));
                if new != old {
                    leaf.set_rights(page, new);
                }
                if old.allows_more_than(new) {
                    gather.lowered(page);
                }
            }
        });
    }
}

/// The range of a mapping whose place is not ours to choose.
pub(super) fn fixed(start: VirtAddr, bytes: u64) -> Result<PageRange, MapError> {
    let pages = user_range(start, bytes)?;
    if pages.start < USER.start { Err(MapError::TooLow) } else { Ok(pages) }
}

/// The pages of a range that starts at `page`.
pub(super) fn at(page: Page, count: u64) -> PageRange {
    PageRange::new(page, page.plus(count))
}
