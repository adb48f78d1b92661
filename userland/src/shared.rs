//! Memory that parent and children share, as ordinary Rust values.

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::ptr::NonNull;

/// A slice of `T` in anonymous shared memory (`MAP_SHARED | MAP_ANONYMOUS`, see mmap(2)). Children forked after its
/// creation see the same memory, at the same address.
///
/// `T` should hold its data itself: a heap pointer would mean something else in another process.
pub struct Shared<T: Sync> {
    first: NonNull<T>,
    len: usize,
}

// SAFETY: it owns its elements like a `Box<[T]>` does, and hands out only shared references.
unsafe impl<T: Sync> Sync for Shared<T> {}
// SAFETY: as above; nothing in it depends on the thread that made it.
unsafe impl<T: Sync + Send> Send for Shared<T> {}

impl<T: Sync> Shared<T> {
    /// `len` elements, each made by `element` from its index.
    pub fn new(len: usize, mut element: impl FnMut(usize) -> T) -> anyhow::Result<Self> {
        assert!(align_of::<T>() <= 4096 && !std::mem::needs_drop::<T>());
        let bytes = NonZeroUsize::new(len * size_of::<T>()).unwrap_or(NonZeroUsize::MIN);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no existing memory.
        let memory = unsafe {
            mmap_anonymous(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED)
        }?;
        let first = memory.cast::<T>();
        for index in 0..len {
            // SAFETY: the mapping has room for `len` elements, is page-aligned, and nobody else knows it yet.
            unsafe { first.add(index).write(element(index)) };
        }
        Ok(Self { first, len })
    }

    /// `len` elements that are all zero, or whatever else `T`'s default is.
    pub fn zeroed(len: usize) -> anyhow::Result<Self>
    where
        T: Default,
    {
        Self::new(len, |_| T::default())
    }
}

impl<T: Sync> Deref for Shared<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `new` initialised `len` elements, which live as long as `self`; all access is through `&T`, and
        // `T: Sync` makes that sound whoever else uses it.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T: Sync> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no reference into it outlives the value.
        let unmapped = unsafe { munmap(self.first.cast(), (self.len * size_of::<T>()).max(1)) };
        unmapped.expect("a mapping that exists can be unmapped");
    }
}
