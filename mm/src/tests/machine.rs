//! The simulated machine: its memory, and the check that a test gives all of it back.

use crate::{Boot, PAGE, PhysAddr, Region, RegionKind, Segment, VirtAddr, frames};
use std::alloc::{Layout, alloc_zeroed};
use std::sync::{Mutex, MutexGuard, Once};

pub const MEMORY: u64 = 64 << 20;
pub const LARGE: u64 = 2 << 20;
/// Where the simulated kernel is, in physical memory.
pub const IMAGE: u64 = 4 << 20;

pub fn regions() -> [Region; 5] {
    let region = |start, end, kind| Region { start: PhysAddr::new(start), bytes: end - start, kind };
    [
        region(0, 640 << 10, RegionKind::Usable),
        region(1 << 20, IMAGE, RegionKind::Usable),
        region(IMAGE, IMAGE + LARGE, RegionKind::Kernel),
        region(IMAGE + LARGE, MEMORY - LARGE, RegionKind::Usable),
        region(MEMORY - LARGE, MEMORY, RegionKind::Reclaimable),
    ]
}

pub fn image() -> [Segment; 3] {
    let segment = |offset: u64, pages: u64, write, execute| Segment {
        start: VirtAddr::new(0xffff_ffff_8000_0000 + offset),
        physical: PhysAddr::new(IMAGE + offset),
        bytes: pages * PAGE as u64,
        write,
        execute,
    };
    [segment(0, 16, false, true), segment(0x1_0000, 4, false, false), segment(0x1_4000, 8, true, false)]
}

static BOOTED: Once = Once::new();
static ALONE: Mutex<()> = Mutex::new(());

/// The machine for the time of one test. All frames must be free again when it is dropped.
pub struct Machine {
    free: usize,
    _alone: MutexGuard<'static, ()>,
}

pub fn boot() -> Machine {
    let alone = ALONE.lock().unwrap_or_else(|failed_test| failed_test.into_inner());
    BOOTED.call_once(|| {
        let layout = Layout::from_size_align(MEMORY as usize, LARGE as usize).expect("a valid layout");
        // SAFETY: the layout has a size. The memory is never given back.
        let memory = unsafe { alloc_zeroed(layout) };
        let hhdm = VirtAddr::from_ptr(memory);
        let boot = Boot { regions: regions().into_iter(), hhdm, image: &image(), gib_pages: false };
        // SAFETY: the buffer is ours alone, and as long as the regions say.
        unsafe { crate::init(boot).expect("the memory is large enough") };
        crate::kernel::enter();
    });
    super::cpu::reset();
    crate::trim();
    Machine { free: frames::free(), _alone: alone }
}

impl Machine {
    /// What is in use now may stay so after the test.
    pub fn keep(&mut self) {
        self.free -= self.used();
    }

    /// Frames that the test has in use now.
    pub fn used(&self) -> usize {
        crate::trim();
        self.free - frames::free()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.used(), 0, "frames were lost");
        }
    }
}
