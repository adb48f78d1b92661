//! Timer events that nobody sees, for an emulator in virtual time.
//!
//! QEMU with `-icount` charges a CPU that it resets with the rest of its time slice, which ends with the next timer event of
//! the machine: up to tens of milliseconds for each CPU that is started. With an event every 50 µs it is at most that.

use x86_64::instructions::port::Port;

/// While this lives, channel 0 of the interval timer has an event every 50 µs. Its interrupt is masked, like all of the legacy
/// controllers' and the I/O APIC's.
pub(crate) struct FrequentEvents(());

const CHANNEL_0: u16 = 0x40;
const COMMAND: u16 = 0x43;
/// Channel 0, low then high byte, binary; mode 2: again and again; mode 0: once.
const AGAIN_AND_AGAIN: u8 = 0b0011_0100;
const ONCE: u8 = 0b0011_0000;
/// 50 µs at 1.193182 MHz.
const TICKS: u16 = 60;

impl FrequentEvents {
    pub fn start() -> Self {
        set(AGAIN_AND_AGAIN, TICKS);
        Self(())
    }
}

impl Drop for FrequentEvents {
    fn drop(&mut self) {
        set(ONCE, u16::MAX);
    }
}

fn set(command: u8, count: u16) {
    let [low, high] = count.to_le_bytes();
    let mut counter = Port::<u8>::new(CHANNEL_0);
    // SAFETY: the ports are the interval timer's, and its interrupt is masked in both kinds of controllers: `apic::init` has
    // masked the legacy ones, and the loader the I/O APIC's.
    unsafe {
        Port::<u8>::new(COMMAND).write(command);
        counter.write(low);
        counter.write(high);
    }
}
