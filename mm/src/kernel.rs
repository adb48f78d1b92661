//! The kernel's own address space: all of memory in one window, the kernel's image, device registers and stacks.
//!
//! Its top-level entries are filled in once, here at boot, and copied into each program's tables: what is mapped later goes
//! below them, so that all address spaces see it. Only kernel stacks are ever unmapped again.

use crate::frames::hhdm;
use crate::machine::{self, Lock};
use crate::pages::{Page, PageRange, span};
use crate::tables::{Rights, Tables};
use crate::{OutOfMemory, PAGE, Region, RegionKind, Segment, layout};
use core::sync::atomic::{AtomicU64, Ordering};
use formats::CpuSet;
use x86_64::{PhysAddr, VirtAddr};

/// The size of a large page.
const LARGE: u64 = span(1) * PAGE as u64;
/// The size of a huge page.
const HUGE: u64 = span(2) * PAGE as u64;
/// The first megabyte: the firmware's data, and where CPUs start.
const LOW: u64 = 1 << 20;

/// What does not change after boot.
struct Fixed {
    root: PhysAddr,
    upper_half: [u64; 256],
    image_bytes: u64,
}

struct Kernel {
    fixed: spin::Once<Fixed>,
    tables: Lock<Option<Tables>, { machine::KERNEL_SPACE }>,
    /// How much of the device area is in use, in bytes.
    devices: AtomicU64,
    /// The CPUs that run on these tables or a program's.
    cpus: crate::space::ActiveCpus,
}

static KERNEL: Kernel = Kernel {
    fixed: spin::Once::new(),
    tables: Lock::new(None),
    devices: AtomicU64::new(0),
    cpus: crate::space::ActiveCpus::new(),
};

/// Builds the kernel's page tables.
pub(crate) fn init(
    regions: impl Iterator<Item = Region>,
    hhdm: VirtAddr,
    image: &[Segment],
    gib_pages: bool,
) -> Result<(), OutOfMemory> {
    let mut tables = Tables::for_kernel()?;
    map_window(&mut tables, 0, LOW, hhdm, gib_pages)?;
    for region in regions.filter(|region| region.kind != RegionKind::Reserved) {
        map_window(&mut tables, region.start.as_u64(), region.end().as_u64(), hhdm, gib_pages)?;
    }
    for segment in image {
        map_segment(&mut tables, segment)?;
    }
    tables.pin_top(Page::containing(layout::DEVICES))?;
    tables.pin_top(Page::containing(layout::STACKS))?;
    KERNEL.fixed.call_once(|| Fixed {
        root: tables.root(),
        upper_half: tables.upper_half(),
        image_bytes: image.iter().map(|segment| segment.bytes).sum(),
    });
    *KERNEL.tables.lock() = Some(tables);
    Ok(())
}

/// Maps physical memory from `start` to `end` in the window, rounded outwards to large pages.
fn map_window(
    tables: &mut Tables,
    start: u64,
    end: u64,
    hhdm: VirtAddr,
    gib_pages: bool,
) -> Result<(), OutOfMemory> {
    let flags = Rights::KERNEL.and_global().flags();
    let mut at = start / LARGE * LARGE;
    while at < end {
        let (page, physical) = (Page::containing(hhdm + at), PhysAddr::new(at));
        let huge = gib_pages && at.is_multiple_of(HUGE) && end - at >= HUGE;
        if huge && tables.map_large(page, 2, physical, flags)? {
            at += HUGE;
        } else {
            tables.map_large(page, 1, physical, flags)?;
            at += LARGE;
        }
    }
    Ok(())
}

fn map_segment(tables: &mut Tables, segment: &Segment) -> Result<(), OutOfMemory> {
    debug_assert!(!(segment.write && segment.execute), "a segment that is writable and executable");
    let rights = Rights::KERNEL.and_write(segment.write).and_execute(segment.execute).and_global();
    map_physical(tables, segment.start, segment.physical, segment.bytes.div_ceil(PAGE as u64), rights)
}

fn map_physical(
    tables: &mut Tables,
    start: VirtAddr,
    physical: PhysAddr,
    pages: u64,
    rights: Rights,
) -> Result<(), OutOfMemory> {
    for index in 0..pages {
        let page = Page::containing(start).plus(index);
        tables.leaf_or_new(page)?.map_foreign(page, physical + index * PAGE as u64, rights);
    }
    Ok(())
}

fn fixed() -> &'static Fixed {
    KERNEL.fixed.get().expect("mm::init comes before any use of memory")
}

/// Runs `change` on the kernel's tables.
pub(crate) fn with_tables<R>(change: impl FnOnce(&mut Tables) -> R) -> R {
    change(KERNEL.tables.lock().as_mut().expect("mm::init comes before any use of memory"))
}

/// Leaves the boot loader's page tables for the kernel's, on this CPU. To be called once on each CPU.
pub fn enter() {
    KERNEL.cpus.insert(machine::here());
    load();
}

/// Loads the kernel's tables on this CPU.
pub(crate) fn load() {
    // SAFETY: these are the kernel's tables, which live for ever.
    unsafe { machine::load_root(fixed().root) }
}

/// The kernel's top-level table, for the code that starts other CPUs.
pub fn root() -> PhysAddr {
    fixed().root
}

/// The upper half of the top-level table of every address space.
pub(crate) fn upper_half() -> &'static [u64; 256] {
    &fixed().upper_half
}

/// The CPUs that have entered.
pub(crate) fn cpus() -> CpuSet {
    KERNEL.cpus.get()
}

/// Where the kernel sees the physical memory at `physical`: memory of the boot loader's map, other than what it calls
/// reserved.
pub fn window(physical: PhysAddr) -> VirtAddr {
    hhdm() + physical.as_u64()
}

/// Maps `bytes` of device registers, uncached, for ever. The result keeps the offset in the page.
pub fn map_device(physical: PhysAddr, bytes: u64) -> Result<VirtAddr, OutOfMemory> {
    let offset = physical.as_u64() % PAGE as u64;
    let length = (offset + bytes).next_multiple_of(PAGE as u64);
    let start = layout::DEVICES + KERNEL.devices.fetch_add(length, Ordering::Relaxed);
    let pages = length / PAGE as u64;
    with_tables(|tables| map_physical(tables, start, physical - offset, pages, Rights::DEVICE))?;
    Ok(start + offset)
}

/// Bytes of the kernel's image in memory.
pub(crate) fn image_bytes() -> u64 {
    fixed().image_bytes
}

/// Bytes of the kernel's page tables.
pub(crate) fn table_bytes() -> u64 {
    with_tables(|tables| tables.count() as u64) * PAGE as u64
}

/// The pages of an area of the kernel.
pub(crate) fn range(start: VirtAddr, pages: u64) -> PageRange {
    let start = Page::containing(start);
    PageRange::new(start, start.plus(pages))
}
