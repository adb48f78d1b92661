//! Human text on COM1: the kernel's log, and what programs write to the console.

use arch::serial::Serial;
use arch::sync::{IrqLock, rank};
use core::fmt::Write;
use log::{LevelFilter, Log, Metadata, Record};
use spin::Once;

static PORT: Once<IrqLock<Serial, { rank::LOG }>> = Once::new();

/// Opens the port and makes it the log's place.
pub fn init() {
    PORT.call_once(|| IrqLock::new(arch::serial::com1()));
    // Fails only the second time.
    let _ = log::set_logger(&Console);
    log::set_max_level(LevelFilter::Info);
}

/// Writes bytes as they are. What is written in one call stays together.
pub fn write(bytes: &[u8]) {
    if let Some(port) = PORT.get() {
        port.lock().write(bytes);
    }
}

struct Console;

impl Log for Console {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        if let Some(port) = PORT.get() {
            // A port that takes nothing loses the line: there is nobody to tell.
            let _ = writeln!(port.lock(), "tine: {}", record.args());
        }
    }

    fn flush(&self) {}
}
