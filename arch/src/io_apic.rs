//! The I/O APICs, which bring the interrupts of devices to CPUs. All inputs are masked but those that are routed here.

use crate::acpi::{IoApic, Line, Machine};
use crate::apic;
use formats::CpuId;
use x2apic::ioapic::{self, IrqFlags, IrqMode, RedirectionTableEntry};
use x86_64::{PhysAddr, VirtAddr};

/// What of [`Line::flags`] says that the line is active when low, and that it is triggered by its level.
const POLARITY: u16 = 0b11;
const ACTIVE_LOW: u16 = 0b11;
const TRIGGER: u16 = 0b1100;
const LEVEL: u16 = 0b1100;

/// Bytes of a controller's registers.
const REGISTERS: usize = 0x20;

/// Lets the ISA bus's interrupt line `irq` interrupt the boot CPU with `vector`. `map` makes device registers reachable,
/// uncached and for good. False when no controller has that line, or the boot CPU has an APIC id that it cannot name.
///
/// # Safety
/// To be called once for each line, on the boot CPU, after [`apic::init`]. What `map` returns is such a mapping of what it
/// is asked for.
pub unsafe fn route(
    machine: &Machine,
    irq: u8,
    vector: u8,
    map: impl FnOnce(PhysAddr, usize) -> VirtAddr,
) -> bool {
    let line = machine.lines.iter().find(|line| line.irq == irq).copied();
    // The bus's own rule: lines are active high and edge-triggered.
    let line = line.unwrap_or(Line { irq, input: irq.into(), flags: 0 });
    let Some((controller, input)) = controller_of(machine, line.input) else { return false };
    let Some(destination) = apic::id_of(CpuId::BOOT).and_then(|id| u8::try_from(id.0).ok()) else {
        return false;
    };
    let mut flags = IrqFlags::MASKED;
    flags.set(IrqFlags::LOW_ACTIVE, line.flags & POLARITY == ACTIVE_LOW);
    flags.set(IrqFlags::LEVEL_TRIGGERED, line.flags & TRIGGER == LEVEL);
    let mut entry = RedirectionTableEntry::default();
    entry.set_vector(vector);
    entry.set_mode(IrqMode::Fixed);
    entry.set_flags(flags);
    entry.set_dest(destination);
    let registers = map(controller.registers, REGISTERS);
    // SAFETY: our caller promises the mapping, and that no other call uses this controller at the same time. The vector
    // is one that the kernel handles.
    unsafe {
        let mut io_apic = ioapic::IoApic::new(registers.as_u64());
        if input > io_apic.max_table_entry() {
            return false;
        }
        io_apic.set_table_entry(input, entry);
        io_apic.enable_irq(input);
    }
    true
}

/// The controller that has `input`, and which of its own inputs that is: the one with the last first input below it.
fn controller_of(machine: &Machine, input: u32) -> Option<(IoApic, u8)> {
    let candidates = machine.io_apics.iter().filter(|controller| controller.first_input <= input);
    let controller = candidates.max_by_key(|controller| controller.first_input)?;
    Some((*controller, u8::try_from(input - controller.first_input).ok()?))
}
