//! What a program says about ranges beyond how they may be accessed (man 2 madvise), and what it asks about them.

use super::area::{OnFork, Source};
use super::gather::Gather;
use super::request::{Access, MapError};
use super::{AddressSpace, user_range};
use crate::pages::{Page, PageRange};
use crate::space::FaultError;
use crate::{PAGE, VirtAddr};

impl AddressSpace {
    /// Says what a child gets of a range that is mapped all through.
    ///
    /// # Errors
    /// `Invalid` for [`OnFork::Wipe`] of memory that is shared or a file's.
    pub fn set_on_fork(&self, start: VirtAddr, bytes: u64, on_fork: OnFork) -> Result<(), MapError> {
        let pages = user_range(start, bytes)?;
        let mut inner = self.inner.lock();
        if !inner.areas.covers(pages) {
            return Err(MapError::NotMapped);
        }
        let can_be_wiped = |area: &super::area::Area| matches!(area.source, Source::Anonymous);
        if on_fork == OnFork::Wipe && !inner.areas.overlapping(pages).iter().all(can_be_wiped) {
            return Err(MapError::Invalid);
        }
        inner.areas.reserve(2)?;
        inner.areas.change(pages, |area| area.on_fork = on_fork);
        Ok(())
    }

    /// Makes the pages of a range there, for `access` (MADV_POPULATE_READ, MADV_POPULATE_WRITE).
    ///
    /// # Errors
    /// The first page's that cannot be had.
    pub fn populate_for(&self, start: VirtAddr, bytes: u64, access: Access) -> Result<(), FaultError> {
        let pages = user_range(start, bytes).map_err(|_| FaultError::NotMapped)?;
        for page in pages.iter() {
            // One lock at a time: others may fault meanwhile.
            self.inner.lock().fault(page, access, &mut Gather::new(&self.cpus))?;
        }
        Ok(())
    }

    /// Fills a range of memory that is shared with zeroes (MADV_REMOVE): as if its pages had never been touched.
    ///
    /// # Errors
    /// `NotMapped`; `Invalid` where it is not shared memory; `Denied` where it cannot be written to.
    pub fn wipe(&self, start: VirtAddr, bytes: u64) -> Result<(), MapError> {
        let pages = user_range(start, bytes)?;
        let inner = self.inner.lock();
        if !inner.areas.covers(pages) {
            return Err(MapError::NotMapped);
        }
        for area in inner.areas.overlapping(pages) {
            let Some(part) = area.pages.and(&pages) else { continue };
            let Some((object, first)) = area.object(part.start).filter(|_| area.shared) else {
                return Err(MapError::Invalid);
            };
            if !area.may_write {
                return Err(MapError::Denied);
            }
            if !object.wipe(first..first + part.len()) {
                return Err(MapError::Invalid);
            }
        }
        Ok(())
    }

    /// Tells for each page from `start` on whether it is in memory (man 2 mincore).
    ///
    /// # Errors
    /// `NotMapped` where nothing is mapped.
    pub fn in_memory(&self, start: VirtAddr, found: &mut [u8]) -> Result<(), MapError> {
        let pages = user_range(start, (found.len() * PAGE) as u64)?;
        let mut inner = self.inner.lock();
        if !inner.areas.covers(pages) {
            return Err(MapError::NotMapped);
        }
        found.fill(0);
        let place = |page: Page| page.above(pages.start) as usize;
        for area in inner.areas.overlapping(pages) {
            let Some(part) = area.pages.and(&pages) else { continue };
            let Some((object, first)) = area.object(part.start) else { continue };
            object.present(first..first + part.len(), |index, _| {
                found[place(part.start.plus(index - first))] = 1;
            });
        }
        inner.tables.visit(pages, |visit| {
            let crate::tables::Visit::Leaf(leaf, pages) = visit else { return };
            for page in pages.iter().filter(|page| leaf.get(*page).is_some()) {
                found[place(page)] = 1;
            }
        });
        Ok(())
    }

    /// How many pages are mapped, those of a range left out that is about to be replaced; and how many of these are private and
    /// can be written to (RLIMIT_AS and RLIMIT_DATA of man 2 getrlimit).
    pub fn mapped(&self, but: Option<(VirtAddr, u64)>) -> (u64, u64) {
        let but = but.and_then(|(start, bytes)| user_range(start, bytes).ok());
        let inner = self.inner.lock();
        let count = |pages: &PageRange| {
            pages.len() - but.and_then(|but| pages.and(&but)).map_or(0, |both| both.len())
        };
        inner.areas.iter().fold((0, 0), |(all, data), area| {
            let pages = count(&area.pages);
            let is_data = area.may_write_privately() && area.lowest.is_none();
            (all + pages, data + if is_data { pages } else { 0 })
        })
    }

    /// Lets the stack grow to `bytes` in all from now on; it keeps what it has.
    pub fn limit_stack(&self, bytes: u64) {
        self.inner.lock().areas.limit_growth("[stack]", bytes / PAGE as u64);
    }
}
