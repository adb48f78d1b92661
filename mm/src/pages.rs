//! Virtual pages and ranges of them, as plain numbers: their arithmetic cannot overflow or leave the canonical addresses.

use crate::{PAGE, layout};
use core::fmt;
use x86_64::VirtAddr;

/// A virtual page of 4 KiB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Page(u64);

/// The levels of page tables below the top-level one, from the leaves up.
pub(crate) const LEVELS: usize = 4;

/// Pages under one entry of a table at `level`; the leaves' level is 0.
pub(crate) const fn span(level: usize) -> u64 {
    1 << (9 * level)
}

impl Page {
    /// The page that `address` is in.
    pub const fn containing(address: VirtAddr) -> Self {
        Self(address.as_u64() / PAGE as u64)
    }

    /// The address of the first byte.
    pub const fn start(self) -> VirtAddr {
        VirtAddr::new_truncate(self.0 * PAGE as u64)
    }

    /// The index of this page's entry in a table at `level`.
    pub(crate) const fn index(self, level: usize) -> usize {
        (self.0 >> (9 * level)) as usize % 512
    }

    /// The first page that is under the next entry of a table at `level`.
    pub(crate) const fn next(self, level: usize) -> Self {
        Self((self.0 | (span(level) - 1)) + 1)
    }

    /// The page `count` pages further up. `count` is bounded by an area's length.
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }

    /// The page `count` pages further down, or the lowest.
    pub const fn minus(self, count: u64) -> Self {
        Self(self.0.saturating_sub(count))
    }

    /// The page whose number is the next lower multiple of `count`, a power of two.
    pub(crate) const fn aligned_down(self, count: u64) -> Self {
        Self(self.0 & !(count - 1))
    }

    /// How many pages this one is above `lower`.
    pub const fn above(self, lower: Self) -> u64 {
        self.0 - lower.0
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {:#x}", self.start())
    }
}

/// The pages from `start` to before `end`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PageRange {
    pub start: Page,
    pub end: Page,
}

/// All pages that programs can map.
pub(crate) const USER: PageRange =
    PageRange { start: Page::containing(layout::USER_START), end: Page::containing(layout::USER_END) };

impl PageRange {
    pub const fn new(start: Page, end: Page) -> Self {
        Self { start, end }
    }

    /// The `bytes` from `start`, rounded up to whole pages. `None` when `start` is not a page's, when there are no bytes, or
    /// when they leave the lower half of the address space.
    pub fn of(start: VirtAddr, bytes: u64) -> Option<Self> {
        let end = start.as_u64().checked_add(bytes)?.checked_next_multiple_of(PAGE as u64)?;
        let fits = start.is_aligned(PAGE as u64) && bytes != 0 && end <= 1 << 47;
        fits.then_some(Self { start: Page::containing(start), end: Page(end / PAGE as u64) })
    }

    /// The number of pages.
    pub const fn len(&self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    pub const fn is_empty(&self) -> bool {
        self.end.0 <= self.start.0
    }

    pub fn contains(&self, page: Page) -> bool {
        self.start <= page && page < self.end
    }

    pub fn includes(&self, other: &Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// What is in both, if anything.
    pub fn and(&self, other: &Self) -> Option<Self> {
        let both = Self { start: self.start.max(other.start), end: self.end.min(other.end) };
        (!both.is_empty()).then_some(both)
    }

    pub fn iter(&self) -> impl Iterator<Item = Page> + use<> {
        (self.start.0..self.end.0).map(Page)
    }
}

impl fmt::Debug for PageRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start.start(), self.end.start())
    }
}
