//! The two legacy interrupt controllers (8259A): moved out of the way of the exceptions, and masked.

use crate::vectors::FIRST_INTERRUPT;
use x86_64::instructions::port::Port;

/// Initialises both controllers so that their interrupts, spurious ones included, come as vectors 32 to 47, and masks all.
pub(super) fn mask() {
    // Command and data port; first vector; how the two are wired to each other (the slave is at line 2).
    const CONTROLLERS: [(u16, u16, u8, u8); 2] =
        [(0x20, 0x21, FIRST_INTERRUPT, 1 << 2), (0xa0, 0xa1, FIRST_INTERRUPT + 8, 2)];
    /// ICW1: edge triggered, cascaded, with ICW4. ICW4: 8086 mode.
    const START: u8 = 0x11;
    const MODE_8086: u8 = 0x01;

    for (command, data, vector, wiring) in CONTROLLERS {
        // SAFETY: these ports are the controllers' on every PC, and nobody else in the kernel uses them. With all lines masked
        // they interrupt nobody.
        unsafe {
            Port::new(command).write(START);
            let mut data = Port::new(data);
            for byte in [vector, wiring, MODE_8086, u8::MAX] {
                data.write(byte);
            }
        }
    }
}
