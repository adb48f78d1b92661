//! Leaf tables, whose entries map single pages.

use super::Table;
use crate::frames::{Borrowed, Frame};
use crate::pages::{Page, PageRange};
use x86_64::PhysAddr;
use x86_64::structures::paging::page_table::PageTableEntry;
use x86_64::structures::paging::{PageTable, PageTableFlags as Flags};

/// What an entry lets the processor do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rights(Flags);

impl Rights {
    /// A program's page that can be read.
    pub const READ: Self =
        Self(Flags::PRESENT.union(Flags::USER_ACCESSIBLE).union(Flags::NO_EXECUTE).union(SETTLED));
    /// A program's page that cannot be accessed, but is kept.
    pub const NONE: Self = Self(KEPT.union(Flags::NO_EXECUTE));
    /// The kernel's own data.
    pub const KERNEL: Self =
        Self(Flags::PRESENT.union(Flags::WRITABLE).union(Flags::NO_EXECUTE).union(SETTLED));
    /// Device registers.
    pub const DEVICE: Self =
        Self(Self::KERNEL.0.union(Flags::NO_CACHE).union(Flags::WRITE_THROUGH)).and_global();

    /// The same in all address spaces and never unmapped, so that TLBs may keep it whatever root is loaded.
    pub const fn and_global(self) -> Self {
        Self(self.0.union(Flags::GLOBAL))
    }

    pub const fn and_write(self, write: bool) -> Self {
        Self(if write { self.0.union(Flags::WRITABLE) } else { self.0.difference(Flags::WRITABLE) })
    }

    pub const fn and_execute(self, execute: bool) -> Self {
        Self(if execute { self.0.difference(Flags::NO_EXECUTE) } else { self.0.union(Flags::NO_EXECUTE) })
    }

    pub fn is_present(self) -> bool {
        self.0.contains(Flags::PRESENT)
    }

    pub fn can_write(self) -> bool {
        self.0.contains(Flags::PRESENT | Flags::WRITABLE)
    }

    pub fn can_execute(self) -> bool {
        self.is_present() && !self.0.contains(Flags::NO_EXECUTE)
    }

    /// Whether some access that `other` refuses is possible with these.
    pub fn allows_more_than(self, other: Self) -> bool {
        self.is_present() && !other.is_present()
            || self.can_write() && !other.can_write()
            || self.can_execute() && !other.can_execute()
    }

    pub const fn flags(self) -> Flags {
        self.0
    }
}

/// Set from the start, so that the processor never writes to an entry.
const SETTLED: Flags = Flags::ACCESSED.union(Flags::DIRTY);

/// Marks an entry that holds a frame without being present. The processor ignores all bits of such an entry.
const KEPT: Flags = Flags::BIT_9;

/// Marks a frame that is not the allocator's: device registers and the kernel's image.
const FOREIGN: Flags = Flags::BIT_10;

/// An entry that is in use.
pub struct Entry<'a> {
    pub frame: Borrowed<'a>,
    pub rights: Rights,
}

/// A leaf table, borrowed from its tree.
pub struct Leaf<'a>(Table<'a>);

impl<'a> Leaf<'a> {
    pub(super) fn new(table: Table<'a>) -> Self {
        Self(table)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What `page`'s entry holds.
    pub fn get(&self, page: Page) -> Option<Entry<'_>> {
        let entry = &self.0.entries[page.index(0)];
        if entry.is_unused() {
            return None;
        }
        let rights = Rights(entry.flags());
        debug_assert!(!rights.0.contains(FOREIGN));
        // SAFETY: an entry that is in use and not foreign holds a share, and keeps it as long as `self` is borrowed.
        Some(Entry { frame: unsafe { Frame::borrow(entry.addr()) }, rights })
    }

    /// Maps `page`, whose entry is free, to a frame.
    pub fn map(&mut self, page: Page, frame: Frame, rights: Rights) {
        let entry = &mut self.0.entries[page.index(0)];
        debug_assert!(entry.is_unused());
        entry.set_addr(frame.into_address(), rights.0);
        self.0.more(1);
    }

