//! The registers of the local APIC of the CPU that asks, in either mode (Intel SDM vol. 3, 12.4 and 12.12).
//!
//! The `x2apic` crate brings x2APIC mode up. It cannot be kept in xAPIC mode on a CPU that has x2APIC, so that mode is brought
//! up here; and each interrupt pays for its accesses, so those are direct.

use super::Mode;
use crate::acpi::ApicId;
use crate::vectors;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use x2apic::lapic::{LocalApicBuilder, TimerDivide, TimerMode};
use x86_64::VirtAddr;
use x86_64::registers::model_specific::{ApicBase, ApicBaseFlags, Msr};

/// Registers by their number: MSR 0x800 plus it in x2APIC mode, 16 times it as offset in xAPIC mode.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Register {
    Id = 0x02,
    TaskPriority = 0x08,
    EndOfInterrupt = 0x0b,
    SpuriousVector = 0x0f,
    /// The first of eight: which vectors are pending.
    Requested = 0x20,
    ErrorStatus = 0x28,
    Command = 0x30,
    CommandHigh = 0x31,
    LvtTimer = 0x32,
    LvtLint0 = 0x35,
    LvtLint1 = 0x36,
    LvtError = 0x37,
    InitialCount = 0x38,
    CurrentCount = 0x39,
    DivideConfiguration = 0x3e,
    /// x2APIC only.
    SelfInterrupt = 0x3f,
}

/// In the spurious vector register: the APIC works.
const SOFTWARE_ENABLE: u32 = 1 << 8;
/// In an entry of the local vector table: no interrupt.
const MASKED: u32 = 1 << 16;

/// What an interrupt command does to its target.
#[derive(Clone, Copy)]
pub(super) enum Delivery {
    Fixed = 0b000,
    Nmi = 0b100,
    Init = 0b101,
    StartUp = 0b110,
}

/// In the command register: assert (for all but the long obsolete INIT de-assert).
const ASSERT: u32 = 1 << 14;
const DELIVERY_PENDING: u32 = 1 << 12;
const TO_SELF: u32 = 0b01 << 18;
/// In the divide configuration register: count each clock.
const DIVIDE_BY_1: u32 = 0b1011;
const X2APIC_MSRS: u32 = 0x800;

/// Where the registers are mapped in xAPIC mode; 0 in x2APIC mode.
static BASE: AtomicU64 = AtomicU64::new(0);

/// Goes to xAPIC mode with registers at `base`.
///
/// # Safety
/// The registers are mapped there, uncached and for good.
pub(super) unsafe fn set_base(base: VirtAddr) {
    BASE.store(base.as_u64(), Relaxed);
}

/// Whether the CPU that calls has x2APIC mode.
pub(super) fn has_x2apic() -> bool {
    raw_cpuid::CpuId::new().get_feature_info().is_some_and(|info| info.has_x2apic())
}

/// Whether the CPU that calls is in x2APIC mode.
pub(super) fn is_x2apic_on() -> bool {
    ApicBase::read().1.contains(ApicBaseFlags::X2APIC_ENABLE)
}

/// Lets the local APIC of the CPU that calls work in `mode`: timer stopped, in one-shot mode, counting each clock; errors and
/// spurious interrupts to their vectors; no interrupts from its pins.
pub(super) fn bring_up(mode: Mode) {
    let bus = Bus::get();
    match mode {
        Mode::X2Apic => {
            let mut apic = LocalApicBuilder::new()
                .timer_vector(vectors::TIMER.into())
                .error_vector(vectors::ERROR.into())
                .spurious_vector(vectors::SPURIOUS.into())
                .timer_mode(TimerMode::OneShot)
                .timer_divide(TimerDivide::Div1)
                .timer_initial(0)
                .build()
                .expect("all vectors are set and the CPU has x2APIC");
            // SAFETY: the vectors are the kernel's own, which has handlers for them, and the timer stands still.
            unsafe { apic.enable() };
        }
        Mode::XApic => {
            let (frame, flags) = ApicBase::read();
            // SAFETY: the registers stay where they are, and our mapping with them.
            unsafe { ApicBase::write(frame, flags | ApicBaseFlags::LAPIC_ENABLE) };
            bus.write(Register::SpuriousVector, SOFTWARE_ENABLE | u32::from(vectors::SPURIOUS));
            bus.write(Register::LvtTimer, u32::from(vectors::TIMER));
            bus.write(Register::DivideConfiguration, DIVIDE_BY_1);
            bus.write(Register::InitialCount, 0);
            bus.write(Register::LvtError, u32::from(vectors::ERROR));
        }
    }
    for pin in [Register::LvtLint0, Register::LvtLint1] {
        bus.write(pin, MASKED);
    }
    bus.write(Register::TaskPriority, 0);
    bus.write(Register::ErrorStatus, 0);
}

