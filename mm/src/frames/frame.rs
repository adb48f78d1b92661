//! Handles that own frames.

use super::buddy::BATCH;
use super::{FRAMES, number_of, release, release_block, table};
use crate::PAGE;
use crate::machine;
use arrayvec::ArrayVec;
use core::fmt;
use core::mem::ManuallyDrop;
use core::num::NonZeroU32;
use core::ops::Deref;
use core::sync::atomic::{AtomicU32, Ordering, fence};
use x86_64::{PhysAddr, VirtAddr};

/// One owner's share of a frame. The frame is free when the last share is dropped.
#[derive(PartialEq, Eq)]
pub struct Frame(NonZeroU32);

impl Frame {
    /// Takes a frame that the allocator holds free.
    pub(super) fn new(number: u32) -> Self {
        let number = NonZeroU32::new(number).expect("frame 0 is never managed");
        let frame = Self(number);
        debug_assert_eq!(frame.owners().load(Ordering::Relaxed), 0, "a free frame has an owner");
        frame.owners().store(1, Ordering::Relaxed);
        frame
    }

    pub fn address(&self) -> PhysAddr {
        PhysAddr::new(u64::from(self.0.get()) * PAGE as u64)
    }

    /// One more share of the same frame.
    pub fn share(&self) -> Self {
        self.owners().fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }

    /// Whether there are other shares. While the caller keeps its share out of others' reach, a `false` stays true.
    pub fn is_shared(&self) -> bool {
        self.owners().load(Ordering::Acquire) != 1
    }

    /// The bytes of a frame that has no other owner: no other kernel code, and no program.
    ///
    /// # Panics
    /// When the frame is shared.
    pub fn page_mut(&mut self) -> &mut [u8; PAGE] {
        assert!(!self.is_shared(), "the bytes of a shared frame have no single owner");
        // SAFETY: this is the only share, borrowed mutably; a frame that a page table maps has a share there.
        unsafe { &mut *self.bytes() }
    }

    /// Copies the bytes of `other`, which programs may be writing to, over this frame's.
    ///
    /// # Panics
    /// When this frame is shared.
    pub fn copy_from(&mut self, other: &Self) {
        let from = other.bytes();
        let to: *mut [u8; PAGE] = self.page_mut();
        // SAFETY: both are whole frames, and different ones, since `self` is the only share of its frame.
        unsafe { core::ptr::copy_nonoverlapping(from, to, 1) }
    }

    /// Copies bytes out of this frame, from `offset` on. What programs write meanwhile may or may not be seen.
    ///
    /// # Panics
    /// When the bytes reach beyond the frame.
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        assert!(offset <= PAGE && to.len() <= PAGE - offset);
        // SAFETY: in bounds (asserted); `to` is an exclusive borrow of other memory, since frames' bytes are only lent
        // mutably while unshared and by that share. Programs' writes race with this copy as with any device's.
        unsafe {
            let from = self.bytes().cast::<u8>().add(offset);
            core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len());
        }
    }

    /// Copies bytes into this frame, from `offset` on, for all its owners to see.
    ///
    /// # Panics
    /// When the bytes reach beyond the frame.
    pub fn write(&self, offset: usize, from: &[u8]) {
        assert!(offset <= PAGE && from.len() <= PAGE - offset);
        // SAFETY: as in `read`; no kernel code holds a reference to the bytes of a frame that others may own.
        unsafe {
            let to = self.bytes().cast::<u8>().add(offset);
            core::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
        }
    }

    /// Where the kernel sees the bytes.
    pub(crate) fn bytes(&self) -> *mut [u8; PAGE] {
        table().bytes_of(self.0.get())
    }

    /// The number of owners. A page table's frame counts its used entries here as well, see [`crate::tables`].
    pub(crate) fn owners(&self) -> &AtomicU32 {
        table().owners(self.0.get())
    }

    /// Hands this share over to a page-table entry, which holds it as a bare address.
    pub fn into_address(self) -> PhysAddr {
        ManuallyDrop::new(self).address()
    }

    /// Takes a share back from where [`Self::into_address`] put it.
    ///
    /// # Safety
    /// `address` came from `into_address`, and its holder forgets it.
    pub unsafe fn from_address(address: PhysAddr) -> Self {
        let number = number_of(address);
        debug_assert!(number != 0);
        // SAFETY: frame 0 is never managed, so no share of it was handed out.
        Self(unsafe { NonZeroU32::new_unchecked(number) })
    }

    /// Looks at a share where [`Self::into_address`] put it.
    ///
    /// # Safety
    /// `address` came from `into_address`, and its holder keeps it for `'a`.
    pub unsafe fn borrow<'a>(address: PhysAddr) -> Borrowed<'a> {
        // SAFETY: the share is never dropped through this handle, so its holder still has it.
        Borrowed(ManuallyDrop::new(unsafe { Self::from_address(address) }), core::marker::PhantomData)
    }

    /// The same frame as a block of order 0. It must not be shared.
    pub(crate) fn into_block(self) -> Block {
        debug_assert!(!self.is_shared());
        Block { first: ManuallyDrop::new(self).0, order: 0 }
    }

    /// Drops the last share of a frame that is known to be all zeroes, to be used where zeroes are asked for.
    pub(crate) fn free_zeroed(self) {
        debug_assert!(!self.is_shared());
        // SAFETY: the only share, which is ours.
        debug_assert!(unsafe { &*self.bytes() }.iter().all(|byte| *byte == 0));
        self.owners().store(0, Ordering::Relaxed);
        let number = ManuallyDrop::new(self).0.get();
        let mut overflow = ArrayVec::<u32, BATCH>::new();
        FRAMES.caches[machine::here().index()].lock().put_zeroed(number, &mut overflow);
        if !overflow.is_empty() {
            release(&overflow);
        }
    }
}

