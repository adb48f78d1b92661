//! The local APIC: interrupts between CPUs, and the end of each interrupt.
//!
//! One mode for all CPUs: x2APIC where they have it, unless the caller wants xAPIC. The timer is in the local APIC as well;
//! [`time`](crate::time) decides what it is set to. what devices have to say comes by
//! [`io_apic`](crate::io_apic).

mod pic;
mod registers;

use crate::acpi::{ApicId, Machine};
use crate::interrupts;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use formats::{CpuId, CpuSet};
use registers::Delivery;
pub(crate) use registers::{Bus, Register};
use spin::Once;
use x86_64::{PhysAddr, VirtAddr};

/// How the local APICs are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Through memory; APIC ids up to 254.
    XApic,
    /// Through MSRs; 32-bit APIC ids.
    X2Apic,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::XApic => "xapic",
            Self::X2Apic => "x2apic",
        })
    }
}

/// Why the local APICs cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// xAPIC was asked for, but the firmware has switched to x2APIC already, and there is no direct way back.
    AlreadyX2Apic,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("x2apic=off: the firmware has switched the local APICs to x2APIC mode already")
    }
}

impl core::error::Error for Error {}

/// APIC ids by CPU; [`NOBODY`] where there is no such CPU.
static IDS: [AtomicU32; CpuSet::CAPACITY] = [const { AtomicU32::new(NOBODY) }; CpuSet::CAPACITY];
const NOBODY: u32 = u32::MAX;

/// Chooses the mode for all CPUs, names this one CPU 0, masks the old interrupt controllers, and sets up this CPU's APIC.
/// `map` makes device registers reachable, uncached and for good; it is asked only in xAPIC mode.
///
/// # Errors
/// When `x2apic` is false and the firmware has left no choice.
///
/// # Safety
/// To be called once, on the boot CPU, with interrupts off. What `map` returns is such a mapping of what it is asked for.
pub unsafe fn init(
    machine: &Machine,
    x2apic: bool,
    map: impl FnOnce(PhysAddr, usize) -> VirtAddr,
) -> Result<(), Error> {
    let mode = if x2apic && registers::has_x2apic() { Mode::X2Apic } else { Mode::XApic };
    if mode == Mode::XApic {
        if registers::is_x2apic_on() {
            return Err(Error::AlreadyX2Apic);
        }
        // SAFETY: our caller promises the mapping.
        unsafe { registers::set_base(map(machine.local_apic, 4096)) };
    }
    MODE.call_once(|| mode);
    pic::mask();
    init_this_cpu();
    assign(CpuId::BOOT, Some(here()));
    Ok(())
}

static MODE: Once<Mode> = Once::new();

/// The mode that was chosen. xAPIC before [`init`].
pub fn mode() -> Mode {
    MODE.get().copied().unwrap_or(Mode::XApic)
}

/// Sets up the local APIC of the CPU that calls. [`init`] has run before.
pub fn init_this_cpu() {
    registers::bring_up(mode());
    eoi();
}

/// The APIC id of the CPU that calls.
pub fn here() -> ApicId {
    ApicId(Bus::get().id())
}

/// Notes which APIC is that of `cpu`, or that there is no such CPU.
pub(crate) fn assign(cpu: CpuId, apic: Option<ApicId>) {
    IDS[cpu.index()].store(apic.map_or(NOBODY, |apic| apic.0), Relaxed);
}

/// The APIC of `cpu`, if there is such a CPU.
pub fn id_of(cpu: CpuId) -> Option<ApicId> {
    let id = IDS.get(cpu.index())?.load(Relaxed);
    (id != NOBODY).then_some(ApicId(id))
}

/// Ends the interrupt that is being handled: lower ones and the next of its kind may come.
#[inline]
pub fn eoi() {
    Bus::get().write(Register::EndOfInterrupt, 0);
}

/// Interrupts `cpu` with `vector`. Does nothing if there is no such CPU.
#[inline]
pub fn send(cpu: CpuId, vector: u8) {
    let id = IDS[cpu.index()].load(Relaxed);
    if id != NOBODY {
        // In xAPIC mode the command takes two writes, between which a handler must not send.
        let _off = interrupts::off();
        Bus::get().command(ApicId(id), Delivery::Fixed, vector);
    }
}

/// Interrupts all other CPUs with a non-maskable interrupt. One that has not got its descriptors yet resets the machine.
pub fn send_nmi_others() {
    let bus = Bus::get();
    let here = bus.id();
    for id in IDS.iter().map(|id| id.load(Relaxed)).take_while(|&id| id != NOBODY) {
        if id != here {
            bus.command(ApicId(id), Delivery::Nmi, 0);
        }
    }
}

/// Makes `vector` pending on this CPU, before it returns.
pub fn send_self(vector: u8) {
    let bus = Bus::get();
    bus.command_self(vector);
    while !bus.is_requested(vector) {
        core::hint::spin_loop();
    }
}

/// Resets `apic` into waiting for [`start_up`].
pub(crate) fn reset(apic: ApicId) {
    Bus::get().command(apic, Delivery::Init, 0);
}

/// Lets `apic` start in real mode at the beginning of page `page` of the first megabyte.
pub(crate) fn start_up(apic: ApicId, page: u8) {
    Bus::get().command(apic, Delivery::StartUp, page);
}

/// What the local APIC has found wrong since the last call, as the error status register's bits (Intel SDM vol. 3,
/// figure 12-9).
pub fn take_errors() -> u32 {
    let bus = Bus::get();
    bus.write(Register::ErrorStatus, 0);
    bus.read(Register::ErrorStatus)
}