/// The way to the registers of whichever CPU uses it.
#[derive(Clone, Copy)]
pub(crate) struct Bus {
    /// The address of the registers; 0: through MSRs.
    base: u64,
}

impl Bus {
    #[inline]
    pub fn get() -> Self {
        Self { base: BASE.load(Relaxed) }
    }

    #[inline]
    pub fn read(self, register: Register) -> u32 {
        self.read_at(register as u32)
    }

    #[inline]
    fn read_at(self, register: u32) -> u32 {
        // SAFETY: reading a register of the local APIC changes nothing. `set_base` was promised the mapping; in x2APIC mode
        // these MSRs exist.
        unsafe {
            match self.base {
                0 => Msr::new(X2APIC_MSRS + register).read() as u32,
                base => ((base + u64::from(register) * 16) as *const u32).read_volatile(),
            }
        }
    }

    #[inline]
    pub fn write(self, register: Register, value: u32) {
        let register = register as u32;
        // SAFETY: as in `read_at`; this module writes only what leads to interrupts that the kernel handles, and its parent
        // and `time` keep to that.
        unsafe {
            match self.base {
                0 => Msr::new(X2APIC_MSRS + register).write(value.into()),
                base => ((base + u64::from(register) * 16) as *mut u32).write_volatile(value),
            }
        }
    }

    pub(super) fn id(self) -> u32 {
        match self.base {
            0 => self.read(Register::Id),
            _ => self.read(Register::Id) >> 24,
        }
    }

    /// Sends an interrupt command to one APIC.
    #[inline]
    pub(super) fn command(self, to: ApicId, what: Delivery, vector: u8) {
        self.issue(to.0, (what as u32) << 8 | ASSERT | u32::from(vector));
    }

    /// Interrupts this CPU.
    pub(super) fn command_self(self, vector: u8) {
        match self.base {
            0 => self.write(Register::SelfInterrupt, vector.into()),
            _ => self.issue(0, ASSERT | TO_SELF | u32::from(vector)),
        }
    }

    #[inline]
    fn issue(self, to: u32, command: u32) {
        if self.base == 0 {
            // What the target is to see was written before it is interrupted. Unlike a store to memory, this MSR's write does
            // not wait for earlier stores (Intel SDM vol. 3, 12.12.3).
            core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
            // SAFETY: in x2APIC mode the command register is this one MSR; the rest is as in `write`.
            unsafe {
                Msr::new(X2APIC_MSRS + Register::Command as u32)
                    .write(u64::from(to) << 32 | u64::from(command))
            };
            return;
        }
        // Two writes make one command: no handler that sends another may come in between.
        let _off = crate::interrupts::off();
        while self.read(Register::Command) & DELIVERY_PENDING != 0 {
            core::hint::spin_loop();
        }
        self.write(Register::CommandHigh, to << 24);
        self.write(Register::Command, command);
    }

    /// Whether `vector` is pending.
    pub(super) fn is_requested(self, vector: u8) -> bool {
        self.read_at(Register::Requested as u32 + u32::from(vector) / 32) >> (vector % 32) & 1 == 1
    }
}
