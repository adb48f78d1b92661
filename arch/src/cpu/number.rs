//! The number of a CPU as user mode may read it, without asking the kernel.

use raw_cpuid::CpuId as Query;
use x86_64::registers::model_specific::Msr;

/// The instruction that delivers it (Intel SDM vol. 2; the number is in IA32_TSC_AUX, vol. 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberedBy {
    Rdpid,
    Rdtscp,
}

const TSC_AUX: u32 = 0xc000_0103;

/// The cheapest one that the processor has.
pub fn numbered_by() -> Option<NumberedBy> {
    let query = Query::new();
    let amd = query.get_extended_processor_and_feature_identifiers();
    if query.get_extended_feature_info().is_some_and(|info| info.has_rdpid()) {
        Some(NumberedBy::Rdpid)
    } else {
        amd.is_some_and(|info| info.has_rdtscp()).then_some(NumberedBy::Rdtscp)
    }
}

/// Sets the number of this CPU, if it has a place for it.
pub fn set_number(number: u32) {
    if numbered_by().is_some() {
        // SAFETY: processors with either instruction have the MSR, which nothing but these instructions reads.
        unsafe { Msr::new(TSC_AUX).write(number.into()) };
    }
}
