//! The central frame allocator: a binary buddy system.
//!
//! A free block is linked through its own first bytes and marked in the frame table, so that the allocator needs no
//! memory of its own and its start-up touches one frame per block, not per frame. Knuth, TAOCP vol. 1, 2.5.

use super::table::Table;
use arrayvec::ArrayVec;

/// The largest block has `2^MAX_ORDER` frames: 4 MiB.
pub const MAX_ORDER: usize = 10;

/// Batches that CPUs take are cut from blocks of this order.
const BATCH_ORDER: usize = 5;

/// How many frames move between a CPU's cache and the central allocator at a time.
pub const BATCH: usize = 1 << BATCH_ORDER;

/// The links of a free block, written in its first frame. Frame 0 is never managed and ends a list.
#[derive(Clone, Copy)]
pub struct Links {
    pub next: u32,
    pub previous: u32,
}

pub struct Buddy {
    /// The first free block of each order; 0 when there is none.
    heads: [u32; MAX_ORDER + 1],
    free: usize,
    total: usize,
}

impl Buddy {
    pub const fn new() -> Self {
        Self { heads: [0; MAX_ORDER + 1], free: 0, total: 0 }
    }

    pub fn free(&self) -> usize {
        self.free
    }

    pub fn total(&self) -> usize {
        self.total
    }

    /// Takes over the frames `start..end`, which nobody uses.
    pub fn add(&mut self, table: &Table, mut start: u32, end: u32) {
        while start < end {
            let fits = (end - start).ilog2() as usize;
            let order = fits.min(start.trailing_zeros() as usize).min(MAX_ORDER);
            self.release(table, start, order);
            self.total += 1 << order;
            start += 1 << order;
        }
    }

    /// Takes a block of `2^order` frames, aligned to its size.
    pub fn take(&mut self, table: &Table, order: usize) -> Option<u32> {
        let mut found = (order..=MAX_ORDER).find(|order| self.heads[*order] != 0)?;
        let first = self.heads[found];
        self.unlink(table, first, found);
        while found > order {
            found -= 1;
            self.link(table, first + (1 << found), found);
        }
        self.free -= 1 << order;
        Some(first)
    }

    /// Takes up to [`BATCH`] single frames, neighbours where possible, lowest last.
    pub fn take_batch<const N: usize>(&mut self, table: &Table, to: &mut ArrayVec<u32, N>) {
        if let Some(first) = self.take(table, BATCH_ORDER) {
            to.extend((first..first + BATCH as u32).rev());
            return;
        }
        to.extend(core::iter::from_fn(|| self.take(table, 0)).take(BATCH));
    }

    /// Gives a block back and joins it with its free buddies.
    pub fn release(&mut self, table: &Table, mut first: u32, mut order: usize) {
        self.free += 1 << order;
        while order < MAX_ORDER {
            let buddy = first ^ (1 << order);
            if !table.is_free_block(buddy, order) {
                break;
            }
            self.unlink(table, buddy, order);
            first &= !(1 << order);
            order += 1;
        }
        self.link(table, first, order);
    }

    fn link(&mut self, table: &Table, first: u32, order: usize) {
        let next = self.heads[order];
        table.mark_free_block(first, order);
        table.set_links(first, Links { next, previous: 0 });
        if next != 0 {
            table.set_links(next, Links { previous: first, ..table.links(next) });
        }
        self.heads[order] = first;
    }

    fn unlink(&mut self, table: &Table, first: u32, order: usize) {
        let Links { next, previous } = table.links(first);
        match previous {
            0 => self.heads[order] = next,
            _ => table.set_links(previous, Links { next, ..table.links(previous) }),
        }
        if next != 0 {
            table.set_links(next, Links { previous, ..table.links(next) });
        }
        table.mark_taken(first);
    }
}
