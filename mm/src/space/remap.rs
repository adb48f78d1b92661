//! Moving and resizing mappings.

use super::gather::Gather;
use super::map::{at, fixed};
use super::request::MapError;
use super::{AddressSpace, Inner, user_range};
use crate::frames::Frame;
use crate::pages::{Page, PageRange, USER};
use crate::tables::{Rights, Visit};
use crate::{OutOfMemory, PAGE, VirtAddr, frames};
use arrayvec::ArrayVec;

/// Whether a mapping may move when it is resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    Never,
    /// When it cannot grow where it is.
    IfNeeded,
    /// To this address, instead of what is there now.
    To(VirtAddr),
    /// The pages move, the old range stays mapped without any (MREMAP_DONTUNMAP): to this address, or anywhere.
    Leaving(Option<VirtAddr>),
}

/// Pages that are moved at a time.
const BATCH: u64 = 64;

impl AddressSpace {
    /// Resizes a mapping, or a part of one, and moves it if need be and allowed; returns where it starts now (man 2 mremap).
    ///
    /// # Errors
    /// [`MapError::NotMapped`] when the old range is not in one area. The mapping is as it was then; what was at
    /// [`Move::To`]'s address may be gone.
    pub fn remap(
        &self,
        start: VirtAddr,
        old_bytes: u64,
        new_bytes: u64,
        how: Move,
    ) -> Result<VirtAddr, MapError> {
        if frames::is_low() {
            return Err(MapError::OutOfMemory);
        }
        let old = user_range(start, old_bytes)?;
        let count = new_bytes.div_ceil(PAGE as u64);
        if count == 0 || count > USER.len() {
            return Err(MapError::Invalid);
        }
        let mut inner = self.inner.lock();
        let mut gather = Gather::new(&self.cpus);
        let area = inner.areas.find(old.start).ok_or(MapError::NotMapped)?;
        if !area.pages.includes(&old) {
            return Err(MapError::NotMapped);
        }
        if let Move::Leaving(to) = how {
            if count != old.len() {
                return Err(MapError::Invalid);
            }
            let new = match to {
                Some(to) => fixed(to, new_bytes)?,
                None => inner.areas.find_free(count).ok_or(MapError::OutOfMemory)?,
            };
            if new.and(&old).is_some() {
                return Err(MapError::Invalid);
            }
            inner.unmap(new, &mut gather)?;
            inner.move_pages(old, new, &mut gather)?;
            return Ok(new.start.start());
        }
        if let Move::To(to) = how {
            let new = fixed(to, new_bytes)?;
            if new.and(&old).is_some() {
                return Err(MapError::Invalid);
            }
            inner.unmap(new, &mut gather)?;
            inner.resize_and_move(old, new, &mut gather)?;
            return Ok(to);
        }
        if count <= old.len() {
            if count < old.len() {
                inner.unmap(PageRange::new(old.start.plus(count), old.end), &mut gather)?;
            }
            return Ok(start);
        }
        if inner.grow(old, count)? {
            return Ok(start);
        }
        if how == Move::Never {
            return Err(MapError::OutOfMemory);
        }
        let new = inner.areas.find_free(count).ok_or(MapError::OutOfMemory)?;
        inner.resize_and_move(old, new, &mut gather)?;
        Ok(new.start.start())
    }
}

impl Inner {
    /// Lets the area around `old`, which must end with it, go on to `count` pages. Returns false where that is not free.
    fn grow(&mut self, old: PageRange, count: u64) -> Result<bool, MapError> {
        let more = PageRange::new(old.end, old.start.plus(count));
        if !USER.includes(&more) || !self.areas.is_free(more) {
            return Ok(false);
        }
        self.areas.reserve(1)?;
        let area = self.areas.find(old.start).ok_or(MapError::NotMapped)?;
        let grown = area.moved(old.start, at(old.start, count)).split_off(old.end);
        self.areas.insert(grown);
        Ok(true)
    }

    /// Moves `old` to the free range `new`; drops what does not fit.
    fn resize_and_move(
        &mut self,
        old: PageRange,
        new: PageRange,
        gather: &mut Gather,
    ) -> Result<(), MapError> {
        self.move_pages(old, new, gather)?;
        self.areas.remove(old);
        Ok(())
    }

    /// Maps the free range `new` as `old` is mapped, and moves the pages there that fit. Two areas more have been reserved.
    fn move_pages(&mut self, old: PageRange, new: PageRange, gather: &mut Gather) -> Result<(), MapError> {
        self.areas.reserve(3)?;
        let kept = at(old.start, old.len().min(new.len()));
        let area = self.areas.find(old.start).ok_or(MapError::NotMapped)?.moved(old.start, new);
        if let Err(error) = self.share_pages(kept, new.start) {
            self.release(new, gather);
            return Err(error.into());
        }
        self.release(old, gather);
        self.areas.insert(area);
        Ok(())
    }

    /// Maps what is in `from` from `to` on as well. Pages that were mapped before memory ran out stay.
    fn share_pages(&mut self, from: PageRange, to: Page) -> Result<(), OutOfMemory> {
        for (piece, to) in pieces(from, to) {
            let mut shares = ArrayVec::<(Page, Frame, Rights), { BATCH as usize }>::new();
            self.tables.visit(piece, |visit| {
                let Visit::Leaf(leaf, pages) = visit else { return };
                for page in pages.iter() {
                    if let Some(entry) = leaf.get(page) {
                        shares.push((to.plus(page.above(piece.start)), entry.frame.share(), entry.rights));
                    }
                }
            });
            for (page, frame, rights) in shares {
                self.tables.leaf_or_new(page)?.map(page, frame, rights);
                self.resident += 1;
            }
        }
        Ok(())
    }
}

/// `from` in pieces, each with where it goes if `from` goes to `to`.
fn pieces(from: PageRange, to: Page) -> impl Iterator<Item = (PageRange, Page)> {
    let starts = (0..from.len()).step_by(BATCH as usize);
    starts.map(move |offset| {
        let start = from.start.plus(offset);
        (PageRange::new(start, from.end.min(start.plus(BATCH))), to.plus(offset))
    })
}
