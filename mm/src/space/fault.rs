//! Page faults: making the page tables allow what an area allows.

use super::area::Area;
use super::gather::{Gather, Sink};
use super::request::{Access, Prot};
use super::{AddressSpace, Inner};
use crate::frames;
use crate::pages::{Page, PageRange, USER};
use crate::tables::{Leaf, Rights, Tables};
use crate::{OutOfMemory, VirtAddr};
use core::fmt;

/// File pages around a touched one that are mapped with it, if they are in memory. A power of two, at most 512.
const AROUND: u64 = 16;

/// Why a page cannot be accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// SIGSEGV, SEGV_MAPERR: nothing is mapped there.
    NotMapped,
    /// SIGSEGV, SEGV_ACCERR: not in this way.
    Protection,
    /// SIGBUS: beyond the end of the file.
    Bus,
    /// No frame can be had.
    OutOfMemory,
}

impl From<OutOfMemory> for FaultError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotMapped => "nothing is mapped there",
            Self::Protection => "the page does not allow it",
            Self::Bus => "beyond the end of the file",
            Self::OutOfMemory => "out of memory",
        })
    }
}

impl core::error::Error for FaultError {}

impl AddressSpace {
    /// Makes `access` to `address` possible, if its area allows it. A fault that finds it possible already, since another
    /// CPU was faster or since only the TLB said no, is no error.
    pub fn fault(&self, address: VirtAddr, access: Access) -> Result<(), FaultError> {
        let mut inner = self.inner.lock();
        inner.fault(Page::containing(address), access, &mut Gather::new(&self.cpus))
    }
}

impl Inner {
    pub(super) fn fault(
        &mut self,
        page: Page,
        access: Access,
        gather: &mut Gather,
    ) -> Result<(), FaultError> {
        if !USER.contains(page) {
            return Err(FaultError::NotMapped);
        }
        let area = self.areas.find_or_grow(page).ok_or(FaultError::NotMapped)?;
        if !area.allows(access) {
            return Err(FaultError::Protection);
        }
        let resolved = resolve(&mut self.tables, area, page, access, &mut self.resident, gather);
        if resolved.is_err() {
            self.tables.prune(page, |table| gather.removed(page, table));
        }
        self.peak = self.peak.max(self.resident);
        resolved
    }
}

fn resolve(
    tables: &mut Tables,
    area: &Area,
    page: Page,
    access: Access,
    resident: &mut u64,
    gather: &mut Gather,
) -> Result<(), FaultError> {
    let mut leaf = tables.leaf_or_new(page)?;
    match leaf.get(page).map(|entry| entry.rights) {
        None => *resident += fill(&mut leaf, area, page, access)?,
        Some(rights) if access.write && !rights.can_write() => make_writable(&mut leaf, area, page, gather)?,
        Some(_) => {}
    }
    Ok(())
}

/// Maps a page that has no frame. Returns how many were mapped, neighbours included.
fn fill(leaf: &mut Leaf, area: &Area, page: Page, access: Access) -> Result<u64, FaultError> {
    let write = area.prot.contains(Prot::WRITE);
    let Some((object, index)) = area.object(page) else {
        leaf.map(page, frames::alloc_zeroed()?, rights(area.prot, write));
        return Ok(1);
    };
    let shared = object.page(index)?;
    if access.write && !area.shared {
        let mut own = frames::alloc()?;
        own.copy_from(&shared);
        leaf.map(page, own, rights(area.prot, true));
        return Ok(1);
    }
    // What is shared with the object must not be written to by this space alone.
    leaf.map(page, shared, rights(area.prot, write && area.shared));
    Ok(1 + fill_around(leaf, area, page))
}

/// Maps those neighbours of `page` that the object has in memory.
fn fill_around(leaf: &mut Leaf, area: &Area, page: Page) -> u64 {
    let start = page.aligned_down(AROUND);
    let Some(around) = PageRange::new(start, start.plus(AROUND)).and(&area.pages) else { return 0 };
    let Some((object, first)) = area.object(around.start) else { return 0 };
    let rights = rights(area.prot, area.shared && area.prot.contains(Prot::WRITE));
    let mut mapped = 0;
    object.present(first..first + around.len(), |index, frame| {
        let page = around.start.plus(index - first);
        if leaf.get(page).is_none() {
            leaf.map(page, frame.share(), rights);
            mapped += 1;
        }
    });
    mapped
}

/// Resolves a write to a page that is mapped without the right to write, in an area that has it.
fn make_writable(leaf: &mut Leaf, area: &Area, page: Page, gather: &mut Gather) -> Result<(), FaultError> {
    let rights = rights(area.prot, true);
    let Some(entry) = leaf.get(page) else { return Ok(()) };
    // The last owner takes the frame itself. Nobody can become an owner meanwhile but through this space.
    if area.shared || !entry.frame.is_shared() {
        leaf.set_rights(page, rights);
        return Ok(());
    }
    let mut own = frames::alloc()?;
    own.copy_from(&entry.frame);
    let old = leaf.replace(page, own, rights);
    gather.unmapped(page, old);
    Ok(())
}

/// What an entry of an area with `prot` may allow; the right to write can be held back.
pub(super) fn rights(prot: Prot, write: bool) -> Rights {
    match prot.is_empty() {
        true => Rights::NONE,
        false => Rights::READ.and_write(write).and_execute(prot.contains(Prot::EXEC)),
    }
}
