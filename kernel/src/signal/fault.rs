//! Exceptions that a program causes: page faults are resolved, the rest are signals (man 7 signal; the codes are those
//! of man 2 sigaction).

use super::{SigInfo, Signal, fpstate, send};
use crate::task::Current;
use crate::{oom, trace};
use arch::traps::Fault;
use arch::vectors::exception;
use formats::trace::Event;
use linux_raw_sys::general as linux;
use mm::{Access, FaultError};

/// Sees to an exception that hit user mode. Afterwards the instruction is tried again, or a signal is pending.
pub fn from_user(current: &Current, fault: &Fault) {
    if fault.vector != exception::PAGE_FAULT {
        return send_exception(current, fault);
    }
    let thread = current.task.id;
    current.task.count_fault();
    trace::all(|| Event::PageFault { thread, address: fault.address.as_u64() });
    if let Err(error) = current.fault(fault.address, Access::from_error_code(fault.error)) {
        send_page_fault(current, fault, error);
    }
}

#[cold]
fn send_page_fault(current: &Current, fault: &Fault, error: FaultError) {
    let address = fault.address.as_u64();
    let info = match error {
        FaultError::NotMapped => SigInfo::fault(Signal::SEGV, linux::SEGV_MAPERR, address),
        FaultError::Protection => SigInfo::fault(Signal::SEGV, linux::SEGV_ACCERR, address),
        FaultError::Bus => SigInfo::fault(Signal::BUS, linux::BUS_ADRERR, address),
        FaultError::OutOfMemory => return oom::out_of_memory(current),
    };
    send(current, fault, info);
}

#[cold]
fn send_exception(current: &Current, fault: &Fault) {
    if fault.vector == exception::DEBUG && current.take_step() {
        return;
    }
    let at = current.user.borrow().regs.rip;
    let info = match fault.vector {
        exception::DIVIDE => SigInfo::fault(Signal::FPE, linux::FPE_INTDIV, at),
        exception::DEBUG => SigInfo::fault(Signal::TRAP, linux::TRAP_TRACE, at),
        exception::BREAKPOINT => SigInfo::from_kernel(Signal::TRAP),
        exception::INVALID_OPCODE => SigInfo::fault(Signal::ILL, linux::ILL_ILLOPN, at),
        exception::X87 | exception::SIMD => SigInfo::fault(Signal::FPE, fpu_code(current, fault.vector), at),
        exception::ALIGNMENT => SigInfo::fault(Signal::BUS, linux::BUS_ADRALN, 0),
        exception::SEGMENT_NOT_PRESENT | exception::STACK => SigInfo::from_kernel(Signal::BUS),
        _ => SigInfo::from_kernel(Signal::SEGV),
    };
    send(current, fault, info);
}

fn send(current: &Current, fault: &Fault, info: SigInfo) {
    let mut own = current.task.signals.own.lock();
    own.last_fault.vector = fault.vector.into();
    own.last_fault.error = fault.error;
    // As in the processor, the address stays that of the last page fault.
    if fault.vector == exception::PAGE_FAULT {
        own.last_fault.address = fault.address.as_u64();
    }
    drop(own);
    send::force(current, info);
}

/// Which floating-point exception it was: the first that is raised and not masked.
fn fpu_code(current: &Current, vector: u8) -> u32 {
    const CODES: [u32; 6] = [
        linux::FPE_FLTINV,
        linux::FPE_FLTUND,
        linux::FPE_FLTDIV,
        linux::FPE_FLTOVF,
        linux::FPE_FLTUND,
        linux::FPE_FLTRES,
    ];
    fpstate::save(current);
    let user = current.user.borrow();
    let raised = fpstate::raised_exceptions(user.fpu().bytes(), vector == exception::SIMD);
    let first = raised.trailing_zeros() as usize;
    CODES.get(first).copied().unwrap_or(linux::FPE_FLTUNK)
}
