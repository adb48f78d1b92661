//! The kernel's own look into a space that need not be loaded: for the arguments on a new program's stack, and for others'
//! memory.

use super::AddressSpace;
use super::fault::FaultError;
use super::gather::Gather;
use super::request::Access;
use crate::frames::Frame;
use crate::pages::Page;
use crate::{PAGE, VirtAddr};

impl AddressSpace {
    /// Writes `bytes` at `address`, as the program could. What comes before a page that cannot be written is written.
    pub fn write(&self, address: VirtAddr, bytes: &[u8]) -> Result<(), FaultError> {
        let mut rest = bytes;
        self.each_page(address, bytes.len(), Access::WRITE, |frame, offset, length| {
            let (now, later) = rest.split_at(length);
            frame.write(offset, now);
            rest = later;
        })
    }

    /// Reads bytes from `address` on, as the program could.
    pub fn read(&self, address: VirtAddr, bytes: &mut [u8]) -> Result<(), FaultError> {
        let mut done = 0;
        let length = bytes.len();
        self.each_page(address, length, Access::READ, |frame, offset, length| {
            frame.read(offset, &mut bytes[done..done + length]);
            done += length;
        })
    }

    /// Calls `each` with each frame of a range, and the part of it that is in the range as offset and length.
    fn each_page(
        &self,
        address: VirtAddr,
        length: usize,
        access: Access,
        mut each: impl FnMut(&Frame, usize, usize),
    ) -> Result<(), FaultError> {
        let end = address.as_u64().checked_add(length as u64).ok_or(FaultError::NotMapped)?;
        let mut at = address.as_u64();
        while at < end {
            let page = Page::containing(VirtAddr::new_truncate(at));
            let offset = at as usize % PAGE;
            let now = (PAGE - offset).min((end - at) as usize);
            let mut inner = self.inner.lock();
            inner.fault(page, access, &mut Gather::new(&self.cpus))?;
            let leaf = inner.tables.leaf(page).ok_or(FaultError::NotMapped)?;
            let entry = leaf.get(page).ok_or(FaultError::NotMapped)?;
            each(&entry.frame, offset, now);
            at += now as u64;
        }
        Ok(())
    }
}
