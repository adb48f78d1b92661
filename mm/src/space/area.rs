//! Areas: ranges of pages with one backing and one kind of access, and the map of them.

use super::{Access, Prot};
use crate::OutOfMemory;
use crate::layout::{self, STACK_GAP_PAGES};
use crate::object::Object;
use crate::pages::{Page, PageRange, USER};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

/// The most areas of one space, as Linux's `vm.max_map_count`.
const MOST: usize = 65_530;

/// Where the pages of an area come from when they are first touched.
#[derive(Clone, Debug)]
pub enum Source {
    /// Zeroes.
    Anonymous,
    /// An object's page `first` for the area's first page, and so on.
    Object { object: Arc<Object>, first: u64 },
}

/// What a child gets of an area.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFork {
    /// The same.
    #[default]
    Share,
    /// Nothing (MADV_DONTFORK).
    Skip,
    /// Zeroes (MADV_WIPEONFORK).
    Wipe,
}

#[derive(Clone, Debug)]
pub struct Area {
    pub pages: PageRange,
    pub prot: Prot,
    /// Writes are for all who map the object to see.
    pub shared: bool,
    /// Whether [`Prot::WRITE`] may be added later.
    pub may_write: bool,
    pub source: Source,
    /// The area grows down when the pages below it are touched, at most to this page.
    pub lowest: Option<Page>,
    pub on_fork: OnFork,
    /// What the area is called, if it has no object.
    pub label: &'static str,
}

impl Area {
    pub fn allows(&self, access: Access) -> bool {
        let needed = match (access.write, access.execute) {
            (true, _) => Prot::WRITE,
            (_, true) => Prot::EXEC,
            // The processor knows no pages that can be written or executed but not read.
            _ => Prot::all(),
        };
        self.prot.intersects(needed)
    }

    /// Whether writes make pages of this space's own.
    pub fn may_write_privately(&self) -> bool {
        !self.shared && self.prot.contains(Prot::WRITE)
    }

    /// The object behind `page` and the page's index in it.
    pub fn object(&self, page: Page) -> Option<(&Arc<Object>, u64)> {
        match &self.source {
            Source::Anonymous => None,
            Source::Object { object, first } => Some((object, first + page.above(self.pages.start))),
        }
    }

    /// The same area at other pages, of which the first is this area's page `page`.
    pub fn moved(&self, page: Page, pages: PageRange) -> Self {
        let source = match self.object(page) {
            None => Source::Anonymous,
            Some((object, first)) => Source::Object { object: object.clone(), first },
        };
        Self { pages, source, lowest: None, ..self.clone() }
    }

    /// Cuts off the part from `at` on, which is inside of the area.
    pub fn split_off(&mut self, at: Page) -> Self {
        let upper = self.moved(at, PageRange::new(at, self.pages.end));
        self.pages.end = at;
        upper
    }

    /// Whether this area and `next` could be one.
    fn joins(&self, next: &Self) -> bool {
        let same_source = match (&self.source, &next.source) {
            (Source::Anonymous, Source::Anonymous) => true,
            (Source::Object { object, first }, Source::Object { object: other, first: other_first }) => {
                Arc::ptr_eq(object, other) && first + self.pages.len() == *other_first
            }
            _ => false,
        };
        same_source
            && self.pages.end == next.pages.start
            && (self.prot, self.shared, self.may_write) == (next.prot, next.shared, next.may_write)
            && (self.label, self.on_fork) == (next.label, next.on_fork)
            && next.lowest.is_none()
    }

    /// The lowest page that no other area may use.
    fn floor(&self) -> Page {
        self.lowest.map_or(self.pages.start, |lowest| lowest.minus(STACK_GAP_PAGES))
    }
}

/// The areas of a space by their address. A sorted vector: programs have a few dozen, a look-up is a binary search, fork
/// copies it in one piece, and it is the only kind of map that can report that there is no memory.
pub struct Areas(Vec<Area>);

