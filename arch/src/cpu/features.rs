//! What the processor offers, of what this crate uses.
//!
//! Read once, on the boot CPU: all CPUs are taken to be alike.

use raw_cpuid::CpuId as Query;
use spin::Once;

/// What the processor offers. Each is used where it is there.
#[derive(Debug, Clone, Copy)]
pub struct Features {
    /// Machine checks are reported as exceptions.
    pub mce: bool,
    /// Pages may be marked as not executable.
    pub nx: bool,
    /// Global pages.
    pub pge: bool,
    /// Pages of 1 GiB.
    pub gib_pages: bool,
    /// The kernel cannot execute user pages.
    pub smep: bool,
    /// The kernel cannot reach user pages except where it says so.
    pub smap: bool,
    /// User mode cannot read descriptor table registers.
    pub umip: bool,
    /// FS and GS bases without MSRs, in user mode too.
    pub fsgsbase: bool,
    pub xsave: bool,
    pub xsaveopt: bool,
    /// The state components that XSAVE supports, as in XCR0.
    pub xcr0: u64,
}

/// What this machine's processors offer.
pub fn features() -> &'static Features {
    static FEATURES: Once<Features> = Once::new();
    FEATURES.call_once(detect)
}

fn detect() -> Features {
    let query = Query::new();
    let basic = query.get_feature_info();
    let extended = query.get_extended_feature_info();
    let amd = query.get_extended_processor_and_feature_identifiers();
    let state = query.get_extended_state_info();
    let extended = |has: fn(&raw_cpuid::ExtendedFeatures) -> bool| extended.as_ref().is_some_and(has);
    let xsave = basic.as_ref().is_some_and(|info| info.has_xsave());
    Features {
        mce: basic.as_ref().is_some_and(|info| info.has_mce()),
        nx: amd.as_ref().is_some_and(|info| info.has_execute_disable()),
        gib_pages: amd.as_ref().is_some_and(|info| info.has_1gib_pages()),
        pge: basic.as_ref().is_some_and(|info| info.has_pge()),
        smep: extended(|info| info.has_smep()),
        smap: extended(|info| info.has_smap()),
        umip: extended(|info| info.has_umip()),
        fsgsbase: extended(|info| info.has_fsgsbase()),
        xsave,
        xsaveopt: xsave && state.as_ref().is_some_and(|info| info.has_xsaveopt()),
        xcr0: if xsave { xcr0_supported() } else { 0 },
    }
}

/// CPUID leaf 0xd, sub-leaf 0, EDX:EAX (Intel SDM vol. 1, 13.2).
fn xcr0_supported() -> u64 {
    let leaf = raw_cpuid::cpuid!(0xd, 0);
    u64::from(leaf.edx) << 32 | u64::from(leaf.eax)
}

/// What user programs are told in `AT_HWCAP`: CPUID leaf 1, EDX, as on Linux.
pub fn hwcap() -> u64 {
    u64::from(raw_cpuid::cpuid!(1).edx)
}

/// What user programs are told in `AT_HWCAP2`: bit 1 says that they may use FSGSBASE, as on Linux
/// (`asm/hwcap2.h`).
pub fn hwcap2() -> u64 {
    u64::from(features().fsgsbase) << 1
}
