//! Clocks of known frequency, against which others are measured.

use crate::acpi::PmTimer;
use x86_64::VirtAddr;
use x86_64::instructions::port::Port;

/// A counter that counts up at a known frequency and wraps around.
pub(super) enum Reference {
    /// The address of its registers.
    Hpet(VirtAddr),
    PmTimer(PmTimer),
    /// Channel 2 of the programmable interval timer, which interrupts nobody.
    Pit,
}

/// HPET registers (IA-PC HPET specification 1.0a, 2.3).
mod hpet {
    pub const CAPABILITIES: u64 = 0x000;
    pub const CONFIGURATION: u64 = 0x010;
    pub const COUNTER: u64 = 0x0f0;
    /// In the capabilities: the counter has 64 bits.
    pub const WIDE: u64 = 1 << 13;
    /// In the configuration: the counter runs.
    pub const ENABLE: u64 = 1;
    /// The longest period that the specification allows, in femtoseconds.
    pub const LONGEST_PERIOD: u64 = 100_000_000;
}

/// Ports of the interval timer and its gate (Intel 8254).
mod pit {
    pub const CHANNEL_2: u16 = 0x42;
    pub const COMMAND: u16 = 0x43;
    pub const GATE: u16 = 0x61;
    /// Channel 2, low then high byte, mode 0 (count down once), binary.
    pub const COUNT_DOWN: u8 = 0b1011_0000;
    pub const LATCH: u8 = 0b1000_0000;
    /// In the gate port: the channel counts; the speaker listens.
    pub const RUN: u8 = 1;
    pub const SPEAKER: u8 = 2;
}

impl Reference {
    /// The HPET whose registers are at `base`, counting.
    ///
    /// # Safety
    /// The first KiB of an HPET is mapped there, uncached, for as long as this is used.
    pub unsafe fn hpet(base: VirtAddr) -> Option<Self> {
        let this = Self::Hpet(base);
        let period = this.hpet_read(hpet::CAPABILITIES) >> 32;
        if !(1..=hpet::LONGEST_PERIOD).contains(&period) {
            return None;
        }
        let running = this.hpet_read(hpet::CONFIGURATION) | hpet::ENABLE;
        // SAFETY: our caller promises the mapping; no comparator is set up, so a running counter interrupts nobody.
        unsafe { (base + hpet::CONFIGURATION).as_mut_ptr::<u64>().write_volatile(running) };
        Some(this)
    }

    /// The interval timer, counting. It is good for 54 ms.
    pub fn pit() -> Self {
        let mut gate = Port::<u8>::new(pit::GATE);
        let mut counter = Port::<u8>::new(pit::CHANNEL_2);
        // SAFETY: channel 2 drives nothing but the speaker, which is off, and nobody else in the kernel uses it.
        unsafe {
            let before = gate.read();
            gate.write(before & !pit::SPEAKER | pit::RUN);
            Port::<u8>::new(pit::COMMAND).write(pit::COUNT_DOWN);
            counter.write(u8::MAX);
            counter.write(u8::MAX);
        }
        Self::Pit
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Hpet(_) => "HPET",
            Self::PmTimer(_) => "ACPI PM timer",
            Self::Pit => "PIT",
        }
    }

    /// Ticks per second.
    pub fn hz(&self) -> u64 {
        match self {
            Self::Hpet(_) => 1_000_000_000_000_000 / (self.hpet_read(hpet::CAPABILITIES) >> 32),
            Self::PmTimer(_) => 3_579_545,
            Self::Pit => 1_193_182,
        }
    }

    pub fn read(&self) -> u64 {
        match self {
            Self::Hpet(_) => self.hpet_read(hpet::COUNTER),
            // SAFETY: reading the timer changes nothing.
            Self::PmTimer(timer) => unsafe { Port::<u32>::new(timer.port).read().into() },
            Self::Pit => {
                let mut counter = Port::<u8>::new(pit::CHANNEL_2);
                // SAFETY: as in `pit`; the latch makes the two halves belong together.
                let down = unsafe {
                    Port::<u8>::new(pit::COMMAND).write(pit::LATCH);
                    u16::from_le_bytes([counter.read(), counter.read()])
                };
                u64::from(!down)
            }
        }
    }

    /// How many ticks lie between two readings less than a whole round apart.
    pub fn between(&self, from: u64, to: u64) -> u64 {
        let bits = match self {
            Self::Hpet(_) if self.hpet_read(hpet::CAPABILITIES) & hpet::WIDE == 0 => 32,
            Self::Hpet(_) => 64,
            Self::PmTimer(timer) => timer.bits,
            Self::Pit => 16,
        };
        to.wrapping_sub(from) & (u64::MAX >> (64 - bits))
    }

    fn hpet_read(&self, register: u64) -> u64 {
        match self {
            // SAFETY: who made this promised the mapping; reading these registers changes nothing.
            Self::Hpet(base) => unsafe { (*base + register).as_ptr::<u64>().read_volatile() },
            _ => 0,
        }
    }
}
