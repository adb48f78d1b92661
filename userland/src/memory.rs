//! Pages whose mapping a test changes under its own feet.
//!
//! Access goes through volatile loads and stores that the compiler neither elides nor moves, since what they find depends
//! on page tables, not on the program. Touching a page that is not accessible raises SIGSEGV: often that is the point.

use anyhow::Context;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, mprotect, munmap};
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;

/// Bytes in a page.
pub const PAGE: usize = 4096;
/// 64-bit words in a page.
pub const WORDS: usize = PAGE / size_of::<u64>();
pub const READ_WRITE: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);

/// A range of the address space, read and written in 64-bit words. It is unmapped when dropped.
pub struct Pages {
    base: NonNull<c_void>,
    count: usize,
}

// SAFETY: the words are plain memory of the process; access is volatile and by word, and what threads see of each
// other's writes is what the programs test.
unsafe impl Sync for Pages {}
// SAFETY: as above.
unsafe impl Send for Pages {}

impl Pages {
    /// `count` pages of zeroes that fork copies.
    pub fn private(count: usize) -> anyhow::Result<Self> {
        Self::anonymous(count, MapFlags::MAP_PRIVATE)
    }

    /// `count` pages of zeroes that fork shares.
    pub fn shared(count: usize) -> anyhow::Result<Self> {
        Self::anonymous(count, MapFlags::MAP_SHARED)
    }

    fn anonymous(count: usize, flags: MapFlags) -> anyhow::Result<Self> {
        // SAFETY: the kernel chooses an unused address.
        let base = unsafe { mmap_anonymous(None, bytes(count), READ_WRITE, flags) };
        Ok(Self { base: base.context("mmap of anonymous pages")?, count })
    }

    /// The first `count` pages of `file`, writable in memory only.
    pub fn of_file(file: impl AsFd, count: usize) -> anyhow::Result<Self> {
        // SAFETY: the kernel chooses an unused address.
        let base = unsafe { mmap(None, bytes(count), READ_WRITE, MapFlags::MAP_PRIVATE, file, 0) };
        Ok(Self { base: base.context("mmap of a file")?, count })
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The address of word `word`, counted from the start.
    pub fn address(&self, word: usize) -> usize {
        self.pointer(word).as_ptr() as usize
    }

    pub fn load(&self, word: usize) -> u64 {
        // SAFETY: `pointer` checked the range. An inaccessible page stops the thread with a signal.
        unsafe { self.pointer(word).read_volatile() }
    }

    pub fn store(&self, word: usize, value: u64) {
        // SAFETY: as in `load`.
        unsafe { self.pointer(word).write_volatile(value) }
    }

    /// Changes what may be done with all pages, as mprotect(2).
    pub fn protect(&self, protection: ProtFlags) -> anyhow::Result<()> {
        // SAFETY: only this mapping's own pages change, and they are reached through `load` and `store` alone.
        unsafe { mprotect(self.base, self.count * PAGE, protection) }.context("mprotect")
    }

    /// Throws the contents away, as MADV_DONTNEED: private anonymous pages read as zero afterwards.
    pub fn discard(&self) -> anyhow::Result<()> {
        // SAFETY: as in `protect`.
        unsafe { madvise(self.base, self.count * PAGE, MmapAdvise::MADV_DONTNEED) }.context("madvise")
    }

    /// Leaves a hole in the address space where the pages are, until [`Self::renew`].
    pub fn unmap(&self) -> anyhow::Result<()> {
        // SAFETY: as in `protect`.
        unsafe { munmap(self.base, self.count * PAGE) }.context("munmap")
    }

    /// Puts new private pages of zeroes in the place of the old ones, or of the hole.
    pub fn renew(&self) -> anyhow::Result<()> {
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED;
        let place = NonZeroUsize::new(self.base.as_ptr() as usize);
        // SAFETY: the range belongs to this value even while there is a hole.
        unsafe { mmap_anonymous(place, bytes(self.count), READ_WRITE, flags) }.context("mmap MAP_FIXED")?;
        Ok(())
    }

    fn pointer(&self, word: usize) -> NonNull<u64> {
        assert!(word < self.count * WORDS, "word {word} is outside of {} pages", self.count);
        // SAFETY: it lies in the range, as just checked.
        unsafe { self.base.cast::<u64>().add(word) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let _ = self.unmap();
    }
}

fn bytes(pages: usize) -> NonZeroUsize {
    NonZeroUsize::new(pages * PAGE).expect("a mapping has at least one page")
}
