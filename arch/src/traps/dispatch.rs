//! From the stubs to the registered handlers.

use super::{Fault, Handlers, KernelFrame};
use crate::cpu::local;
use crate::vectors::{FIRST_INTERRUPT, exception};
use crate::{copy, interrupts};
use core::sync::atomic::Ordering::Relaxed;
use spin::Once;

static HANDLERS: Once<&'static dyn Handlers> = Once::new();

/// Registers what the kernel does about traps. To be called once, before interrupts are let in; until then
/// any trap is a panic. Only the first registration counts.
pub fn set_handlers(handlers: &'static dyn Handlers) {
    HANDLERS.call_once(|| handlers);
}

/// Called by the stubs, with interrupts off and GS pointing to the CPU-local area. `frame` is what they
/// restore afterwards.
pub(super) extern "sysv64" fn kernel_trap(frame: &mut KernelFrame) {
    let vector = frame.vector as u8;
    let Some(handlers) = HANDLERS.get() else {
        panic!("{} at {:#x} before there are handlers", Fault::of(frame), frame.rip);
    };
    match vector {
        FIRST_INTERRUPT.. => interrupt(*handlers, vector, frame),
        exception::NMI => handlers.nmi(frame),
        exception::PAGE_FAULT => page_fault(*handlers, frame),
        exception::GENERAL_PROTECTION | exception::STACK if copy::fix_up(frame) => {}
        _ => handlers.fatal(&Fault::of(frame), frame),
    }
}

fn interrupt(handlers: &dyn Handlers, vector: u8, frame: &KernelFrame) {
    let depth = |change: fn(u32) -> u32| {
        local::with(|cpu| cpu.interrupt_depth.store(change(cpu.interrupt_depth.load(Relaxed)), Relaxed));
    };
    depth(|d| d + 1);
    handlers.interrupt(vector, frame);
    depth(|d| d - 1);
}

fn page_fault(handlers: &dyn Handlers, frame: &mut KernelFrame) {
    let fault = Fault::of(frame);
    // A probe of kernel memory wants no help: what is not there is not there.
    if copy::is_probe(frame, fault.address) && copy::fix_up(frame) {
        return;
    }
    // With the address at hand, another fault may come: the handler takes locks that others hold for long.
    if frame.interrupts_enabled() {
        interrupts::enable();
    }
    let resolved = handlers.page_fault(fault.address, fault.error, frame);
    interrupts::disable();
    if !resolved && !copy::fix_up(frame) {
        handlers.fatal(&fault, frame);
    }
}
