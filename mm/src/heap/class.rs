//! Size classes: which slab an allocation comes from.

use crate::PAGE;
use core::alloc::Layout;

/// Bytes of one object of each class. An object is aligned to the largest power of two that divides its size.
const SIZES: [u16; CLASSES] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048];

pub const CLASSES: usize = 14;

/// The largest object that a slab holds. Larger ones get frames of their own.
const LARGEST: usize = 2048;

/// The class for sizes in steps of 16 bytes: `BY_SIZE[(size + 15) / 16]`.
const BY_SIZE: [u8; LARGEST / 16 + 1] = {
    let mut table = [0; LARGEST / 16 + 1];
    let (mut step, mut class) = (0, 0);
    while step < table.len() {
        if step * 16 > SIZES[class] as usize {
            class += 1;
        }
        table[step] = class as u8;
        step += 1;
    }
    table
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class(u8);

impl Class {
    /// The class of the smallest objects that fit `layout`; `None` for what gets frames of its own.
    pub fn of(layout: Layout) -> Option<Self> {
        let class = Self(*BY_SIZE.get(layout.size().div_ceil(16))?);
        if layout.align() <= class.align() {
            return Some(class);
        }
        // Rare: more aligned than its size asks for. A power of two is aligned to itself.
        let padded = layout.size().max(layout.align()).checked_next_power_of_two()?;
        BY_SIZE.get(padded.div_ceil(16)).map(|class| Self(*class))
    }

    pub fn all() -> impl Iterator<Item = Self> {
        (0..CLASSES as u8).map(Self)
    }

    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Bytes of one object.
    pub const fn size(self) -> usize {
        SIZES[self.0 as usize] as usize
    }

    pub const fn align(self) -> usize {
        1 << self.size().trailing_zeros()
    }

    /// A slab has `2^order` frames.
    pub const fn slab_order(self) -> usize {
        if self.size() <= 512 { 0 } else { 2 }
    }

    pub const fn slab_bytes(self) -> usize {
        PAGE << self.slab_order()
    }

    /// How many objects of this class a CPU keeps at most.
    pub const fn magazine(self) -> usize {
        if self.size() <= 256 { 32 } else { 8 }
    }
}

/// The order of the block that a large allocation gets; `None` when no block is so large.
pub fn block_order(layout: Layout) -> Option<usize> {
    let bytes = layout.size().max(layout.align()).max(PAGE).checked_next_power_of_two()?;
    let order = (bytes / PAGE).trailing_zeros() as usize;
    (order <= crate::frames::MAX_ORDER).then_some(order)
}
