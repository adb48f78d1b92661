//! Fork: the same memory twice, without a copy.

use super::area::{Area, OnFork};
use super::gather::Gather;
use super::{AddressSpace, Inner};
use crate::OutOfMemory;
use crate::tables::{Tables, Visit};

impl AddressSpace {
    /// A space with the same contents. Both share the frames; a private page is read-only in both from now on, and copied by
    /// the first of them that writes to it.
    ///
    /// # Errors
    /// When memory runs out: then there is no new space, and this one is as it was.
    pub fn fork(&self) -> Result<Self, OutOfMemory> {
        let mut child = Self::new()?;
        let mut parent = self.inner.lock();
        // Flushes on failure as well: pages may have lost the right to write.
        let mut gather = Gather::new(&self.cpus);
        let inner = child.inner.get_mut();
        inner.areas = parent.areas.try_clone()?;
        inner.brk = parent.brk;
        let Inner { areas, tables, .. } = &mut *parent;
        for area in areas.iter().filter(|area| area.on_fork == OnFork::Share) {
            copy(tables, inner, area, &mut gather)?;
        }
        Ok(child)
    }
}

/// Lets `child` share the pages of `area` that are in `tables`.
fn copy(tables: &mut Tables, child: &mut Inner, area: &Area, gather: &mut Gather) -> Result<(), OutOfMemory> {
    let mut result = Ok(());
    tables.visit(area.pages, |visit| {
        if let Visit::Leaf(leaf, pages) = visit
            && result.is_ok()
        {
            result = child.tables.leaf_or_new(pages.start).map(|mut to| {
                let count = leaf.share_with(&mut to, pages, !area.shared, |page| gather.lowered(page));
                child.resident += u64::from(count);
            });
        }
    });
    result
}
