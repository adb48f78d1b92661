//! The serial ports: bytes out, and in at COM1.
//!
//! Needs nothing else of this crate, so it is there from the first instruction on and in a panic. Who may write when is the
//! caller's concern: a port has no lock of its own.

use core::fmt;
use uart_16550::backend::PioBackend;
use uart_16550::spec::FIFO_SIZE;
use uart_16550::{Config, Uart16550};
use x86_64::instructions::port::{PortReadOnly, PortWriteOnly};

const COM1: u16 = 0x3f8;

/// How often a full port is asked whether it has room before what is left is dropped: about a second on the slowest line,
/// so that a port with nobody behind it delays the kernel but never stops it.
const PATIENCE: u32 = 1 << 20;

/// A serial port that has been set up, or none where the machine has none: what is written then is dropped.
pub struct Serial {
    uart: Option<Uart16550<PioBackend>>,
}

/// The port for people.
pub fn com1() -> Serial {
    Serial::at(COM1)
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

/// The receiving side of COM1. It shares no register with the sending side but the interrupt enable register, which only
/// this side changes once the port is set up.
pub struct Receiver {
    base: u16,
}

/// The receiving side of COM1, which has been set up by [`com1`].
pub fn com1_receiver() -> Receiver {
    Receiver { base: COM1 }
}

/// Offsets of registers (PC16550D data sheet, table II), and bits in them.
const RECEIVE_BUFFER: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const DATA_AVAILABLE: u8 = 1;
/// FIFOs on, an interrupt for each byte.
const FIFO_ON: u8 = 1;
/// DTR, RTS, and OUT2, which lets the port's interrupt through to the controller on PCs.
const READY_AND_GATED: u8 = 0b1011;

impl Receiver {
    /// The next byte that has arrived.
    pub fn take(&self) -> Option<u8> {
        // SAFETY: these are COM1's registers; to read them touches no memory, and only this side reads the buffer.
        unsafe {
            let status: u8 = PortReadOnly::new(self.base + LINE_STATUS).read();
            (status & DATA_AVAILABLE != 0).then(|| PortReadOnly::new(self.base + RECEIVE_BUFFER).read())
        }
    }

    /// Whether the port interrupts when a byte arrives.
    pub fn set_interrupts(&self, on: bool) {
        // SAFETY: as above; the interrupt leads to the vector that it was routed to, or to nobody.
        unsafe {
            if on {
                PortWriteOnly::new(self.base + FIFO_CONTROL).write(FIFO_ON);
                PortWriteOnly::new(self.base + MODEM_CONTROL).write(READY_AND_GATED);
            }
            PortWriteOnly::new(self.base + INTERRUPT_ENABLE).write(if on { DATA_AVAILABLE } else { 0 });
        }
    }
}

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text.as_bytes());
        Ok(())
    }
}
