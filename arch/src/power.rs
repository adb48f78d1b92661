//! The end of the machine.

use crate::serial;
use core::fmt::{self, Write};
use formats::exit;
use x86_64::instructions::{hlt, interrupts, port::Port};

/// QEMU's `isa-debug-exit` device, as the `tine` command configures it.
const DEBUG_EXIT: u16 = 0xf4;
/// The ACPI power-management control registers of QEMU's `q35` and `pc` and of Bochs, and what puts each into S5, the soft
/// off state: SLP_EN (bit 13) with sleep type 0.
const SOFT_OFF: [u16; 3] = [0x604, 0xb004, 0x600];
const SLEEP_ENABLE: u16 = 1 << 13;

/// Ends the run with `code`, one of [`formats::exit`]. On a machine without the exit device it powers off.
pub fn exit(code: u8) -> ! {
    // SAFETY: the port is the exit device's or nobody's.
    unsafe { Port::<u8>::new(DEBUG_EXIT).write(code) };
    off()
}

/// Powers the machine off, or stops this CPU for ever if that does not work.
pub fn off() -> ! {
    interrupts::disable();
    for register in SOFT_OFF {
        // SAFETY: the port is the power-management control register, in which this turns the machine off, or nobody's.
        unsafe { Port::<u16>::new(register).write(SLEEP_ENABLE) };
    }
    stop()
}

/// Stops this CPU for ever.
pub fn stop() -> ! {
    loop {
        interrupts::disable();
        hlt();
    }
}

/// Ends a machine that cannot run the kernel, with a sentence on COM1 that says why.
pub fn fail(why: fmt::Arguments<'_>) -> ! {
    // Nobody is left to tell if the port fails.
    let _ = writeln!(serial::com1(), "tine: {why}");
    exit(exit::KERNEL_FAILURE)
}
