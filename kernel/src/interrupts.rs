//! Interrupts and the kernel's own faults.
//!
//! Handlers count, acknowledge and leave: what takes time is done on the way back to user mode or by the idle loop.
//! Nothing here logs, allocates, or takes a lock that is not interrupt-safe, but for the last words of a dying kernel.

use crate::task::{Current, Task};
use crate::{clock, cpus, panic, trace, tty, watchdog};
use arch::traps::{Handlers, KernelFrame};
use arch::user::Fault;
use arch::vectors;
use formats::trace::Event;
use sched::Progress;
use x86_64::VirtAddr;

struct Kernel;

/// Registers what happens when a trap hits kernel mode.
pub fn init() {
    arch::traps::set_handlers(&Kernel);
}

/// An interrupt ended user mode. Interrupts are off, and stay off.
pub fn from_user(current: &Current, vector: u8) {
    handle(vector, || {
        let retired = current.has_progressed();
        Progress::User { retired, rip: current.user.borrow().regs.rip }
    });
    if current.has_progressed() {
        current.note_progress();
    }
}

fn handle(vector: u8, progress: impl FnOnce() -> Progress) {
    trace::all(|| Event::Interrupt { vector });
    match vector {
        vectors::TIMER => clock::timer_interrupt(progress),
        vectors::SERIAL => tty::serial::interrupt(),
        vectors::RESCHEDULE => cpus::called_by_other(),
        vectors::TLB => arch::tlb::serve(),
        vectors::SPURIOUS => return,
        _ => cpus::count_unexpected(vector),
    }
    arch::apic::eoi();
}

impl Handlers for Kernel {
    fn interrupt(&self, vector: u8, _frame: &KernelFrame) {
        handle(vector, || Progress::Kernel);
    }

    fn page_fault(&self, address: VirtAddr, error: u64, _frame: &KernelFrame) -> bool {
        let access = mm::Access::from_error_code(error);
        let thread = cpus::current_thread();
        trace::all(|| Event::PageFault { thread: thread.id(), address: address.as_u64() });
        let task = Task::of(&thread);
        let space = task.inspect(|task| task.count_fault()).and_then(|task| task.process.space());
        space.is_some_and(|space| space.fault(address, access).is_ok())
    }

    fn fatal(&self, fault: &Fault, frame: &KernelFrame) -> ! {
        panic::on_fault(fault, frame)
    }

    fn nmi(&self, frame: &KernelFrame) {
        panic::stop_if_panicking();
        watchdog::report_here(frame);
    }
}
