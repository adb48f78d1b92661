//! Physical memory in frames of 4 KiB: who owns which, and how many owners.
//!
//! A [`Frame`] is an owner's handle on one frame; a [`Block`] is one on several neighbours. Dropping the last handle frees
//! the memory. Each CPU keeps a few free frames at hand, so that the common allocation and release take no lock that
//! another CPU wants; behind them is one buddy allocator.
//!
//! Knows nothing of page tables: an entry that maps a frame is one more owner, see [`Frame::into_address`].

mod buddy;
mod cache;
mod frame;
#[cfg(test)]
mod injection;
mod table;

pub use buddy::MAX_ORDER;
pub use frame::{Block, Borrowed, Frame};
#[cfg(test)]
pub(crate) use injection::{failing_after, injected_failure};

use crate::machine::{self, IrqLock};
use crate::{OutOfMemory, PAGE, Region, RegionKind};
use arrayvec::ArrayVec;
use buddy::Buddy;
use cache::Cache;
use core::sync::atomic::{AtomicUsize, Ordering};
use crossbeam_utils::CachePadded;
use formats::CpuSet;
use table::Table;
use x86_64::{PhysAddr, VirtAddr};

/// Memory below this is never managed: firmware writes there, and starting CPUs need pages there.
const LOWEST: u64 = 1 << 20;

struct Frames {
    table: spin::Once<Table>,
    buddy: IrqLock<Buddy, { machine::FRAMES }>,
    /// The central allocator's free count, for those who do not hold its lock.
    central_free: AtomicUsize,
    /// Frames that only the kernel's own small objects may take, see [`is_low`].
    reserve: AtomicUsize,
    caches: [CachePadded<IrqLock<Cache, { machine::FRAME_CACHE }>>; CpuSet::KERNEL_CAPACITY],
}

static FRAMES: Frames = Frames {
    table: spin::Once::new(),
    buddy: IrqLock::new(Buddy::new()),
    central_free: AtomicUsize::new(0),
    reserve: AtomicUsize::new(0),
    caches: [const { CachePadded::new(IrqLock::new(Cache::new())) }; CpuSet::KERNEL_CAPACITY],
};

/// Who asks for memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Pages and page tables of programs: their lack is an error that the program sees.
    User,
    /// The kernel's own objects, whose lack it cannot always report.
    Kernel,
}

/// Starts the allocator with the usable regions, and takes the frame table out of one of them.
///
/// # Safety
/// As [`crate::init`].
pub(crate) unsafe fn init(
    regions: impl Iterator<Item = Region> + Clone,
    hhdm: VirtAddr,
) -> Result<(), OutOfMemory> {
    let managed = |region: &Region| matches!(region.kind, RegionKind::Usable | RegionKind::Reclaimable);
    let end = regions.clone().filter(managed).map(|region| region.end()).max().ok_or(OutOfMemory)?;
    let frames = u32::try_from(end.as_u64() / PAGE as u64).map_err(|_| OutOfMemory)?;
    let bytes = Table::bytes(frames).next_multiple_of(PAGE as u64);
    let home = regions
        .clone()
        .filter(|region| region.kind == RegionKind::Usable)
        .filter_map(frames_of)
        .find(|(start, end)| u64::from(end - start) * PAGE as u64 >= bytes)
        .ok_or(OutOfMemory)?
        .0;
    let at = hhdm + u64::from(home) * PAGE as u64;
    // SAFETY: the caller says that usable memory is nobody's and mapped at `hhdm`; the loop below leaves the table out.
    let table = FRAMES.table.call_once(|| unsafe { Table::new(hhdm, at, frames) });
    let table_end = home + (bytes / PAGE as u64) as u32;
    let mut buddy = FRAMES.buddy.lock();
    for region in regions.filter(|region| region.kind == RegionKind::Usable) {
        if let Some((start, end)) = frames_of(region) {
            buddy.add(table, if start == home { table_end } else { start }, end);
        }
    }
    FRAMES.reserve.store((buddy.total() / 256).clamp(64, 1024), Ordering::Relaxed);
    FRAMES.central_free.store(buddy.free(), Ordering::Relaxed);
    Ok(())
}

/// Takes over regions that the boot loader used and nobody needs any more.
///
/// # Safety
/// Nothing refers to these regions: not the page tables, the stack, nor the boot information in use on any CPU. They were
/// [`RegionKind::Reclaimable`] in the call of [`crate::init`], and are given once.
pub unsafe fn reclaim(regions: impl Iterator<Item = Region>) {
    let table = table();
    let mut buddy = FRAMES.buddy.lock();
    for (start, end) in regions.filter(|region| region.kind == RegionKind::Reclaimable).filter_map(frames_of)
    {
        buddy.add(table, start, end);
    }
    FRAMES.central_free.store(buddy.free(), Ordering::Relaxed);
}

/// The whole frames of a region that may be managed.
fn frames_of(region: Region) -> Option<(u32, u32)> {
    let start = region.start.as_u64().max(LOWEST).div_ceil(PAGE as u64);
    let end = region.end().as_u64() / PAGE as u64;
    (start < end).then_some((start as u32, end as u32))
}

fn table() -> &'static Table {
    FRAMES.table.get().expect("mm::init comes before any use of memory")
}

/// Where physical memory is mapped.
pub(crate) fn hhdm() -> VirtAddr {
    table().hhdm()
}