impl Areas {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// What a child gets.
    pub fn try_clone(&self) -> Result<Self, OutOfMemory> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(self.0.len()).map_err(|_| OutOfMemory)?;
        copy.extend(self.0.iter().filter(|area| area.on_fork != OnFork::Skip).cloned());
        Ok(Self(copy))
    }

    /// Makes room, so that `count` areas more can be there without an allocation.
    pub fn reserve(&mut self, count: usize) -> Result<(), OutOfMemory> {
        if self.0.len() + count > MOST {
            return Err(OutOfMemory);
        }
        self.0.try_reserve(count).map_err(|_| OutOfMemory)
    }

    pub fn iter(&self) -> core::slice::Iter<'_, Area> {
        self.0.iter()
    }

    pub fn clear(&mut self) {
        self.0 = Vec::new();
    }

    /// The index of the first area that ends above `page`.
    fn at_or_above(&self, page: Page) -> usize {
        self.0.partition_point(|area| area.pages.end <= page)
    }

    pub fn find(&self, page: Page) -> Option<&Area> {
        self.0.get(self.at_or_above(page)).filter(|area| area.pages.contains(page))
    }

    /// The area of `page`, grown if it is one that grows down to there.
    pub fn find_or_grow(&mut self, page: Page) -> Option<&Area> {
        let index = self.at_or_above(page);
        let below = index.checked_sub(1).map(|below| self.0[below].pages.end);
        let area = self.0.get_mut(index)?;
        if !area.pages.contains(page) {
            let free = below.is_none_or(|end| end.plus(STACK_GAP_PAGES) <= page);
            if !free || area.lowest.is_none_or(|lowest| page < lowest) {
                return None;
            }
            area.pages.start = page;
        }
        Some(area)
    }

    /// The areas that have pages in `pages`.
    pub fn overlapping(&self, pages: PageRange) -> &[Area] {
        &self.0[self.overlap(pages)]
    }

    fn overlap(&self, pages: PageRange) -> Range<usize> {
        let start = self.at_or_above(pages.start);
        let end = self.0.partition_point(|area| area.pages.start < pages.end);
        start..end.max(start)
    }

    pub fn is_free(&self, pages: PageRange) -> bool {
        self.overlap(pages).is_empty()
    }

    /// Whether every page of `pages` is in some area.
    pub fn covers(&self, pages: PageRange) -> bool {
        let mut at = pages.start;
        for area in self.overlapping(pages) {
            if area.pages.start > at {
                return false;
            }
            at = area.pages.end;
        }
        at >= pages.end
    }

    /// The highest free range of `count` pages below [`layout::MMAP_TOP`].
    pub fn find_free(&self, count: u64) -> Option<PageRange> {
        let mut end = Page::containing(layout::MMAP_TOP);
        let below = self.0.iter().rev().map(|area| (area.pages.end, area.floor()));
        for (floor, next_end) in below.chain([(USER.start, USER.start)]) {
            if floor <= end && end.above(floor) >= count {
                return Some(PageRange::new(end.minus(count), end));
            }
            end = end.min(next_end);
        }
        None
    }

    /// Splits areas so that `pages` begins and ends between areas, and returns those in it.
    ///
    /// At most two more areas than before: the caller has reserved them.
    pub fn isolate(&mut self, pages: PageRange) -> Range<usize> {
        for edge in [pages.start, pages.end] {
            let index = self.at_or_above(edge);
            if let Some(area) = self.0.get_mut(index)
                && area.pages.start < edge
            {
                let upper = area.split_off(edge);
                self.0.insert(index + 1, upper);
            }
        }
        self.overlap(pages)
    }

    /// Takes the areas of `pages` out; parts beyond stay. The caller has reserved two.
    pub fn remove(&mut self, pages: PageRange) {
        let removed = self.isolate(pages);
        self.0.drain(removed);
    }

    /// Puts an area into a free range, and joins it with its neighbours where they are alike. The caller has reserved one.
    pub fn insert(&mut self, area: Area) {
        let pages = area.pages;
        debug_assert!(self.is_free(pages) && !pages.is_empty());
        self.0.insert(self.at_or_above(pages.start), area);
        self.join(pages);
    }

    /// Changes the areas of `pages`. The caller has reserved two.
    pub fn change(&mut self, pages: PageRange, change: impl FnMut(&mut Area)) {
        let changed = self.isolate(pages);
        self.0[changed].iter_mut().for_each(change);
        self.join(pages);
    }

    /// Lets the area that is called `label` grow to `most` pages; it does not shrink.
    pub fn limit_growth(&mut self, label: &str, most: u64) {
        for area in self.0.iter_mut().filter(|area| area.label == label && area.lowest.is_some()) {
            area.lowest = Some(area.pages.end.minus(most.max(area.pages.len())).max(USER.start));
        }
    }

    /// Joins areas that are alike, in and next to `pages`.
    fn join(&mut self, pages: PageRange) {
        let Range { start, end } = self.overlap(pages);
        let mut index = start.saturating_sub(1);
        let mut last = end.min(self.0.len().saturating_sub(1));
        while index < last {
            if self.0[index].joins(&self.0[index + 1]) {
                let upper = self.0.remove(index + 1);
                self.0[index].pages.end = upper.pages.end;
                last -= 1;
            } else {
                index += 1;
            }
        }
    }
}
