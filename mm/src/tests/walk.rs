//! Page tables as the processor reads them, written independently of `tables`.

use crate::frames::hhdm;
use crate::{Page, PhysAddr, VirtAddr};
use x86_64::structures::paging::PageTableFlags as Flags;

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

fn entries(table: PhysAddr) -> &'static [u64; 512] {
    // SAFETY: the tests stop changing tables while they look at them.
    unsafe { &*(hhdm() + table.as_u64()).as_ptr() }
}

/// What the processor finds for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub frame: PhysAddr,
    pub write: bool,
    pub execute: bool,
    pub user: bool,
    pub flags: Flags,
    /// Bytes that the entry maps.
    pub size: u64,
}

/// Translates an address, with the rights of all levels combined (Intel SDM vol. 3, 4.6).
pub fn translate(root: PhysAddr, address: VirtAddr) -> Option<Found> {
    let (mut table, mut write, mut execute, mut user) = (root, true, true, true);
    for level in (0..4).rev() {
        let index = (address.as_u64() >> (12 + 9 * level)) as usize % 512;
        let entry = entries(table)[index];
        let flags = Flags::from_bits_truncate(entry);
        if !flags.contains(Flags::PRESENT) {
            return None;
        }
        write &= flags.contains(Flags::WRITABLE);
        user &= flags.contains(Flags::USER_ACCESSIBLE);
        execute &= !flags.contains(Flags::NO_EXECUTE);
        table = PhysAddr::new(entry & ADDRESS);
        if level == 0 || flags.contains(Flags::HUGE_PAGE) {
            let size = 1u64 << (12 + 9 * level);
            let frame = table + (address.as_u64() & (size - 1) & !0xfff);
            return Some(Found { frame, write, execute, user, flags, size });
        }
    }
    unreachable!("level 0 returns")
}

/// All leaf entries that are in use in the lower half, and the number of tables.
pub fn lower_half(root: PhysAddr) -> (Vec<(Page, PhysAddr, Flags)>, usize) {
    let (mut found, mut tables) = (Vec::new(), 1);
    visit(root, 3, 0, 256, &mut found, &mut tables);
    (found, tables)
}

fn visit(
    table: PhysAddr,
    level: usize,
    base: u64,
    count: usize,
    found: &mut Vec<(Page, PhysAddr, Flags)>,
    tables: &mut usize,
) {
    for (index, entry) in entries(table)[..count].iter().enumerate().filter(|(_, entry)| **entry != 0) {
        let address = base + ((index as u64) << (12 + 9 * level));
        let next = PhysAddr::new(entry & ADDRESS);
        if level == 0 {
            found.push((Page::containing(VirtAddr::new(address)), next, Flags::from_bits_truncate(*entry)));
        } else {
            let before = found.len();
            *tables += 1;
            visit(next, level - 1, address, 512, found, tables);
            assert!(found.len() > before, "an empty page table was left at {address:#x}");
        }
    }
}
