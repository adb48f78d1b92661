//! Address spaces: what a program may touch, and what is behind it.
//!
//! The areas are the truth; the page tables are a cache of them that [`AddressSpace::fault`] fills. So an entry may be
//! missing, or allow less than its area, at any time, but never more.
//!
//! Each space has one lock, for its areas and its tables. It is held during a shootdown, so that an address is not given out
//! again while some CPU still has its old translation.

mod access;
mod active;
mod advice;
mod area;
mod brk;
mod fault;
mod fork;
mod gather;
mod map;
mod remap;
mod request;

pub(crate) use active::ActiveCpus;
pub use area::OnFork;
pub use fault::FaultError;
pub use remap::Move;
pub use request::{Access, AreaInfo, Backing, FutexKey, MapError, MapRequest, Place, Prot};

use crate::machine::{self, Lock};
use crate::pages::{Page, PageRange, USER};
use crate::tables::{Tables, Visit};
use crate::{OutOfMemory, PhysAddr, VirtAddr, kernel};
use alloc::vec::Vec;
use area::Areas;
use brk::Brk;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use formats::CpuSet;
use gather::{Gather, Sink, Unloaded};

/// The address space of a program.
pub struct AddressSpace {
    id: u64,
    pub(crate) root: PhysAddr,
    cpus: ActiveCpus,
    inner: Lock<Inner, { machine::SPACE }>,
}

struct Inner {
    areas: Areas,
    tables: Tables,
    /// Pages that have a frame.
    resident: u64,
    /// The most that have had one at once.
    peak: u64,
    brk: Brk,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl AddressSpace {
    /// A space with nothing but the kernel in it.
    pub fn new() -> Result<Self, OutOfMemory> {
        let tables = Tables::for_user(kernel::upper_half())?;
        let root = tables.root();
        let inner = Inner { areas: Areas::new(), tables, resident: 0, peak: 0, brk: Brk::default() };
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Ok(Self { id, root, cpus: ActiveCpus::new(), inner: Lock::new(inner) })
    }

    /// A number that no other space of this run has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Loads this space on this CPU, which ran on the kernel's own tables before.
    pub fn activate(&self) {
        self.cpus.insert(machine::here());
        // SAFETY: the upper half is the kernel's, and the root lives as long as the space, which cannot go while a CPU has
        // it loaded (see `Drop`).
        unsafe { machine::load_root(self.root) }
    }

    /// Leaves this space for the kernel's own tables, on this CPU.
    pub fn deactivate(&self) {
        kernel::load();
        self.cpus.remove(machine::here());
    }

    /// Goes from one space to another on this CPU; `None` is the kernel's own tables. Does nothing if both are the same.
    pub fn switch(from: Option<&Self>, to: Option<&Self>) {
        match (from, to) {
            (None, None) => {}
            (Some(from), Some(to)) if core::ptr::eq(from, to) => {}
            (None, Some(to)) => to.activate(),
            (Some(from), None) => from.deactivate(),
            (Some(from), Some(to)) => {
                to.activate();
                from.cpus.remove(machine::here());
            }
        }
    }

    /// The CPUs that have this space loaded.
    pub fn active_on(&self) -> CpuSet {
        self.cpus.get()
    }

    /// Pages that have a frame, shared ones included.
    pub fn resident(&self) -> u64 {
        self.inner.lock().resident
    }

    /// The most pages that have had a frame at once.
    pub fn peak_resident(&self) -> u64 {
        let inner = self.inner.lock();
        inner.peak.max(inner.resident)
    }

    /// Frames that this space's page tables take.
    pub fn table_frames(&self) -> usize {
        self.inner.lock().tables.count()
    }

    /// The areas in ascending order, as they are at this moment.
    pub fn areas(&self) -> Result<Vec<AreaInfo>, OutOfMemory> {
        let inner = self.inner.lock();
        let mut list = Vec::new();
        list.try_reserve_exact(inner.areas.iter().len()).map_err(|_| OutOfMemory)?;
        list.extend(inner.areas.iter().map(AreaInfo::from));
        Ok(list)
    }

    /// What tells the futex at `address` from others: the memory behind it where that is shared, else this space and the
    /// address. `None` where nothing is mapped.
    pub fn futex_key(&self, address: VirtAddr) -> Option<FutexKey> {
        let page = Page::containing(address);
        let offset = address - page.start();
        let inner = self.inner.lock();
        let area = inner.areas.find(page)?;
        Some(match area.object(page) {
            Some((object, index)) if area.shared => {
                FutexKey::Shared { object: object.id(), offset: index * crate::PAGE as u64 + offset }
            }
            _ => FutexKey::Private { space: self.id, address },
        })
    }

    /// Unmaps everything, for exec and exit.
    pub fn clear(&self) {
        let mut inner = self.inner.lock();
        inner.clear(&mut Gather::new(&self.cpus));
    }
}

impl Inner {
    /// Unmaps everything. Goes from area to area: the space between them has no tables.
    fn clear(&mut self, sink: &mut impl Sink) {
        let Self { areas, tables, resident, .. } = self;
        for area in areas.iter() {
            release(tables, area.pages, resident, sink);
        }
        debug_assert!(*resident == 0);
        areas.clear();
        self.brk = Brk::default();
    }

    /// Takes the pages that are in `pages` out of the tables.
    fn release(&mut self, pages: PageRange, sink: &mut impl Sink) {
        release(&mut self.tables, pages, &mut self.resident, sink);
    }
}

fn release(tables: &mut Tables, pages: PageRange, resident: &mut u64, sink: &mut impl Sink) {
    tables.visit(pages, |visit| match visit {
        Visit::Leaf(leaf, pages) => {
            let count = leaf.unmap_all(pages, |page, frame| sink.unmapped(page, frame));
            *resident -= u64::from(count);
        }
        Visit::Removed(table) => sink.removed(pages.start, table),
    });
}

/// `pages` as a range of what programs can map.
fn user_range(start: VirtAddr, bytes: u64) -> Result<PageRange, MapError> {
    PageRange::of(start, bytes).filter(|pages| pages.end <= USER.end).ok_or(MapError::Invalid)
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        assert!(self.cpus.get().is_empty(), "an address space was dropped while a CPU has it loaded");
        self.inner.get_mut().clear(&mut Unloaded);
    }
}

impl fmt::Debug for AddressSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address space {}", self.id)
    }
}
