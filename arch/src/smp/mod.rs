//! Starting the other CPUs.
//!
//! One after the other, each by INIT and start-up interrupts, through a trampoline below 1 MiB into the kernel. A CPU that
//! does not come in time is left out, and the next one gets its number: numbers are dense. If it comes later, it finds that
//! it is no longer expected and stops. Setting a CPU up (descriptors, APIC) is the task of the entry function that the caller
//! gives.

mod arrival;
mod trampoline;

use crate::acpi::{ApicId, Machine};
use crate::boot::{MemoryKind, MemoryRegion};
use crate::{apic, time};
use alloc::vec::Vec;
use formats::{CpuId, CpuSet, Duration};
use x86_64::{PhysAddr, VirtAddr};

/// What became of one processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartReport {
    pub apic_id: ApicId,
    /// Its number, or `None` if it did not answer, cannot be addressed in xAPIC mode, or there is no number left.
    pub cpu: Option<CpuId>,
}

/// Bytes of memory below 1 MiB that starting CPUs needs, in whole pages.
pub const LOW_MEMORY: u64 = trampoline::BYTES;

/// How long a CPU may take to come. An emulated CPU is a thread of a host that may be busy, so this is far longer than any real
/// CPU takes.
const PATIENCE: Duration = Duration::from_millis(1000);
/// A CPU that has not come after this time is sent the second start-up interrupt that the manual asks for (Intel SDM vol. 3,
/// 9.4.4.1). No processor of this century needs the 10 ms that the manual has before the first.
const SECOND_CALL: Duration = Duration::from_micros(300);
/// What APIC ids end below in xAPIC mode; this one means everybody.
const XAPIC_END: u32 = 0xff;

/// Finds memory for the trampoline: [`LOW_MEMORY`] bytes below 1 MiB that nobody uses.
pub fn low_memory(memory_map: &[MemoryRegion]) -> Option<PhysAddr> {
    /// The first page has the firmware's data, and null pointers.
    const FIRST: u64 = 4096;
    const END: u64 = 1 << 20;
    memory_map.iter().filter(|region| region.kind == MemoryKind::Usable).find_map(|region| {
        let start = region.start.as_u64().max(FIRST);
        let end = (region.start.as_u64() + region.bytes).min(END);
        (end.saturating_sub(start) >= LOW_MEMORY).then(|| PhysAddr::new(start))
    })
}

/// Starts all processors of `machine` but the one that calls, in the order of the MADT. `stack` gives the top of a kernel stack
/// for each, aligned to 16 bytes; a number that is given again asks for a fresh one. On it runs `entry`, with interrupts off, the
/// kernel's page tables and nothing else set up, while this function goes on with the next CPU.
///
/// # Safety
/// To be called once, on the boot CPU, after [`apic::init`] and [`time::init`](crate::time::init), with the kernel's own page
/// tables loaded. `low` is [`LOW_MEMORY`] bytes mapped at `hhdm + low`, which nobody else uses from now on for ever, as a CPU
/// that was given up may still come. The stacks are mapped and used for nothing else.
pub unsafe fn start_all(
    machine: &Machine,
    low: PhysAddr,
    hhdm: VirtAddr,
    mut stack: impl FnMut(CpuId) -> VirtAddr,
    entry: fn(CpuId) -> !,
) -> Vec<StartReport> {
    let here = apic::here();
    let others: Vec<ApicId> = machine.processors.iter().copied().filter(|&id| id != here).collect();
    // SAFETY: our caller promises the memory and the page tables.
    let page = unsafe { trampoline::install(low, hhdm) };
    arrival::set_entry(entry);
    let _soon = time::FrequentEvents::start();
    others.iter().for_each(|&id| apic::reset(id));

    let mut next = CpuId(1);
    let report = |apic_id: ApicId| {
        let addressable = apic::mode() == apic::Mode::X2Apic || apic_id.0 < XAPIC_END;
        let started =
            addressable && next.index() < CpuSet::CAPACITY && start(apic_id, next, stack(next), page);
        let cpu = started.then_some(next);
        next.0 += u32::from(started);
        StartReport { apic_id, cpu }
    };
    others.iter().copied().map(report).collect()
}

/// Lets one CPU come. Returns whether it did.
fn start(apic_id: ApicId, cpu: CpuId, stack: VirtAddr, page: u8) -> bool {
    apic::assign(cpu, Some(apic_id));
    let expected = arrival::expect(apic_id, cpu, stack);
    apic::start_up(apic_id, page);
    let called = time::now();
    let mut called_twice = false;
    while !expected.has_come() {
        core::hint::spin_loop();
        let waited = time::now() - called;
        if waited > PATIENCE {
            break;
        }
        if waited > SECOND_CALL && !called_twice {
            called_twice = true;
            apic::start_up(apic_id, page);
        }
    }
    let came = expected.end();
    if !came {
        apic::assign(cpu, None);
    }
    came
}
