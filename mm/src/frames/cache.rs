//! The free frames that one CPU has at hand.

use super::buddy::BATCH;
use arrayvec::ArrayVec;

/// The most frames of each kind that a CPU keeps.
const LIMIT: usize = 2 * BATCH;

/// The most frames that a CPU keeps in all.
pub const CAPACITY: usize = 2 * LIMIT;

pub struct Cache {
    frames: ArrayVec<u32, LIMIT>,
    /// Frames of zeroes: page tables that were emptied entry by entry need no clearing before they are used again.
    zeroed: ArrayVec<u32, LIMIT>,
}

impl Cache {
    pub const fn new() -> Self {
        Self { frames: ArrayVec::new_const(), zeroed: ArrayVec::new_const() }
    }

    pub fn len(&self) -> usize {
        self.frames.len() + self.zeroed.len()
    }

    pub fn take(&mut self) -> Option<u32> {
        self.frames.pop().or_else(|| self.zeroed.pop())
    }

    pub fn take_zeroed(&mut self) -> Option<u32> {
        self.zeroed.pop()
    }

    /// Where a batch goes; has room for one when [`Self::take`] found nothing.
    pub fn frames_mut(&mut self) -> &mut ArrayVec<u32, LIMIT> {
        &mut self.frames
    }

    /// Keeps a frame; gives a batch to `overflow` when there are too many.
    pub fn put(&mut self, number: u32, overflow: &mut ArrayVec<u32, BATCH>) {
        Self::put_into(&mut self.frames, number, overflow);
    }

    /// Keeps a frame of zeroes.
    pub fn put_zeroed(&mut self, number: u32, overflow: &mut ArrayVec<u32, BATCH>) {
        Self::put_into(&mut self.zeroed, number, overflow);
    }

    fn put_into(kept: &mut ArrayVec<u32, LIMIT>, number: u32, overflow: &mut ArrayVec<u32, BATCH>) {
        if kept.is_full() {
            // The oldest ones: the newest are still in the CPU's data cache.
            overflow.extend(kept.drain(..BATCH));
        }
        kept.push(number);
    }

    pub fn drain(&mut self, to: &mut ArrayVec<u32, CAPACITY>) {
        to.extend(self.frames.drain(..));
        to.extend(self.zeroed.drain(..));
    }
}
