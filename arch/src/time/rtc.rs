//! The battery-backed clock: what day it is.

use super::calendar;
use x86_64::instructions::port::Port;

/// Registers of the clock (Motorola MC146818A), reached through an index and a data port.
mod register {
    pub const SECONDS: u8 = 0x00;
    pub const MINUTES: u8 = 0x02;
    pub const HOURS: u8 = 0x04;
    pub const DAY: u8 = 0x07;
    pub const MONTH: u8 = 0x08;
    pub const YEAR: u8 = 0x09;
    pub const STATUS_A: u8 = 0x0a;
    pub const STATUS_B: u8 = 0x0b;
}

/// In status A: the clock is being updated.
const UPDATING: u8 = 1 << 7;

/// Seconds since 1970 in UTC, if the clock keeps that (QEMU's does). Takes up to 2 ms when the clock is being updated.
pub fn realtime() -> u64 {
    loop {
        let first = read_all();
        if read(register::STATUS_A) & UPDATING == 0 && read_all() == first {
            return calendar::seconds(first, read(register::STATUS_B));
        }
        core::hint::spin_loop();
    }
}

fn read_all() -> [u8; 6] {
    use register::{DAY, HOURS, MINUTES, MONTH, SECONDS, YEAR};
    [SECONDS, MINUTES, HOURS, DAY, MONTH, YEAR].map(read)
}

fn read(register: u8) -> u8 {
    // SAFETY: the ports are the clock's on every PC; reading these registers changes nothing, and bit 7 of the index, the NMI
    // mask, is left clear.
    unsafe {
        Port::<u8>::new(0x70).write(register);
        Port::<u8>::new(0x71).read()
    }
}
