//! The program break: the end of the data segment, which grows and shrinks.

use super::area::{Area, OnFork, Source};
use super::gather::Gather;
use super::request::{MapError, Prot};
use super::{AddressSpace, Inner};
use crate::PAGE;
use crate::VirtAddr;
use crate::pages::{Page, PageRange, USER};

/// Where the data segment starts and ends, in bytes. Both 0 until the program's loader has said where.
#[derive(Clone, Copy, Debug, Default)]
pub struct Brk {
    start: u64,
    end: u64,
}

impl AddressSpace {
    /// Says where the data segment starts, with no bytes in it. `start` is a multiple of the page size.
    pub fn set_brk_start(&self, start: VirtAddr) {
        let start = start.as_u64();
        self.inner.lock().brk = Brk { start, end: start };
    }

    /// Moves the program break to `end`, and returns where it is afterwards: as before if it cannot be moved (man 2 brk).
    pub fn brk(&self, end: u64) -> VirtAddr {
        let mut inner = self.inner.lock();
        if end >= inner.brk.start && inner.set_brk(end, &mut Gather::new(&self.cpus)).is_ok() {
            inner.brk.end = end;
        }
        VirtAddr::new_truncate(inner.brk.end)
    }
}

impl Inner {
    fn set_brk(&mut self, end: u64, gather: &mut Gather) -> Result<(), MapError> {
        let old = page_at_or_above(self.brk.end).ok_or(MapError::Invalid)?;
        let new = page_at_or_above(end).ok_or(MapError::Invalid)?;
        if new > old {
            let grown = PageRange::new(old, new);
            if !USER.includes(&grown) || !self.areas.is_free(grown) {
                return Err(MapError::Exists);
            }
            self.areas.reserve(1)?;
            self.areas.insert(Area {
                pages: grown,
                prot: Prot::RW,
                shared: false,
                may_write: true,
                source: Source::Anonymous,
                lowest: None,
                on_fork: OnFork::Share,
                label: "[heap]",
            });
        } else if new < old {
            self.unmap(PageRange::new(new, old), gather)?;
        }
        Ok(())
    }
}

/// `None` beyond what programs can map.
fn page_at_or_above(address: u64) -> Option<Page> {
    let up = address.checked_next_multiple_of(PAGE as u64).filter(|up| *up <= USER.end.start().as_u64())?;
    Some(Page::containing(VirtAddr::new_truncate(up)))
}
