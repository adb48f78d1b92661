//! Page tables: a tree of frames that owns what it maps.
//!
//! An entry that is in use holds one share of a frame: of the next table, or, in a leaf table, of the page's frame. A
//! table's own owner count is one for its parent plus one for each of its entries in use, so that a table whose count falls
//! to one is empty and goes at once, without a look at its entries, and its frame is known to be all zeroes.
//!
//! Does not flush TLBs: whoever takes a page or a table out of a tree keeps its frame until all CPUs have forgotten it.
//!
//! Intel SDM vol. 3, 4.5 (4-level paging). Entries are made with the accessed and dirty bits set, so that the processor
//! only ever reads these tables.

mod leaf;

pub use leaf::{Leaf, Rights};

use crate::frames::{self, Frame, Purpose};
use crate::pages::{LEVELS, Page, PageRange};
use crate::{OutOfMemory, PhysAddr};
use arrayvec::ArrayVec;
use core::mem::ManuallyDrop;
use core::sync::atomic::Ordering;
use x86_64::structures::paging::{PageTable, PageTableFlags as Flags};

const TOP: usize = LEVELS - 1;

/// How an entry leads to the next table. The leaf entries decide about access.
const TO_TABLE: Flags =
    Flags::PRESENT.union(Flags::WRITABLE).union(Flags::USER_ACCESSIBLE).union(Flags::ACCESSED);

/// A table at some level, borrowed from the tree.
struct Table<'a> {
    entries: &'a mut PageTable,
    frame: ManuallyDrop<Frame>,
}

