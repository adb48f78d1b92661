//! Segments, task state and interrupt gates.
//!
//! Each CPU has a GDT and a TSS in its local area; all share one IDT. What a gate's handler does is in
//! [`crate::traps`].

mod gdt;
mod idt;

use crate::cpu::local::CpuLocal;
pub(crate) use gdt::Selectors;

/// Numbers of the exception stacks in the TSS, from 0.
pub(crate) mod ist {
    pub const NMI: u16 = 0;
    pub const DOUBLE_FAULT: u16 = 1;
    pub const MACHINE_CHECK: u16 = 2;
}

/// Loads GDT, TSS and IDT. To be called on the CPU that `local` belongs to.
pub(crate) fn load(local: &'static CpuLocal) {
    gdt::load(local);
    idt::load();
}
