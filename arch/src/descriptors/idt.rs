//! The interrupt gates, one table for all CPUs.

use super::ist;
use crate::traps::stubs;
use crate::vectors::{FIRST_INTERRUPT, exception};
use spin::Once;
use x86_64::PrivilegeLevel;
use x86_64::structures::idt::InterruptDescriptorTable;

pub(super) fn load() {
    static TABLE: Once<InterruptDescriptorTable> = Once::new();
    TABLE.call_once(build).load();
}

/// All gates turn interrupts off. User mode may use those of `int3` and `into` by itself; any other `int` is
/// a general protection fault.
fn build() -> InterruptDescriptorTable {
    let mut table = InterruptDescriptorTable::new();
    // The crate types handlers per exception, so each has to be named.
    macro_rules! gate {
        ($($field:ident = $vector:expr),* $(,)?) => {
            $(
                // SAFETY: the stub of each vector expects just what the processor pushes for it.
                unsafe { table.$field.set_handler_addr(stubs::ordinary($vector)); }
            )*
        };
    }
    gate! {
        divide_error = exception::DIVIDE,
        debug = exception::DEBUG,
        bound_range_exceeded = exception::BOUND,
        invalid_opcode = exception::INVALID_OPCODE,
        device_not_available = exception::DEVICE_NOT_AVAILABLE,
        invalid_tss = exception::INVALID_TSS,
        segment_not_present = exception::SEGMENT_NOT_PRESENT,
        stack_segment_fault = exception::STACK,
        general_protection_fault = exception::GENERAL_PROTECTION,
        page_fault = exception::PAGE_FAULT,
        x87_floating_point = exception::X87,
        alignment_check = exception::ALIGNMENT,
        simd_floating_point = exception::SIMD,
    }
    // SAFETY: as above; the stub tells by the code segment whether user mode came in.
    unsafe {
        let (breakpoint, overflow) = (exception::BREAKPOINT, exception::OVERFLOW);
        table
            .breakpoint
            .set_handler_addr(stubs::ordinary(breakpoint))
            .set_privilege_level(PrivilegeLevel::Ring3);
        table.overflow.set_handler_addr(stubs::ordinary(overflow)).set_privilege_level(PrivilegeLevel::Ring3);
    }
    for vector in FIRST_INTERRUPT..=u8::MAX {
        // SAFETY: as above.
        unsafe { table[vector].set_handler_addr(stubs::ordinary(vector)) };
    }
    // SAFETY: these stubs expect a stack of their own with the address of the CPU-local area above it, which
    // is what the TSS entries of these indices lead to.
    unsafe {
        table.non_maskable_interrupt.set_handler_addr(stubs::nmi()).set_stack_index(ist::NMI);
        table.double_fault.set_handler_addr(stubs::double_fault()).set_stack_index(ist::DOUBLE_FAULT);
        table.machine_check.set_handler_addr(stubs::machine_check()).set_stack_index(ist::MACHINE_CHECK);
    }
    table
}