impl Drop for Frame {
    #[inline]
    fn drop(&mut self) {
        let before = self.owners().fetch_sub(1, Ordering::Release);
        debug_assert!(before != 0, "a frame was freed twice");
        if before == 1 {
            fence(Ordering::Acquire);
            put(self.0.get());
        }
    }
}

/// Gives a frame that has no owner any more to this CPU's cache.
fn put(number: u32) {
    let mut overflow = ArrayVec::<u32, BATCH>::new();
    FRAMES.caches[machine::here().index()].lock().put(number, &mut overflow);
    if !overflow.is_empty() {
        release(&overflow);
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame {:#x}", self.address())
    }
}

/// A look at a share that somebody else holds.
pub struct Borrowed<'a>(ManuallyDrop<Frame>, core::marker::PhantomData<&'a Frame>);

impl Deref for Borrowed<'_> {
    type Target = Frame;

    fn deref(&self) -> &Frame {
        &self.0
    }
}

/// `2^order` neighbouring frames with one owner.
pub struct Block {
    first: NonZeroU32,
    order: usize,
}

impl Block {
    pub(super) fn new(first: u32, order: usize) -> Self {
        let first = NonZeroU32::new(first).expect("frame 0 is never managed");
        table().owners(first.get()).store(1, Ordering::Relaxed);
        Self { first, order }
    }

    pub fn address(&self) -> PhysAddr {
        PhysAddr::new(u64::from(self.first.get()) * PAGE as u64)
    }

    pub fn order(&self) -> usize {
        self.order
    }

    /// The length in bytes.
    pub fn bytes(&self) -> usize {
        PAGE << self.order
    }

    /// Where the kernel sees the bytes, which are whatever their last owner left.
    pub fn start(&self) -> VirtAddr {
        table().hhdm() + self.address().as_u64()
    }

    /// Gives up the handle for the bytes' address.
    pub(crate) fn into_start(self) -> VirtAddr {
        ManuallyDrop::new(self).start()
    }

    /// Takes back a handle that was given up.
    ///
    /// # Safety
    /// `start` came from [`Self::into_start`] of a block of this order, and nobody uses it any more.
    pub(crate) unsafe fn from_start(start: VirtAddr, order: usize) -> Self {
        let first = number_of(PhysAddr::new(start - table().hhdm()));
        // SAFETY: the caller says that this was a block's start, so it is not frame 0.
        Self { first: unsafe { NonZeroU32::new_unchecked(first) }, order }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.order == 0 {
            drop(Frame(self.first));
            return;
        }
        table().owners(self.first.get()).store(0, Ordering::Relaxed);
        release_block(self.first.get(), self.order);
    }
}
