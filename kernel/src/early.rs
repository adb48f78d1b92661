//! The steps of the boot that are sound only once and in the right order.
#![expect(unsafe_code, reason = "each step here is promised to come once and first")]

use alloc::{string::String, string::ToString, vec::Vec};
use arch::acpi::{self, Machine};
use arch::boot::{BootInfo, MemoryKind};
use arch::cpu::ExceptionStacks;
use arch::serial::Receiver;
use arch::smp::{self, StartReport};
use arch::{apic, io_apic, time, vectors};
use formats::CpuId;
use mm::stacks::KernelStack;
use mm::{Region, RegionKind, Segment};
use x86_64::VirtAddr;

#[global_allocator]
static HEAP: mm::heap::KernelHeap = mm::heap::KernelHeap;

/// Starts memory management and sets up the boot CPU. The first thing of all.
///
/// # Errors
/// A sentence.
pub fn start(info: &'static BootInfo) -> Result<(), &'static str> {
    let regions = info.memory_map.iter().map(|region| Region {
        start: region.start,
        bytes: region.bytes,
        kind: match region.kind {
            MemoryKind::Usable => RegionKind::Usable,
            MemoryKind::Reclaimable => RegionKind::Reclaimable,
            MemoryKind::Kernel => RegionKind::Kernel,
            MemoryKind::Firmware => RegionKind::Firmware,
            MemoryKind::Framebuffer | MemoryKind::Reserved => RegionKind::Reserved,
        },
    });
    let image = info.image.map(|segment| Segment {
        start: segment.start,
        physical: segment.physical,
        bytes: segment.bytes,
        write: segment.write,
        execute: segment.execute,
    });
    // SAFETY: once, on the boot CPU, with interrupts off and nothing used before. The image is mapped where the kernel's own
    // tables will have it, so what this sets up stays valid.
    unsafe { arch::cpu::init(CpuId::BOOT) };
    let gib_pages = arch::cpu::features().gib_pages;
    let boot = mm::Boot { regions: regions.clone(), hhdm: info.hhdm_offset, image: &image, gib_pages };
    // SAFETY: this is the first call, on the boot CPU. `BootInfo` has checked what the loader says.
    unsafe { mm::init(boot) }.map_err(|_| "the machine has too little memory")?;
    mm::kernel::enter();
    guard_exception_stacks();
    // SAFETY: the loader's tables, stack and descriptors are left, and `BootInfo` is a copy.
    unsafe { mm::frames::reclaim(regions) };
    Ok(())
}

/// Sets up another CPU, which has just arrived in the kernel, on the kernel's own page tables.
pub fn start_other(cpu: CpuId) {
    // SAFETY: once for each CPU: `smp` starts each with an id of its own and calls nothing before this.
    unsafe { arch::cpu::init(cpu) };
    mm::kernel::enter();
    guard_exception_stacks();
}

/// Gives this CPU guarded stacks for the exceptions that may hit at any instruction.
fn guard_exception_stacks() {
    let stacks = ExceptionStacks {
        nmi: permanent_stack(),
        double_fault: permanent_stack(),
        machine_check: permanent_stack(),
    };
    // SAFETY: these stacks are mapped for good and nobody else's.
    unsafe { arch::cpu::set_exception_stacks(stacks) };
}

/// The top of a stack that is never given back.
fn permanent_stack() -> VirtAddr {
    let stack = KernelStack::new().expect("there is memory for stacks at boot");
    let top = stack.top();
    core::mem::forget(stack);
    top
}

/// Finds processors and timers, and starts the clock.
///
/// # Errors
/// A sentence.
pub fn discover(info: &'static BootInfo, x2apic: bool) -> Result<Machine, String> {
    let rsdp = info.rsdp.ok_or("the boot loader did not find the ACPI tables")?;
    let map = |physical, bytes: usize| {
        mm::kernel::map_device(physical, bytes as u64).expect("there is memory for page tables at boot")
    };
    // SAFETY: the loader says that the root is there, and `map` maps what it is asked for.
    let machine = unsafe { acpi::read(rsdp, &map) }.map_err(|error| error.to_string())?;
    // SAFETY: once, on the boot CPU, with interrupts off.
    unsafe { apic::init(&machine, x2apic, map) }.map_err(|error| error.to_string())?;
    // SAFETY: as above, and after `apic::init`.
    unsafe { time::init(&machine, map) }.map_err(|error| error.to_string())?;
    Ok(machine)
}

/// Lets COM1 interrupt the boot CPU when it receives something. `None`: there is no way, so that nobody can type.
pub fn listen_to_serial(machine: &Machine) -> Option<Receiver> {
    const COM1_LINE: u8 = 4;
    let map = |physical, bytes: usize| {
        mm::kernel::map_device(physical, bytes as u64).expect("there is memory for page tables at boot")
    };
    // SAFETY: once, on the boot CPU, after `discover`; the interrupt has a handler.
    let is_routed = unsafe { io_apic::route(machine, COM1_LINE, vectors::SERIAL, map) };
    is_routed.then(arch::serial::com1_receiver)
}

/// Starts the other processors, each on a stack of its own, in `entry`.
///
/// # Errors
/// A sentence. A processor that does not answer is not an error: see the reports.
pub fn start_others(
    info: &'static BootInfo,
    machine: &Machine,
    entry: fn(CpuId) -> !,
) -> Result<Vec<StartReport>, &'static str> {
    let low =
        smp::low_memory(&info.memory_map).ok_or("there is no free memory below 1 MiB to start CPUs with")?;
    // An idle thread never ends, and a CPU that comes late needs its stack too: these stacks are never given back.
    let stack = |cpu| {
        arch::cpu::prepare(cpu);
        permanent_stack()
    };
    // SAFETY: once, on the boot CPU, after `discover`. Frames below 1 MiB are not given out by `mm`, so nobody else uses the
    // memory at `low`; each stack is given once.
    Ok(unsafe { smp::start_all(machine, low, info.hhdm_offset, stack, entry) })
}
