//! Slabs: blocks of frames cut into objects of one class.
//!
//! A slab begins with its header, and its free objects are linked through themselves. Slabs with a free object are linked
//! in their class. A slab that becomes empty goes back to the frame allocator, but for one that the class keeps.

use super::class::Class;
use crate::frames::{self, Block, Purpose};
use core::ptr::{self, NonNull};

/// A free object: a link to the next one.
pub struct Free {
    pub next: Option<NonNull<Free>>,
}

#[repr(C)]
struct Slab {
    next: *mut Slab,
    previous: *mut Slab,
    free: Option<NonNull<Free>>,
    /// Objects that are not in `free`.
    used: u32,
    capacity: u32,
}

/// The slabs of one class that have a free object. All calls name the same class.
pub struct Slabs {
    first: *mut Slab,
    /// How many of them are empty: 0 or 1 but for a moment.
    empty: usize,
    /// Frames in all slabs of the class, full ones included.
    frames: usize,
}

// SAFETY: the pointers are to slabs that this class alone owns, wherever its owner is.
unsafe impl Send for Slabs {}

impl Slabs {
    pub const fn new() -> Self {
        Self { first: ptr::null_mut(), empty: 0, frames: 0 }
    }

    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Takes one object, of a new slab if need be.
    pub fn take(&mut self, class: Class) -> Option<NonNull<Free>> {
        if self.first.is_null() {
            self.grow(class)?;
        }
        // SAFETY: `first` is a slab of ours, with a free object, as all in the list; a free object is nobody's but its
        // slab's, and begins with its link. Our caller holds the class exclusively.
        unsafe {
            let slab = &mut *self.first;
            let object = slab.free?;
            slab.free = object.read().next;
            self.empty -= usize::from(slab.used == 0);
            slab.used += 1;
            if slab.free.is_none() {
                self.unlink(slab);
            }
            Some(object)
        }
    }

    /// Takes back an object.
    ///
    /// # Safety
    /// [`Self::take`] gave it out, and nobody uses it any more.
    pub unsafe fn give(&mut self, class: Class, object: NonNull<Free>) {
        let slab = object.as_ptr().map_addr(|at| at & !(class.slab_bytes() - 1)).cast::<Slab>();
        // SAFETY: a slab is aligned to its length and begins with its header, so this is the header of the object's slab.
        // The caller gives us the object's bytes.
        unsafe {
            let header = &mut *slab;
            object.write(Free { next: header.free });
            if header.free.replace(object).is_none() {
                self.link(slab);
            }
            header.used -= 1;
            if header.used == 0 {
                self.empty += 1;
                if self.empty > 1 {
                    self.release(class, slab);
                }
            }
        }
    }

    /// Gives the empty slab back, if there is one.
    pub fn trim(&mut self, class: Class) {
        let mut slab = self.first;
        while !slab.is_null() && self.empty != 0 {
            // SAFETY: a slab of our list, of which we take the successor before it may go.
            unsafe {
                let next = (*slab).next;
                if (*slab).used == 0 {
                    self.release(class, slab);
                }
                slab = next;
            }
        }
    }

    fn grow(&mut self, class: Class) -> Option<()> {
        let start = match class.slab_order() {
            0 => frames::alloc_for(Purpose::Kernel).ok()?.into_block().into_start(),
            order => frames::alloc_contiguous_for(Purpose::Kernel, order).ok()?.into_start(),
        };
        let slab = start.as_mut_ptr::<Slab>();
        let offset = size_of::<Slab>().next_multiple_of(class.align());
        let capacity = (class.slab_bytes() - offset) / class.size();
        let mut free = None;
        for index in (0..capacity).rev() {
            // SAFETY: the object is inside of the block, behind the header, aligned for a link, and nobody else's.
            unsafe {
                let object = slab.byte_add(offset + index * class.size()).cast::<Free>();
                object.write(Free { next: free });
                free = NonNull::new(object);
            }
        }
        let header = Slab {
            next: ptr::null_mut(),
            previous: ptr::null_mut(),
            free,
            used: 0,
            capacity: capacity as u32,
        };
        // SAFETY: the block is ours and aligned to a page; the header fits before the first object.
        unsafe {
            slab.write(header);
            self.link(slab);
        }
        self.empty += 1;
        self.frames += 1 << class.slab_order();
        Some(())
    }

    /// # Safety
    /// `slab` is of our list, and empty.
    unsafe fn release(&mut self, class: Class, slab: *mut Slab) {
        // SAFETY: by the caller's promise nobody has an object of it.
        let block = unsafe {
            debug_assert!((*slab).used == 0 && (*slab).capacity != 0);
            self.unlink(slab);
            Block::from_start(x86_64::VirtAddr::from_ptr(slab), class.slab_order())
        };
        self.empty -= 1;
        self.frames -= 1 << class.slab_order();
        drop(block);
    }

    /// # Safety
    /// `slab` is of this class, and in no list.
    unsafe fn link(&mut self, slab: *mut Slab) {
        // SAFETY: headers of our own slabs, which we hold exclusively.
        unsafe {
            (*slab).previous = ptr::null_mut();
            (*slab).next = self.first;
            if let Some(first) = self.first.as_mut() {
                first.previous = slab;
            }
        }
        self.first = slab;
    }

    /// # Safety
    /// `slab` is in our list.
    unsafe fn unlink(&mut self, slab: *mut Slab) {
        // SAFETY: headers of our own slabs, which we hold exclusively.
        unsafe {
            let Slab { next, previous, .. } = *slab;
            if let Some(next) = next.as_mut() {
                next.previous = previous;
            }
            match previous.as_mut() {
                Some(previous) => previous.next = next,
                None => self.first = next,
            }
        }
    }
}
