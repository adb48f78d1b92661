//! A ring of records that one CPU writes and nobody reads before the end.
//!
//! An interrupt handler may write in the middle of a write: each takes a place of its own by one atomic addition. It would
//! take a whole ring of nested writes for two to have the same.

use alloc::{boxed::Box, vec::Vec};
use core::sync::atomic::{AtomicU64, Ordering::*};
use formats::trace::Record;
use zerocopy::IntoBytes;

type Slot = [AtomicU64; Record::SIZE / 8];

/// Records per piece of memory: 64 KiB are easily found in one piece.
const PIECE: usize = 2048;
/// Records that are written out at once.
const BATCH: usize = 32;

/// A ring that keeps the newest records.
#[derive(Debug)]
pub(super) struct Ring {
    /// How many have been written, ever.
    next: AtomicU64,
    /// One less than the number of places, which is a power of two.
    mask: u64,
    pieces: Box<[Box<[Slot]>]>,
}

impl Ring {
    /// A ring for at least `records` records. `None`: out of memory.
    pub fn new(records: usize) -> Option<Self> {
        let records = records.next_power_of_two().max(PIECE);
        let mut pieces = Vec::new();
        pieces.try_reserve_exact(records / PIECE).ok()?;
        for _ in 0..records / PIECE {
            let mut piece = Vec::new();
            piece.try_reserve_exact(PIECE).ok()?;
            piece.extend((0..PIECE).map(|_| Slot::default()));
            pieces.push(piece.into_boxed_slice());
        }
        Some(Self { next: AtomicU64::new(0), mask: records as u64 - 1, pieces: pieces.into_boxed_slice() })
    }

    fn slot(&self, index: u64) -> &Slot {
        let place = (index & self.mask) as usize;
        &self.pieces[place / PIECE][place % PIECE]
    }

    pub fn push(&self, record: Record) {
        let slot = self.slot(self.next.fetch_add(1, Relaxed));
        for (cell, word) in slot.iter().zip(record.to_words()) {
            cell.store(word, Relaxed);
        }
    }

    /// How many records are still there.
    pub fn kept(&self) -> u64 {
        self.next.load(Acquire).min(self.mask + 1)
    }

    /// How many have been overwritten.
    pub fn lost(&self) -> u64 {
        self.next.load(Acquire) - self.kept()
    }

    /// Calls `write` with the bytes of the records, oldest first.
    pub fn for_each_chunk(&self, write: fn(&[u8])) {
        let (mut index, end) = (self.lost(), self.lost() + self.kept());
        while index < end {
            let count = (end - index).min(BATCH as u64) as usize;
            let mut batch = [[0; Record::SIZE / 8]; BATCH];
            for (words, at) in batch.iter_mut().zip(index..).take(count) {
                *words = self.slot(at).each_ref().map(|cell| cell.load(Relaxed));
            }
            let records = batch.map(Record::from_words);
            write(records[..count].as_bytes());
            index += count as u64;
        }
    }
}
