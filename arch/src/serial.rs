//! The serial ports: bytes out, nothing in.
//!
//! Needs nothing else of this crate, so it is there from the first instruction on and in a panic. Who may write when is the
//! caller's concern: a port has no lock of its own.

use core::fmt;
use uart_16550::backend::PioBackend;
use uart_16550::spec::FIFO_SIZE;
use uart_16550::{Config, Uart16550};

/// How often a full port is asked whether it has room before what is left is dropped: about a second on the slowest line,
/// so that a port with nobody behind it delays the kernel but never stops it.
const PATIENCE: u32 = 1 << 20;

/// A serial port that has been set up, or none where the machine has none: what is written then is dropped.
pub struct Serial {
    uart: Option<Uart16550<PioBackend>>,
}

/// The port for people.
pub fn com1() -> Serial {
    Serial::at(0x3f8)
}

/// The port for programs.
pub fn com2() -> Serial {
    Serial::at(0x2f8)
}

impl Serial {
    /// Sets up the port at I/O address `base`. To do so again does no harm, but what the port still held may get lost.
    fn at(base: u16) -> Self {
        // SAFETY: the addresses of COM1 and COM2 are a UART's or nobody's (in QEMU and on PCs), and a UART whose interrupts
        // are off touches no memory.
        let mut uart = unsafe { Uart16550::new_port(base) }.expect("the registers end below 64 KiB");
        let there = uart.init(Config::DEFAULT).is_ok();
        Self { uart: there.then_some(uart) }
    }

    /// Writes all of `bytes`, as they are. Waits for the port; a port that takes nothing for long loses the rest.
    pub fn write(&mut self, bytes: &[u8]) {
        let Some(uart) = &mut self.uart else { return };
        for chunk in bytes.chunks(FIFO_SIZE) {
            let mut left = chunk;
            let mut tries = 0;
            while !left.is_empty() {
                match uart.send_bytes(left) {
                    0 if tries == PATIENCE => return,
                    0 => tries += 1,
                    sent => left = &left[sent..],
                }
            }
        }
    }
}

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text.as_bytes());
        Ok(())
    }
}
