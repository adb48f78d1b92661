//! The frame table: one word for each frame of memory, and the way to a frame's bytes.
//!
//! The word of a frame in use counts its owners. The first frame of a free block carries the block's order instead. A
//! frame that is inside a free block, cached by a CPU, or not managed at all has 0.

use super::buddy::Links;
use crate::PAGE;
use core::sync::atomic::{AtomicU32, Ordering};
use x86_64::VirtAddr;

/// Set in the word of the first frame of a free block; the order is in the low bits.
const FREE_BLOCK: u32 = 1 << 31;

pub struct Table {
    words: &'static [AtomicU32],
    hhdm: VirtAddr,
}

impl Table {
    /// Bytes that a table for `frames` frames takes.
    pub const fn bytes(frames: u32) -> u64 {
        frames as u64 * size_of::<AtomicU32>() as u64
    }

    /// Makes a table for the frames `0..frames`, all marked unmanaged, at `at`.
    ///
    /// # Safety
    /// Physical memory is readable and writable at `hhdm` as far as frames will be handed to this allocator, and the
    /// table's bytes at `at` are nobody else's, for ever.
    pub unsafe fn new(hhdm: VirtAddr, at: VirtAddr, frames: u32) -> Self {
        let words = at.as_mut_ptr::<AtomicU32>();
        // SAFETY: the caller gives us these bytes for ever; zero is a valid word, and a page is aligned for words.
        let words = unsafe {
            words.write_bytes(0, frames as usize);
            core::slice::from_raw_parts(words, frames as usize)
        };
        Self { words, hhdm }
    }

    /// The number of owners of frame `number`.
    pub fn owners(&self, number: u32) -> &AtomicU32 {
        &self.words[number as usize]
    }

    /// The number of frames that have a word.
    pub fn len(&self) -> u32 {
        self.words.len() as u32
    }

    pub fn hhdm(&self) -> VirtAddr {
        self.hhdm
    }

    /// Where the bytes of frame `number` are.
    pub fn bytes_of(&self, number: u32) -> *mut [u8; PAGE] {
        (self.hhdm.as_u64() + u64::from(number) * PAGE as u64) as *mut [u8; PAGE]
    }

    pub(super) fn is_free_block(&self, first: u32, order: usize) -> bool {
        let word = self.words.get(first as usize);
        word.is_some_and(|word| word.load(Ordering::Relaxed) == FREE_BLOCK | order as u32)
    }

    pub(super) fn mark_free_block(&self, first: u32, order: usize) {
        self.owners(first).store(FREE_BLOCK | order as u32, Ordering::Relaxed);
    }

    pub(super) fn mark_taken(&self, first: u32) {
        self.owners(first).store(0, Ordering::Relaxed);
    }

    pub(super) fn links(&self, first: u32) -> Links {
        debug_assert!(self.owners(first).load(Ordering::Relaxed) & FREE_BLOCK != 0);
        // SAFETY: only first frames of free blocks come here (asserted above). The buddy allocator alone may touch
        // their bytes, and its lock is held by our caller, which has it as `&mut Buddy`.
        unsafe { self.bytes_of(first).cast::<Links>().read() }
    }

    pub(super) fn set_links(&self, first: u32, links: Links) {
        debug_assert!(self.owners(first).load(Ordering::Relaxed) & FREE_BLOCK != 0);
        // SAFETY: as in `links`.
        unsafe { self.bytes_of(first).cast::<Links>().write(links) }
    }
}