impl Table<'_> {
    /// # Safety
    /// `address` is a table of a tree that the caller borrows mutably for `'a`, and no other borrow of this table is alive.
    unsafe fn at<'a>(address: PhysAddr) -> Table<'a> {
        // SAFETY: the tree holds a share of each of its tables, and this one is never dropped.
        let frame = ManuallyDrop::new(unsafe { Frame::from_address(address) });
        // SAFETY: the frame is a page table; ours alone by the caller's mutable borrow of the tree. The processor reads it
        // as well, entry by entry, as it may at any time.
        let entries = unsafe { &mut *frame.bytes().cast::<PageTable>() };
        Table { entries, frame }
    }

    /// Puts `next` behind the free entry `index`.
    fn link(&mut self, index: usize, next: Frame) {
        self.entries[index].set_addr(next.into_address(), TO_TABLE);
        self.more(1);
    }

    /// Notes that `count` more entries are in use. Nobody else counts: the tree is borrowed mutably.
    fn more(&self, count: u32) {
        let owners = self.frame.owners();
        owners.store(owners.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    fn less(&self, count: u32) {
        let owners = self.frame.owners();
        owners.store(owners.load(Ordering::Relaxed) - count, Ordering::Relaxed);
    }

    /// The number of entries in use.
    fn in_use(&self) -> u32 {
        self.frame.owners().load(Ordering::Relaxed) - 1
    }

    fn is_empty(&self) -> bool {
        self.in_use() == 0
    }
}

/// What [`Tables::visit`] comes to.
pub enum Visit<'a, 'b> {
    /// A leaf table, and those of the pages that it has entries for.
    Leaf(&'a mut Leaf<'b>, PageRange),
    /// A table that became empty and was taken out. TLBs may still have it.
    Removed(Frame),
}

/// A tree of page tables.
pub struct Tables {
    root: Frame,
    purpose: Purpose,
    /// The number of tables, the root included.
    count: usize,
}

impl Tables {
    /// An empty tree for the kernel.
    pub fn for_kernel() -> Result<Self, OutOfMemory> {
        let root = frames::alloc_zeroed_for(Purpose::Kernel)?;
        Ok(Self { root, purpose: Purpose::Kernel, count: 1 })
    }

    /// An empty tree for a program, with `kernel`'s upper half.
    pub fn for_user(kernel_half: &[u64; 256]) -> Result<Self, OutOfMemory> {
        let mut root = frames::alloc()?;
        let page = root.page_mut();
        page[..2048].fill(0);
        // SAFETY: the upper half of the page that we borrow is 256 aligned words.
        unsafe { page.as_mut_ptr().add(2048).cast::<[u64; 256]>().write(*kernel_half) };
        Ok(Self { root, purpose: Purpose::User, count: 1 })
    }

    /// The upper half of the root.
    pub fn upper_half(&mut self) -> [u64; 256] {
        // SAFETY: the root is a whole page of words.
        unsafe { self.root.bytes().cast::<u64>().add(256).cast::<[u64; 256]>().read() }
    }

    pub fn root(&self) -> PhysAddr {
        self.root.address()
    }

    /// The number of tables in the tree, the root included.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The tables on the way to `page`, and the lowest level that has one. Below that level the path means nothing.
    fn descend(&mut self, page: Page) -> ([PhysAddr; LEVELS], usize) {
        let mut path = [self.root.address(); LEVELS];
        for level in (1..LEVELS).rev() {
            // SAFETY: the address is the root's, or in an entry of a table of this tree, which we borrow mutably; this
            // borrow ends with the turn.
            let table = unsafe { Table::at(path[level]) };
            let entry = &table.entries[page.index(level)];
            if entry.is_unused() {
                return (path, level);
            }
            path[level - 1] = entry.addr();
        }
        (path, 0)
    }

    /// The leaf table that has `page`'s entry, if it exists.
    pub fn leaf(&mut self, page: Page) -> Option<Leaf<'_>> {
        match self.descend(page) {
            // SAFETY: `descend` found the table in this tree, which the result borrows mutably.
            (path, 0) => Some(Leaf::new(unsafe { Table::at(path[0]) })),
            _ => None,
        }
    }

    /// The leaf table that has `page`'s entry, with the tables on the way made where they are missing. Changes nothing if
    /// there is not enough memory for all of them.
    pub fn leaf_or_new(&mut self, page: Page) -> Result<Leaf<'_>, OutOfMemory> {
        let (mut path, mut level) = self.descend(page);
        if level != 0 {
            let missing = (0..level).map(|_| frames::alloc_zeroed_for(self.purpose));
            for table in missing.collect::<Result<ArrayVec<Frame, TOP>, _>>()? {
                path[level - 1] = table.address();
                // SAFETY: the path leads through this tree, which is borrowed mutably; this borrow ends with the turn.
                let mut above = unsafe { Table::at(path[level]) };
                above.link(page.index(level), table);
                self.count += 1;
                level -= 1;
            }
        }
        // SAFETY: found in, or just added to, this tree, which the result borrows mutably.
        Ok(Leaf::new(unsafe { Table::at(path[0]) }))
    }

    /// The table behind entry `index` of the table at `address`.
    fn next_or_new(&mut self, address: PhysAddr, index: usize) -> Result<PhysAddr, OutOfMemory> {
        // SAFETY: `address` is a table of this tree, which is borrowed mutably until we return.
        let mut table = unsafe { Table::at(address) };
        if table.entries[index].is_unused() {
            table.link(index, frames::alloc_zeroed_for(self.purpose)?);
            self.count += 1;
        }
        Ok(table.entries[index].addr())
    }

    /// Visits the leaf tables that have entries for `pages`. A table that is empty after its visit is taken out, and so are
    /// those above that are empty then.
    pub fn visit(&mut self, pages: PageRange, mut visit: impl FnMut(Visit)) {
        let mut at = pages.start;
        while at < pages.end {
            let (path, level) = self.descend(at);
            if level != 0 {
                at = at.next(level);
                continue;
            }
            let next = at.next(1);
            // SAFETY: `descend` found the table in this tree, which is borrowed mutably while `visit` has the leaf.
            let mut leaf = Leaf::new(unsafe { Table::at(path[0]) });
            visit(Visit::Leaf(&mut leaf, PageRange::new(at, next.min(pages.end))));
            if leaf.is_empty() {
                self.remove_empty(&path, 0, at, |table| visit(Visit::Removed(table)));
            }
            at = next;
        }
    }

    /// Takes out the tables for `page` that are empty, and gives them to `removed`.
    pub fn prune(&mut self, page: Page, removed: impl FnMut(Frame)) {
        let (path, level) = self.descend(page);
        self.remove_empty(&path, level, page, removed);
    }

    /// Takes out the tables of `path` that are empty, from `level` up to below the root.
    fn remove_empty(
        &mut self,
        path: &[PhysAddr; LEVELS],
        level: usize,
        page: Page,
        mut removed: impl FnMut(Frame),
    ) {
        for level in level..TOP {
            // SAFETY: the path leads through this tree, which we borrow mutably; nobody else has borrowed the table.
            if !unsafe { Table::at(path[level]) }.is_empty() {
                return;
            }
            // SAFETY: as above, for the table above it.
            let above = unsafe { Table::at(path[level + 1]) };
            above.entries[page.index(level + 1)].set_unused();
            above.less(1);
            self.count -= 1;
            // SAFETY: the entry that held this share is cleared, and forgotten with that.
            removed(unsafe { Frame::from_address(path[level]) });
        }
    }

    /// Makes the top-level entry for `page` and keeps it for ever, whatever is mapped under it.
    pub fn pin_top(&mut self, page: Page) -> Result<(), OutOfMemory> {
        let next = self.next_or_new(self.root.address(), page.index(TOP))?;
        // SAFETY: `next` is a table of this tree, borrowed for this statement.
        unsafe { Table::at(next) }.more(1);
        Ok(())
    }

    /// Maps a large page: 2 MiB at `level` 1, 1 GiB at 2. Returns false, and changes nothing, where something is mapped.
    pub fn map_large(
        &mut self,
        page: Page,
        level: usize,
        physical: PhysAddr,
        flags: Flags,
    ) -> Result<bool, OutOfMemory> {
        let mut address = self.root.address();
        for above in (level + 1..LEVELS).rev() {
            // SAFETY: a table of this tree, which is borrowed mutably; this borrow ends with the statement.
            let flags = unsafe { Table::at(address) }.entries[page.index(above)].flags();
            if flags.contains(Flags::HUGE_PAGE) {
                return Ok(false);
            }
            address = self.next_or_new(address, page.index(above))?;
        }
        // SAFETY: a table of this tree, which is borrowed mutably until we return.
        let table = unsafe { Table::at(address) };
        let entry = &mut table.entries[page.index(level)];
        let free = entry.is_unused();
        if free {
            entry.set_addr(physical, flags | Flags::HUGE_PAGE);
            table.more(1);
        }
        Ok(free)
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        // The kernel's tree lives for ever; a program's is emptied by its address space, which knows what is in it.
        debug_assert!(self.count == 1, "page tables were left behind");
        self.root.owners().store(1, Ordering::Relaxed);
    }
}
