//! The kernel's heap.
//!
//! Small objects come from slabs of their size class, behind a magazine per CPU, so that the common allocation and release
//! take no lock that another CPU wants. Large ones, and all that are aligned to a page or more, are blocks of frames.
//! A failed allocation is a null pointer.
//!
//! Accounting is exact: after [`trim`] the heap holds the slabs with a living object, the large blocks, and nothing else.

mod class;
mod magazine;
mod slab;

use crate::PAGE;
use crate::frames::{self, Block, Purpose};
use crate::machine::{self, IrqLock};
use class::{CLASSES, Class, block_order};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};
use crossbeam_utils::CachePadded;
use formats::CpuSet;
use magazine::Magazines;
use slab::{Free, Slabs};
use x86_64::VirtAddr;

type ClassLock = CachePadded<IrqLock<Slabs, { machine::HEAP_CLASS }>>;

struct Heap {
    magazines: [CachePadded<IrqLock<Magazines, { machine::HEAP_MAGAZINE }>>; CpuSet::KERNEL_CAPACITY],
    classes: [ClassLock; CLASSES],
    /// Frames of large allocations.
    large: AtomicUsize,
}

static HEAP: Heap = Heap {
    magazines: [const { CachePadded::new(IrqLock::new(Magazines::new())) }; CpuSet::KERNEL_CAPACITY],
    classes: [const { CachePadded::new(IrqLock::new(Slabs::new())) }; CLASSES],
    large: AtomicUsize::new(0),
};

/// The kernel's `#[global_allocator]`. All values are the same heap.
pub struct KernelHeap;

// SAFETY: an object of a class is as large as its layout asks for and aligned to what divides its size; a block is aligned
// to its length. Slabs and the frame allocator give each out once until it comes back. Nothing here unwinds.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match Class::of(layout) {
            Some(class) => alloc_small(class).map_or(ptr::null_mut(), |object| object.as_ptr().cast()),
            None => alloc_large(layout),
        }
    }

    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        match (Class::of(layout), NonNull::new(object.cast::<Free>())) {
            // SAFETY: the caller gives back what `alloc` gave out for this layout, so it is an object of this class.
            (Some(class), Some(object)) => unsafe { free_small(class, object) },
            // SAFETY: as above, and without a class it was a block.
            _ => unsafe { free_large(object, layout) },
        }
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(new) = Layout::from_size_align(size, layout.align()) else { return ptr::null_mut() };
        let same = match (Class::of(layout), Class::of(new)) {
            (Some(old), Some(new)) => old == new,
            (None, None) => block_order(layout) == block_order(new),
            _ => false,
        };
        if same {
            return object;
        }
        // SAFETY: `new` has a size that is not 0, by the caller's promise. The objects are different ones, and both are at
        // least as long as what is copied. The old one is the caller's to give back.
        unsafe {
            let to = self.alloc(new);
            if !to.is_null() {
                ptr::copy_nonoverlapping(object, to, size.min(layout.size()));
                self.dealloc(object, layout);
            }
            to
        }
    }
}

fn alloc_small(class: Class) -> Option<NonNull<Free>> {
    let mut magazines = HEAP.magazines[machine::here().index()].lock();
    let magazine = magazines.of(class);
    magazine.pop().or_else(|| {
        let mut slabs = HEAP.classes[class.index()].lock();
        for _ in 1..class.magazine() / 2 {
            match slabs.take(class) {
                // SAFETY: a free object of this class, which is ours.
                Some(object) => unsafe { magazine.push(object) },
                None => break,
            }
        }
        slabs.take(class).or_else(|| magazine.pop())
    })
}

/// # Safety
/// The object is one of this class, and nobody uses it any more.
unsafe fn free_small(class: Class, object: NonNull<Free>) {
    let mut magazines = HEAP.magazines[machine::here().index()].lock();
    let magazine = magazines.of(class);
    // SAFETY: the caller gives us the object.
    unsafe { magazine.push(object) };
    if magazine.len() > class.magazine() {
        give_back(class, magazine, class.magazine() / 2);
    }
}

/// Moves objects to their slabs until `keep` are left.
fn give_back(class: Class, magazine: &mut magazine::Magazine, keep: usize) {
    let mut slabs = HEAP.classes[class.index()].lock();
    while magazine.len() > keep {
        if let Some(object) = magazine.pop() {
            // SAFETY: a magazine has free objects of its class.
            unsafe { slabs.give(class, object) };
        }
    }
}

fn alloc_large(layout: Layout) -> *mut u8 {
    let block = block_order(layout).and_then(|order| match order {
        0 => frames::alloc_for(Purpose::Kernel).ok().map(frames::Frame::into_block),
        order => frames::alloc_contiguous_for(Purpose::Kernel, order).ok(),
    });
    block.map_or(ptr::null_mut(), |block| {
        HEAP.large.fetch_add(1 << block.order(), Ordering::Relaxed);
        block.into_start().as_mut_ptr()
    })
}

/// # Safety
/// `alloc_large` gave this out for this layout, and nobody uses it any more.
unsafe fn free_large(object: *mut u8, layout: Layout) {
    if let Some(order) = block_order(layout) {
        HEAP.large.fetch_sub(1 << order, Ordering::Relaxed);
        // SAFETY: the block was given up in `alloc_large` with this order.
        drop(unsafe { Block::from_start(VirtAddr::from_ptr(object), order) });
    }
}

/// Gives all free objects and empty slabs back to the frame allocator.
pub(crate) fn trim() {
    for magazines in &HEAP.magazines {
        let mut magazines = magazines.lock();
        for class in Class::all() {
            let magazine = magazines.of(class);
            if magazine.len() != 0 {
                give_back(class, magazine, 0);
            }
        }
    }
    for class in Class::all() {
        HEAP.classes[class.index()].lock().trim(class);
    }
}

/// Bytes of all slabs and large blocks.
pub fn bytes() -> u64 {
    let slabs: usize = HEAP.classes.iter().map(|slabs| slabs.lock().frames()).sum();
    ((slabs + HEAP.large.load(Ordering::Relaxed)) * PAGE) as u64
}
