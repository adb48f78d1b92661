//! One GDT and TSS per CPU.

use crate::cpu::local::CpuLocal;
use x86_64::PrivilegeLevel;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};

/// The selectors, in the order that SYSCALL and SYSRET want: kernel code, kernel data; user data, user code
/// (Intel SDM vol. 3, 6.8.8). There is no 32-bit code segment, so user mode cannot leave 64-bit mode.
pub(crate) struct Selectors;

impl Selectors {
    pub const KERNEL_CODE: SegmentSelector = SegmentSelector::new(1, PrivilegeLevel::Ring0);
    pub const KERNEL_DATA: SegmentSelector = SegmentSelector::new(2, PrivilegeLevel::Ring0);
    pub const USER_DATA: SegmentSelector = SegmentSelector::new(3, PrivilegeLevel::Ring3);
    pub const USER_CODE: SegmentSelector = SegmentSelector::new(4, PrivilegeLevel::Ring3);
}

pub(super) fn load(local: &'static CpuLocal) {
    let mut table = GlobalDescriptorTable::new();
    let code = table.append(Descriptor::kernel_code_segment());
    let data = table.append(Descriptor::kernel_data_segment());
    let user_data = table.append(Descriptor::user_data_segment());
    let user_code = table.append(Descriptor::user_code_segment());
    debug_assert_eq!((code, data), (Selectors::KERNEL_CODE, Selectors::KERNEL_DATA));
    debug_assert_eq!((user_data, user_code), (Selectors::USER_DATA, Selectors::USER_CODE));
    // SAFETY: `local` is this CPU's own area and lives for ever, and so do the tables in it. The segments are
    // flat, as those before, so code and stack stay where they are. FS and GS are left alone: loading them
    // would change their bases.
    unsafe {
        let tss = table.append(Descriptor::tss_segment_unchecked(local.tss.get()));
        *local.gdt.get() = table;
        (*local.gdt.get()).load_unsafe();
        CS::set_reg(code);
        SS::set_reg(data);
        DS::set_reg(SegmentSelector::NULL);
        ES::set_reg(SegmentSelector::NULL);
        load_tss(tss);
    }
}