/// Bytes of the frame table.
pub(crate) fn table_bytes() -> u64 {
    Table::bytes(table().len())
}

/// A frame whose bytes are whatever its last owner left.
pub fn alloc() -> Result<Frame, OutOfMemory> {
    alloc_for(Purpose::User)
}

/// A frame of zeroes.
pub fn alloc_zeroed() -> Result<Frame, OutOfMemory> {
    alloc_zeroed_for(Purpose::User)
}

/// `2^order` neighbouring frames, aligned to their size, `order` being at most [`MAX_ORDER`].
pub fn alloc_contiguous(order: usize) -> Result<Block, OutOfMemory> {
    alloc_contiguous_for(Purpose::User, order)
}

pub(crate) fn alloc_for(purpose: Purpose) -> Result<Frame, OutOfMemory> {
    injected_failure(purpose)?;
    let number = with_frames(purpose, |cache| cache.take())?;
    Ok(Frame::new(number))
}

pub(crate) fn alloc_zeroed_for(purpose: Purpose) -> Result<Frame, OutOfMemory> {
    injected_failure(purpose)?;
    let mut zeroed = false;
    let number = with_frames(purpose, |cache| match cache.take_zeroed() {
        Some(number) => {
            zeroed = true;
            Some(number)
        }
        None => cache.take(),
    })?;
    let mut frame = Frame::new(number);
    if !zeroed {
        frame.page_mut().fill(0);
    }
    Ok(frame)
}

pub(crate) fn alloc_contiguous_for(purpose: Purpose, order: usize) -> Result<Block, OutOfMemory> {
    injected_failure(purpose)?;
    if order > MAX_ORDER {
        return Err(OutOfMemory);
    }
    let attempt = || {
        let mut buddy = FRAMES.buddy.lock();
        if buddy.free() < (1 << order) + floor(purpose) {
            return None;
        }
        let first = buddy.take(table(), order);
        FRAMES.central_free.store(buddy.free(), Ordering::Relaxed);
        first
    };
    let first = attempt().or_else(|| {
        drain_caches();
        attempt()
    });
    first.map(|first| Block::new(first, order)).ok_or(OutOfMemory)
}

/// Runs `take` on this CPU's cache, refilling it, at need with what other CPUs have cached.
fn with_frames(
    purpose: Purpose,
    mut take: impl FnMut(&mut Cache) -> Option<u32>,
) -> Result<u32, OutOfMemory> {
    let mut attempt = || {
        let mut cache = FRAMES.caches[machine::here().index()].lock();
        take(&mut cache).or_else(|| {
            refill(&mut cache, purpose);
            take(&mut cache)
        })
    };
    attempt()
        .or_else(|| {
            drain_caches();
            attempt()
        })
        .ok_or(OutOfMemory)
}

fn refill(cache: &mut Cache, purpose: Purpose) {
    let mut buddy = FRAMES.buddy.lock();
    if buddy.free() > floor(purpose) {
        buddy.take_batch(table(), cache.frames_mut());
        FRAMES.central_free.store(buddy.free(), Ordering::Relaxed);
    }
}

/// The free frames that `purpose` must leave in the central allocator.
fn floor(purpose: Purpose) -> usize {
    match purpose {
        Purpose::User => FRAMES.reserve.load(Ordering::Relaxed),
        Purpose::Kernel => 0,
    }
}

fn release(numbers: &[u32]) {
    let mut buddy = FRAMES.buddy.lock();
    for number in numbers {
        buddy.release(table(), *number, 0);
    }
    FRAMES.central_free.store(buddy.free(), Ordering::Relaxed);
}

fn release_block(first: u32, order: usize) {
    let mut buddy = FRAMES.buddy.lock();
    buddy.release(table(), first, order);
    FRAMES.central_free.store(buddy.free(), Ordering::Relaxed);
}

/// Gives the free frames that CPUs have at hand back to the central allocator.
pub(crate) fn drain_caches() {
    for cache in &FRAMES.caches {
        let mut numbers = ArrayVec::<u32, { cache::CAPACITY }>::new();
        cache.lock().drain(&mut numbers);
        if !numbers.is_empty() {
            release(&numbers);
        }
    }
}

/// Frames that are free, those that CPUs have at hand included. Exact while nobody allocates or frees.
pub fn free() -> usize {
    let cached: usize = FRAMES.caches.iter().map(|cache| cache.lock().len()).sum();
    cached + FRAMES.buddy.lock().free()
}

/// Frames that this allocator manages.
pub fn total() -> usize {
    FRAMES.buddy.lock().total()
}

/// Whether memory is so short that only the reserve is left.
///
/// Pages of programs are refused at that point. The reserve is for the kernel's small objects, many of which have no way
/// to report that there is no memory (`Arc::new`); so a system call that makes such objects asks this first, and fails with
/// ENOMEM or EAGAIN.
pub fn is_low() -> bool {
    let low = || FRAMES.central_free.load(Ordering::Relaxed) <= FRAMES.reserve.load(Ordering::Relaxed);
    low() && {
        drain_caches();
        low()
    }
}

#[cfg(not(test))]
fn injected_failure(_: Purpose) -> Result<(), OutOfMemory> {
    Ok(())
}

/// The frame at `address`, which is a multiple of the page size.
fn number_of(address: PhysAddr) -> u32 {
    (address.as_u64() / PAGE as u64) as u32
}
