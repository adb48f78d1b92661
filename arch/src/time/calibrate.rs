//! How fast the time-stamp counter and the APIC timer run.
//!
//! The processor or hypervisor may say; what it does not say is measured against a clock of known frequency, both counters
//! in the same few milliseconds.

use super::reference::Reference;
use super::scale::{NANOSECONDS_PER_SECOND, Scale};
use super::{Calibrated, tsc};
use crate::acpi::Machine;
use crate::apic::{Bus, Register};
use core::hint;
use raw_cpuid::{CpuId, cpuid};
use x86_64::{PhysAddr, VirtAddr};

/// How long to measure: with references that tick every 100 to 840 ns, this is good to 25 to 210 parts in a million.
const WINDOW_NS: u64 = 4_000_000;
/// How often one point in time is sampled. An emulator or hypervisor may be interrupted in the middle of a sample; of so many
/// the tightest is taken.
const SAMPLES: usize = 5;
/// A reference that has not moved after so many readings stands still.
const PATIENCE: u32 = 10_000_000;

/// Frequencies in Hz.
struct Frequencies {
    source: &'static str,
    tsc: u64,
    apic: u64,
}

/// Finds out, by the best means there is.
///
/// # Safety
/// As for [`init`](super::init).
pub(super) unsafe fn run(
    machine: &Machine,
    map: impl FnOnce(PhysAddr, usize) -> VirtAddr,
) -> Option<Calibrated> {
    // SAFETY: our caller promises the mapping.
    let found = told().or_else(|| unsafe { measured(machine, map) })?;
    Some(Calibrated {
        source: found.source,
        tsc_hz: found.tsc,
        tsc: Scale::new(found.tsc, NANOSECONDS_PER_SECOND),
        apic: Scale::new(found.apic, NANOSECONDS_PER_SECOND),
        deadline: CpuId::new().get_feature_info().is_some_and(|info| info.has_tsc_deadline()),
    })
}

/// What CPUID says, if it tells both frequencies.
fn told() -> Option<Frequencies> {
    told_by_processor().or_else(told_by_hypervisor)
}

/// Leaves 15h and 16h. The APIC timer counts the crystal's clock; where leaf 15h leaves that out, it follows from the base
/// frequency (Intel SDM vol. 3, 20.7.3).
fn told_by_processor() -> Option<Frequencies> {
    let query = CpuId::new();
    let ratio = query.get_tsc_info()?;
    let (numerator, denominator) = (u64::from(ratio.numerator()), u64::from(ratio.denominator()));
    if numerator == 0 || denominator == 0 {
        return None;
    }
    let crystal = match u64::from(ratio.nominal_frequency()) {
        0 => {
            let base = query.get_processor_frequency_info()?.processor_base_frequency();
            u64::from(base) * 1_000_000 * denominator / numerator
        }
        told => told,
    };
    (crystal > 0).then(|| Frequencies {
        source: "CPUID leaf 15h",
        tsc: crystal * numerator / denominator,
        apic: crystal,
    })
}

/// Leaf 4000_0010h: both in kHz (as VMware defined it; KVM in QEMU has it as well).
fn told_by_hypervisor() -> Option<Frequencies> {
    const FIRST: u32 = 0x4000_0000;
    const TIMING: u32 = 0x4000_0010;
    let there = CpuId::new().get_feature_info()?.has_hypervisor();
    if !there || cpuid!(FIRST).eax < TIMING {
        return None;
    }
    let leaf = cpuid!(TIMING);
    (leaf.eax > 0 && leaf.ebx > 0).then(|| Frequencies {
        source: "hypervisor's CPUID leaf",
        tsc: u64::from(leaf.eax) * 1000,
        apic: u64::from(leaf.ebx) * 1000,
    })
}

/// Measures against the best clock that is there and moves.
///
/// # Safety
/// As for [`init`](super::init).
unsafe fn measured(machine: &Machine, map: impl FnOnce(PhysAddr, usize) -> VirtAddr) -> Option<Frequencies> {
    // SAFETY: the tables say that an HPET is there, and our caller promises the mapping.
    let hpet = || machine.hpet.and_then(|at| unsafe { Reference::hpet(map(at, 1024)) });
    let found = hpet().and_then(|hpet| measure(&hpet));
    let found = found.or_else(|| measure(&Reference::PmTimer(machine.pm_timer?)));
    found.or_else(|| measure(&Reference::pit()))
}

/// One point in time on three clocks.
struct Sample {
    tsc: u64,
    reference: u64,
    apic: u32,
}

impl Sample {
    /// The tightest of a few.
    fn take(reference: &Reference) -> Self {
        let bus = Bus::get();
        let one = || {
            let before = tsc();
            let (reference, apic) = (reference.read(), bus.read(Register::CurrentCount));
            let width = tsc() - before;
            (width, Self { tsc: before + width / 2, reference, apic })
        };
        let mut best = one();
        for _ in 1..SAMPLES {
            let next = one();
            if next.0 < best.0 {
                best = next;
            }
        }
        best.1
    }
}

fn measure(reference: &Reference) -> Option<Frequencies> {
    let bus = Bus::get();
    bus.write(Register::InitialCount, u32::MAX);
    let window = reference.hz() * WINDOW_NS / NANOSECONDS_PER_SECOND;
    let from = Sample::take(reference);
    let passed = (0..PATIENCE).any(|_| {
        hint::spin_loop();
        reference.between(from.reference, reference.read()) >= window
    });
    let to = Sample::take(reference);
    bus.write(Register::InitialCount, 0);
    if !passed {
        return None;
    }
    let ticks = reference.between(from.reference, to.reference);
    let hz = |count: u64| (u128::from(count) * u128::from(reference.hz()) / u128::from(ticks)) as u64;
    let (tsc, apic) = (hz(to.tsc - from.tsc), hz(u64::from(from.apic - to.apic)));
    (tsc > 0 && apic > 0).then_some(Frequencies { source: reference.name(), tsc, apic })
}
