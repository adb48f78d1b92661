//! What the stories about single promises have in common: a program on a processor, and a file.

use super::cpu;
use super::walk::translate;
use crate::{AddressSpace, MapRequest, Object, PAGE, Pager, PhysAddr, Place, VirtAddr};
use formats::CpuId;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub const P: u64 = PAGE as u64;
pub const BASE: VirtAddr = VirtAddr::new_truncate(0x40_0000_0000);
pub const CPU: CpuId = CpuId(1);

/// A space that is loaded on `CPU` until it is dropped.
pub struct Loaded(pub AddressSpace);

impl Loaded {
    pub fn new(space: AddressSpace) -> Self {
        cpu::switch(CPU, None, Some(&space));
        Self(space)
    }

    pub fn empty() -> Self {
        Self::new(AddressSpace::new().expect("memory is plenty"))
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        cpu::switch(CPU, Some(&self.0), None);
    }
}

impl std::ops::Deref for Loaded {
    type Target = AddressSpace;

    fn deref(&self) -> &AddressSpace {
        &self.0
    }
}

pub fn anonymous(space: &AddressSpace, start: VirtAddr, pages: u64) {
    space.map(MapRequest::anonymous(Place::Fixed(start), pages * P)).expect("there is room");
}

/// A file whose pages begin with their number plus 1, and which counts how often it was read.
pub struct Numbers(pub AtomicUsize);

impl Pager for Numbers {
    fn fill(&self, index: u64, page: &mut [u8; PAGE]) {
        self.0.fetch_add(1, Ordering::Relaxed);
        page[..8].copy_from_slice(&(index + 1).to_ne_bytes());
    }
}

pub fn numbers(pages: u64) -> (Arc<Object>, Arc<Numbers>) {
    let pager = Arc::new(Numbers(AtomicUsize::new(0)));
    (Arc::new(Object::file("/bin/numbers".into(), pages * P, pager.clone())), pager)
}

pub fn frame_at(space: &AddressSpace, address: VirtAddr) -> PhysAddr {
    translate(space.root, address).expect("a page").frame
}