    /// Maps `page`, whose entry is free, to memory that is not the frame allocator's.
    pub fn map_foreign(&mut self, page: Page, physical: PhysAddr, rights: Rights) {
        let entry = &mut self.0.entries[page.index(0)];
        debug_assert!(entry.is_unused());
        entry.set_addr(physical, rights.0 | FOREIGN);
        self.0.more(1);
    }

    /// Unmaps all of `pages`, which are this table's, and hands out what their entries held. TLBs may still have them.
    /// Returns how many there were.
    pub fn unmap_all(&mut self, pages: PageRange, mut each: impl FnMut(Page, Frame)) -> u32 {
        let in_use = self.0.in_use();
        let mut count = 0;
        for (page, entry) in slots(self.0.entries, pages) {
            if entry.is_unused() {
                continue;
            }
            debug_assert!(!entry.flags().contains(FOREIGN));
            let address = entry.addr();
            entry.set_unused();
            count += 1;
            // SAFETY: the entry held a share, and is cleared.
            each(page, unsafe { Frame::from_address(address) });
            if count == in_use {
                break;
            }
        }
        self.0.less(count);
        count
    }

    /// Lets the free entries of `pages` in `to` share the frames of this table's. If `private`, neither may write any more, and
    /// `lowered` is told which could before. Returns how many there were.
    pub fn share_with(
        &mut self,
        to: &mut Leaf,
        pages: PageRange,
        private: bool,
        mut lowered: impl FnMut(Page),
    ) -> u32 {
        let in_use = self.0.in_use();
        let mut count = 0;
        for (page, entry) in slots(self.0.entries, pages) {
            if entry.is_unused() {
                continue;
            }
            debug_assert!(!entry.flags().contains(FOREIGN));
            if private && entry.flags().contains(Flags::WRITABLE) {
                entry.set_flags(entry.flags() - Flags::WRITABLE);
                lowered(page);
            }
            // SAFETY: the entry holds a share, and keeps it.
            let frame = unsafe { Frame::borrow(entry.addr()) }.share();
            to.0.entries[page.index(0)].set_addr(frame.into_address(), entry.flags());
            count += 1;
            if count == in_use {
                break;
            }
        }
        to.0.more(count);
        count
    }

    /// Unmaps `page` and hands out what its entry held. TLBs may still have it.
    pub fn unmap(&mut self, page: Page) -> Option<Frame> {
        let entry = &mut self.0.entries[page.index(0)];
        if entry.is_unused() {
            return None;
        }
        debug_assert!(!entry.flags().contains(FOREIGN));
        let address = entry.addr();
        entry.set_unused();
        self.0.less(1);
        // SAFETY: the entry held a share, and is cleared.
        Some(unsafe { Frame::from_address(address) })
    }

    /// Replaces the frame of `page`, whose entry is in use, and hands out the old one. TLBs may still have it.
    pub fn replace(&mut self, page: Page, frame: Frame, rights: Rights) -> Frame {
        let entry = &mut self.0.entries[page.index(0)];
        debug_assert!(!entry.is_unused() && !entry.flags().contains(FOREIGN));
        let address = entry.addr();
        entry.set_addr(frame.into_address(), rights.0);
        // SAFETY: the entry held a share, and holds another one now.
        unsafe { Frame::from_address(address) }
    }

    /// Changes what `page`'s entry, which is in use, lets the processor do.
    pub fn set_rights(&mut self, page: Page, rights: Rights) {
        let entry = &mut self.0.entries[page.index(0)];
        debug_assert!(!entry.is_unused());
        entry.set_flags(rights.0);
    }
}

/// The entries of `pages`, which are all in the one table.
fn slots(table: &mut PageTable, pages: PageRange) -> impl Iterator<Item = (Page, &mut PageTableEntry)> {
    let first = pages.start.index(0);
    pages.iter().zip(table.iter_mut().skip(first))
}
