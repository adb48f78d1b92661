//! Kernel stacks, each with unmapped pages below it.
//!
//! A stack that is not in use stays mapped and waits in a pool, so that a new thread gets a warm one without a page-table
//! change or a flush. [`crate::trim`] takes the pool apart.
//!
//! The stack area is cut into slots of which the upper half is the stack and the lower half is never mapped.

use crate::frames::{self, Frame, Purpose};
use crate::machine::{self, Lock};
use crate::pages::PageRange;
use crate::tables::{Rights, Visit};
use crate::{OutOfMemory, PAGE, kernel, layout};
use arch::tlb::Flush;
use arrayvec::ArrayVec;
use core::fmt;
use x86_64::VirtAddr;

/// Usable bytes of a stack.
pub const STACK_BYTES: usize = 32 * 1024;

const STACK_PAGES: usize = STACK_BYTES / PAGE;
/// A stack and its guard.
const SLOT_BYTES: u64 = 2 * STACK_BYTES as u64;

/// The most stacks that there can be.
const SLOTS: usize = 32 * 1024;

/// Which slots are mapped, and which of them wait to be used.
struct Pool {
    mapped: [u64; SLOTS / 64],
    pooled: [u64; SLOTS / 64],
    /// All slots that wait are in this word of `pooled` or above.
    lowest_pooled: usize,
    mapped_count: usize,
}

static POOL: Lock<Pool, { machine::STACKS }> = Lock::new(Pool {
    mapped: [0; SLOTS / 64],
    pooled: [0; SLOTS / 64],
    lowest_pooled: SLOTS / 64,
    mapped_count: 0,
});

impl Pool {
    fn take(&mut self) -> Option<Slot> {
        let word = (self.lowest_pooled..SLOTS / 64).find(|word| self.pooled[*word] != 0);
        self.lowest_pooled = word.unwrap_or(SLOTS / 64);
        let bits = &mut self.pooled[word?];
        let bit = bits.trailing_zeros();
        *bits &= *bits - 1;
        Some(Slot(64 * word? as u32 + bit))
    }

    fn put(&mut self, slot: Slot) {
        self.pooled[slot.word()] |= slot.bit();
        self.lowest_pooled = self.lowest_pooled.min(slot.word());
    }

    fn map_new(&mut self) -> Result<Slot, OutOfMemory> {
        let word = self.mapped.iter().position(|word| *word != u64::MAX).ok_or(OutOfMemory)?;
        let slot = Slot(64 * word as u32 + self.mapped[word].trailing_ones());
        slot.map()?;
        self.mapped[word] |= slot.bit();
        self.mapped_count += 1;
        Ok(slot)
    }
}

/// The place of one stack.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot(u32);

impl Slot {
    fn word(self) -> usize {
        self.0 as usize / 64
    }

    fn bit(self) -> u64 {
        1 << (self.0 % 64)
    }

    fn top(self) -> VirtAddr {
        layout::STACKS + (u64::from(self.0) + 1) * SLOT_BYTES
    }

    fn pages(self) -> PageRange {
        kernel::range(self.top() - STACK_BYTES as u64, STACK_PAGES as u64)
    }

    fn map(self) -> Result<(), OutOfMemory> {
        let frames = (0..STACK_PAGES)
            .map(|_| frames::alloc_for(Purpose::User))
            .collect::<Result<ArrayVec<Frame, STACK_PAGES>, _>>()?;
        kernel::with_tables(|tables| {
            // A slot is aligned to its length, so one leaf table has all of it.
            let mut leaf = tables.leaf_or_new(self.pages().start)?;
            for (page, frame) in self.pages().iter().zip(frames) {
                leaf.map(page, frame, Rights::KERNEL);
            }
            Ok(())
        })
    }

    /// Unmaps the stack on all CPUs, then frees its memory.
    fn unmap(self) {
        let mut frames = ArrayVec::<Frame, STACK_PAGES>::new();
        let mut empty = ArrayVec::<Frame, { crate::pages::LEVELS }>::new();
        kernel::with_tables(|tables| {
            tables.visit(self.pages(), |visit| match visit {
                Visit::Leaf(leaf, pages) => frames.extend(pages.iter().filter_map(|page| leaf.unmap(page))),
                Visit::Removed(table) => empty.push(table),
            });
        });
        let flush = Flush::Pages { first: self.pages().start.start(), count: STACK_PAGES as u64 };
        machine::shootdown(&kernel::cpus(), flush);
        empty.into_iter().for_each(Frame::free_zeroed);
    }
}

/// A kernel stack, owned. It returns to the pool when it is dropped, which must not happen on that stack.
pub struct KernelStack(Slot);

impl KernelStack {
    /// A stack, from the pool if one waits there.
    pub fn new() -> Result<Self, OutOfMemory> {
        let mut pool = POOL.lock();
        pool.take().map_or_else(|| pool.map_new(), Ok).map(Self)
    }

    /// The address just above the stack, a multiple of the page size.
    pub fn top(&self) -> VirtAddr {
        self.0.top()
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        POOL.lock().put(self.0);
    }
}

impl fmt::Debug for KernelStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel stack up to {:#x}", self.top())
    }
}

/// Whether `address` is in the guard below some kernel stack: a fault there is a stack overflow.
pub fn is_guard(address: VirtAddr) -> bool {
    let area = layout::STACKS..layout::STACKS + SLOTS as u64 * SLOT_BYTES;
    area.contains(&address) && (address - layout::STACKS) % SLOT_BYTES < SLOT_BYTES - STACK_BYTES as u64
}

/// Unmaps the stacks that nobody uses.
pub(crate) fn trim() {
    let mut pool = POOL.lock();
    while let Some(slot) = pool.take() {
        slot.unmap();
        pool.mapped[slot.word()] &= !slot.bit();
        pool.mapped_count -= 1;
    }
}

/// Bytes of all stacks, those in the pool included.
pub fn bytes() -> u64 {
    (POOL.lock().mapped_count * STACK_BYTES) as u64
}

/// Bytes of the stacks in the pool, which count as free memory.
pub fn pooled_bytes() -> u64 {
    let pooled: u32 = POOL.lock().pooled.iter().map(|word| word.count_ones()).sum();
    u64::from(pooled) * STACK_BYTES as u64
}
