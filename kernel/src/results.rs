//! Machine-readable results on COM2: one JSON line for each [`Event`].

use alloc::string::String;
use arch::serial::Serial;
use arch::sync::{IrqLock, rank};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use formats::record::{Event, Failure, FailureKind};
use formats::{ThreadId, exit};
use spin::Once;

static PORT: Once<IrqLock<Serial, { rank::LOG }>> = Once::new();
static FAILED: AtomicBool = AtomicBool::new(false);

/// Writes an event. Takes a while under emulation: not for hot paths.
pub fn write(event: &Event) {
    match serde_json::to_string(event) {
        Ok(mut line) => {
            line.push('\n');
            PORT.call_once(|| IrqLock::new(arch::serial::com2())).lock().write(line.as_bytes());
        }
        Err(error) => log::error!("an event could not be written: {error}"),
    }
}

/// A line that a program wrote to `/dev/results`.
pub fn user_line(thread: ThreadId, line: &str) {
    write(&Event::User { thread, line: String::from(line) });
}

/// Notes that the run has failed, whatever the program's status will be.
pub fn failure(kind: FailureKind, message: String) {
    FAILED.store(true, Relaxed);
    log::error!("{message}");
    write(&Event::Failure(Failure { kind, cpu: arch::cpu::id(), message }));
}

/// Notes a failure and ends the run at once.
pub fn fatal_failure(kind: FailureKind, message: String) -> ! {
    failure(kind, message);
    crate::trace::write_out();
    arch::power::exit(exit::KERNEL_FAILURE)
}

/// Whether a failure was noted.
pub fn has_failed() -> bool {
    FAILED.load(Relaxed)
}
