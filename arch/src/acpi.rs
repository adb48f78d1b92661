//! What the firmware's ACPI tables say about processors, memory nodes and timers.
//!
//! Reads the static tables only (MADT, SRAT, SLIT, HPET, FADT); runs no AML. Needs the heap, and a way to reach physical memory that the
//! loader need not have mapped.

use crate::numa::Nodes;
use acpi::address::AddressSpace;
use acpi::fadt::Fadt;
use acpi::hpet::HpetInfo;
use acpi::madt::{Madt, MadtEntry};
use acpi::sdt::{SdtHeader, Signature};
use acpi::{AcpiError, AcpiHandler, AcpiTable, AcpiTables, PhysicalMapping};
use alloc::vec::Vec;
use core::fmt;
use core::ptr::NonNull;
use x86_64::{PhysAddr, VirtAddr};

pub use crate::topology::ApicId;

/// The machine as its firmware describes it.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The processors that are there and may be used, in the order of the MADT.
    pub processors: Vec<ApicId>,
    /// Where the registers of the local APIC are in xAPIC mode.
    pub local_apic: PhysAddr,
    /// Where the registers of the high-precision event timer are.
    pub hpet: Option<PhysAddr>,
    pub pm_timer: Option<PmTimer>,
    /// The controllers of device interrupts, and which of their inputs the old interrupt lines lead to.
    pub io_apics: Vec<IoApic>,
    pub lines: Vec<Line>,
    /// Which processors share memory.
    pub nodes: Nodes,
}

/// A controller of device interrupts.
#[derive(Debug, Clone, Copy)]
pub struct IoApic {
    pub registers: PhysAddr,
    /// The number of its first input among those of all controllers.
    pub first_input: u32,
}

/// Where an interrupt line of the ISA bus leads, if not to the input of its own number.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    pub irq: u8,
    pub input: u32,
    /// Polarity and trigger mode (ACPI 6.5, table 5.26).
    pub flags: u16,
}

/// The ACPI power-management timer: a counter at 3.579545 MHz.
#[derive(Debug, Clone, Copy)]
pub struct PmTimer {
    /// Its I/O port.
    pub port: u16,
    /// 24 or 32.
    pub bits: u32,
}

/// Why the tables are of no use.
#[derive(Debug)]
pub enum Error {
    /// The root does not lead to a table of processors.
    Tables(AcpiError),
    /// The table of processors has no processor that can be used.
    NoProcessors,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tables(error) => write!(f, "the ACPI tables cannot be read: {error:?}"),
            Self::NoProcessors => f.write_str("the ACPI tables list no processor that can be used"),
        }
    }
}

impl core::error::Error for Error {}

/// Reads the tables whose root is at `rsdp`. `map` makes a range of physical memory readable, for as long as this function
/// runs at least.
///
/// # Errors
/// When the root is not one, or there is no MADT in it. A missing timer is no error.
///
/// # Safety
/// `rsdp` is where the firmware or the loader says that the root is, and what `map` returns is a mapping of the memory asked
/// for.
pub unsafe fn read(rsdp: PhysAddr, map: &dyn Fn(PhysAddr, usize) -> VirtAddr) -> Result<Machine, Error> {
    // SAFETY: passed on to our caller.
    let tables =
        unsafe { AcpiTables::from_rsdp(Reach(map), rsdp.as_u64() as usize) }.map_err(Error::Tables)?;
    let madt = tables.find_table::<Madt>().map_err(Error::Tables)?;
    let mut local_apic = u64::from(madt.get().local_apic_address);
    let (mut io_apics, mut lines) = (Vec::new(), Vec::new());
    let mut processors = Vec::new();
    for entry in madt.get().entries() {
        match entry {
            MadtEntry::LocalApic(entry) if { entry.flags } & ENABLED != 0 && entry.apic_id != 0xff => {
                add(&mut processors, u32::from(entry.apic_id));
            }
            MadtEntry::LocalX2Apic(entry) if { entry.flags } & ENABLED != 0 => {
                add(&mut processors, entry.x2apic_id)
            }
            MadtEntry::IoApic(entry) => io_apics.push(IoApic {
                registers: PhysAddr::new_truncate(u64::from(entry.io_apic_address)),
                first_input: entry.global_system_interrupt_base,
            }),
            MadtEntry::InterruptSourceOverride(entry) => {
                lines.push(Line { irq: entry.irq, input: entry.global_system_interrupt, flags: entry.flags });
            }
            MadtEntry::LocalApicAddressOverride(entry) => local_apic = entry.local_apic_address,
            _ => {}
        }
    }
    if processors.is_empty() {
        return Err(Error::NoProcessors);
    }
    let hpet = HpetInfo::new(&tables).ok().map(|hpet| PhysAddr::new_truncate(hpet.base_address as u64));
    Ok(Machine {
        processors,
        local_apic: PhysAddr::new_truncate(local_apic),
        hpet,
        pm_timer: pm_timer(&tables),
        io_apics,
        lines,
        nodes: nodes(&tables),
    })
}

