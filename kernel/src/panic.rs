//! The last words of the kernel.
//!
//! A panic on one CPU stops the others, prints a symbolised backtrace, reports the failure on COM2 and ends the machine
//! with [`exit::PANIC`]; only a balancer may panic and be replaced. Nothing here may wait for a lock that the panicking code could hold.

use crate::symbols::Address;
use alloc::format;
use arch::backtrace::Backtrace;
use arch::traps::KernelFrame;
use arch::user::Fault;
use core::fmt::{Arguments, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use formats::exit;
use formats::record::{Event, Failure, FailureKind};
use x86_64::VirtAddr;

static PANICKING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn on_panic(info: &PanicInfo) -> ! {
    // A policy's panic is the policy's problem: the watchdog replaces it.
    arch::guard::abandon(|| log::error!("a scheduling policy panicked: {info}"));
    match info.location() {
        Some(location) => die(format_args!("{} ({location})", info.message()), Backtrace::here()),
        None => die(format_args!("{}", info.message()), Backtrace::here()),
    }
}

/// A fault in the kernel itself.
pub fn on_fault(fault: &Fault, frame: &KernelFrame) -> ! {
    let name = arch::vectors::exception::name(fault.vector);
    // A double fault does not tell an address, but the stack pointer tells.
    let overflow =
        [fault.address, VirtAddr::new_truncate(frame.rsp.wrapping_sub(8))].map(mm::stacks::is_guard);
    let what = if overflow.contains(&true) { "kernel stack overflow: " } else { "" };
    die(
        format_args!(
            "{what}{name} (error {:#x}, address {:#x}) in kernel mode at {}\n{frame:?}",
            fault.error,
            fault.address.as_u64(),
            Address(frame.rip),
        ),
        Backtrace::of_frame(frame),
    )
}

/// Stops this CPU if another one has panicked. For the handler of the NMI by which that tells.
pub fn stop_if_panicking() {
    if PANICKING.load(SeqCst) {
        arch::power::stop();
    }
}

fn die(message: Arguments, backtrace: Backtrace) -> ! {
    arch::interrupts::disable();
    arch::sync::rank::stop_checks();
    if PANICKING.swap(true, SeqCst) {
        // Another CPU got here first, or this one panicked while it panicked: what is known is being said already.
        arch::power::stop();
    }
    arch::apic::send_nmi_others();
    let mut console = arch::serial::com1();
    let _ = writeln!(console, "\nkernel panic on {}: {message}", arch::cpu::id());
    for address in backtrace {
        let _ = writeln!(console, "  {}", Address(address.as_u64()));
    }
    // The heap may be what is broken, so this comes last.
    let failure = Failure { kind: FailureKind::Panic, cpu: arch::cpu::id(), message: format!("{message}") };
    if let Ok(line) = serde_json::to_string(&Event::Failure(failure)) {
        let _ = writeln!(arch::serial::com2(), "{line}");
    }
    crate::trace::write_out();
    arch::power::exit(exit::PANIC)
}
