//! The free objects that one CPU has at hand, a stack for each class.

use super::class::{CLASSES, Class};
use super::slab::Free;
use core::ptr::NonNull;

pub struct Magazine {
    first: Option<NonNull<Free>>,
    len: usize,
}

// SAFETY: the objects are free and belong to the magazine, wherever its owner is.
unsafe impl Send for Magazine {}

impl Magazine {
    const EMPTY: Self = Self { first: None, len: 0 };

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn pop(&mut self) -> Option<NonNull<Free>> {
        let object = self.first?;
        // SAFETY: the objects in here are free and ours, and begin with their link.
        self.first = unsafe { object.read().next };
        self.len -= 1;
        Some(object)
    }

    /// # Safety
    /// The object is of this magazine's class, and nobody uses it any more.
    pub unsafe fn push(&mut self, object: NonNull<Free>) {
        // SAFETY: the caller gives us the object's bytes, which have room and alignment for a link.
        unsafe { object.write(Free { next: self.first }) };
        self.first = Some(object);
        self.len += 1;
    }
}

pub struct Magazines([Magazine; CLASSES]);

impl Magazines {
    pub const fn new() -> Self {
        Self([Magazine::EMPTY; CLASSES])
    }

    pub fn of(&mut self, class: Class) -> &mut Magazine {
        &mut self.0[class.index()]
    }
}