/// A processor may be used as it is (ACPI 6.5, table 5.21). One that is only "online capable" is not there yet: an operating
/// system may start it after it has been plugged in.
const ENABLED: u32 = 1;

/// A machine may list a processor twice, once for each kind of entry.
fn add(processors: &mut Vec<ApicId>, id: u32) {
    if !processors.contains(&ApicId(id)) {
        processors.push(ApicId(id));
    }
}

fn pm_timer(tables: &AcpiTables<Reach<'_>>) -> Option<PmTimer> {
    let fadt = tables.find_table::<Fadt>().ok()?;
    let block = fadt.pm_timer_block().ok()??;
    let port = u16::try_from(block.address).ok().filter(|_| block.address_space == AddressSpace::SystemIo)?;
    let bits = if { fadt.flags }.pm_timer_is_32_bit() { 32 } else { 24 };
    Some(PmTimer { port, bits })
}

/// Tables that the `acpi` crate only knows by name. Of a mapping of one, all of the table is mapped.
macro_rules! raw_table {
    ($name:ident, $signature:expr) => {
        #[repr(transparent)]
        struct $name(SdtHeader);

        // SAFETY: it begins with a header, as all tables do, and says nothing about what follows.
        unsafe impl AcpiTable for $name {
            const SIGNATURE: Signature = $signature;

            fn header(&self) -> &SdtHeader {
                &self.0
            }
        }
    };
}

raw_table!(Srat, Signature::SRAT);
raw_table!(Slit, Signature::SLIT);

fn nodes(tables: &AcpiTables<Reach<'_>>) -> Nodes {
    let (srat, slit) = (tables.find_table::<Srat>().ok(), tables.find_table::<Slit>().ok());
    Nodes::read(srat.as_ref().map(bytes), slit.as_ref().map(bytes))
}

/// The whole of a table.
fn bytes<'a, T: AcpiTable>(table: &'a PhysicalMapping<Reach<'_>, T>) -> &'a [u8] {
    // SAFETY: the region is mapped for as long as the mapping lives, and nobody writes to the firmware's tables.
    unsafe { core::slice::from_raw_parts(table.virtual_start().as_ptr().cast(), table.region_length()) }
}

/// Lets the `acpi` crate reach physical memory.
#[derive(Clone)]
struct Reach<'a>(&'a dyn Fn(PhysAddr, usize) -> VirtAddr);

impl AcpiHandler for Reach<'_> {
    unsafe fn map_physical_region<T>(
        &self,
        physical_address: usize,
        size: usize,
    ) -> PhysicalMapping<Self, T> {
        let at = (self.0)(PhysAddr::new_truncate(physical_address as u64), size);
        let at = NonNull::new(at.as_mut_ptr()).expect("physical memory is mapped in the upper half");
        // SAFETY: who called `read` promised that this maps the region.
        unsafe { PhysicalMapping::new(physical_address, at, size, size, self.clone()) }
    }

    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}
}
