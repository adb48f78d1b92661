//! Control registers and EFER of one CPU.

use super::features;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use x86_64::registers::model_specific::{Efer, EferFlags};

/// Turns on protection and the instructions that the kernel uses, as far as the processor has them.
pub(super) fn init() {
    let has = features();
    let mut cr0 = Cr0::read();
    // Vector state is switched eagerly, so there is nothing to trap. Alignment checks stay off: RFLAGS.AC is
    // SMAP's in the kernel, and in user mode it then does nothing.
    cr0.remove(Cr0Flags::EMULATE_COPROCESSOR | Cr0Flags::TASK_SWITCHED | Cr0Flags::ALIGNMENT_MASK);
    cr0.insert(Cr0Flags::WRITE_PROTECT | Cr0Flags::MONITOR_COPROCESSOR | Cr0Flags::NUMERIC_ERROR);

    let mut cr4 = Cr4::read();
    cr4.insert(Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE);
    cr4.remove(Cr4Flags::PCID);
    cr4.set(Cr4Flags::MACHINE_CHECK_EXCEPTION, has.mce);
    cr4.set(Cr4Flags::PAGE_GLOBAL, has.pge);
    cr4.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, has.smep);
    cr4.set(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, has.smap);
    cr4.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, has.umip);
    cr4.set(Cr4Flags::FSGSBASE, has.fsgsbase);
    cr4.set(Cr4Flags::OSXSAVE, has.xsave);

    let mut efer = Efer::read();
    efer.insert(EferFlags::SYSTEM_CALL_EXTENSIONS);
    efer.set(EferFlags::NO_EXECUTE_ENABLE, has.nx);

    // SAFETY: paging and long mode stay as they are. The kernel runs on its own pages, which SMEP and SMAP do
    // not concern and whose protection it set itself, so write protection takes nothing from it that it
    // relies on.
    unsafe {
        Cr0::write(cr0);
        Efer::write(efer);
        Cr4::write(cr4);
    }
}
