//! The registers of a user thread.

#[cfg(any(target_os = "none", test))]
use crate::traps::KernelFrame;
use x86_64::registers::rflags::RFlags;

/// General registers, instruction pointer and flags of a user thread that is not running.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// RAX at the last SYSCALL: the call's number. `u64::MAX` when user mode was left in another way, as in
    /// Linux's `pt_regs`.
    pub orig_rax: u64,
    pub rip: u64,
    pub rsp: u64,
    rflags: u64,
}

/// The flags that user mode may have as it likes.
const FREE: RFlags = RFlags::CARRY_FLAG
    .union(RFlags::PARITY_FLAG)
    .union(RFlags::AUXILIARY_CARRY_FLAG)
    .union(RFlags::ZERO_FLAG)
    .union(RFlags::SIGN_FLAG)
    .union(RFlags::TRAP_FLAG)
    .union(RFlags::DIRECTION_FLAG)
    .union(RFlags::OVERFLOW_FLAG)
    .union(RFlags::ALIGNMENT_CHECK)
    .union(RFlags::ID);

/// The flags that user mode always has: interrupts on, and the bit that is always 1.
const FIXED: u64 = RFlags::INTERRUPT_FLAG.bits() | 1 << 1;

impl Registers {
    /// Where the flags are, for the entry code.
    #[cfg(target_os = "none")]
    pub(super) const RFLAGS: usize = core::mem::offset_of!(Self, rflags);

    /// All zero, except for where to start.
    #[cfg(any(target_os = "none", test))]
    pub(crate) const fn new(rip: u64, rsp: u64) -> Self {
        Self {
            r15: 0,
            r14: 0,
            r13: 0,
            r12: 0,
            rbp: 0,
            rbx: 0,
            r11: 0,
            r10: 0,
            r9: 0,
            r8: 0,
            rax: 0,
            rcx: 0,
            rdx: 0,
            rsi: 0,
            rdi: 0,
            orig_rax: u64::MAX,
            rip,
            rsp,
            rflags: FIXED,
        }
    }

    pub const fn rflags(&self) -> u64 {
        self.rflags
    }

    /// Sets the flags that user mode may change; the others stay as they have to be.
    pub const fn set_rflags(&mut self, rflags: u64) {
        self.rflags = rflags & FREE.bits() | FIXED;
    }

    /// Whether the next instruction is to be followed by a debug exception (Intel SDM vol. 3, 18.3.1.4).
    pub const fn set_single_step(&mut self, on: bool) {
        let flag = RFlags::TRAP_FLAG.bits();
        self.rflags = if on { self.rflags | flag } else { self.rflags & !flag };
    }

    /// Takes over what a trap from user mode saved. Says whether anything changed: whether user mode got
    /// further at all.
    #[cfg(any(target_os = "none", test))]
    pub(crate) fn take(&mut self, frame: &KernelFrame) -> bool {
        let before = Self { orig_rax: u64::MAX, ..*self };
        self.r15 = frame.r15;
        self.r14 = frame.r14;
        self.r13 = frame.r13;
        self.r12 = frame.r12;
        self.rbp = frame.rbp;
        self.rbx = frame.rbx;
        self.r11 = frame.r11;
        self.r10 = frame.r10;
        self.r9 = frame.r9;
        self.r8 = frame.r8;
        self.rax = frame.rax;
        self.rcx = frame.rcx;
        self.rdx = frame.rdx;
        self.rsi = frame.rsi;
        self.rdi = frame.rdi;
        self.orig_rax = u64::MAX;
        self.rip = frame.rip;
        self.rsp = frame.rsp;
        // This drops the resume flag as well, which a fault sets in the saved flags without any instruction
        // having run.
        self.set_rflags(frame.rflags);
        *self != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_mode_keeps_interrupts_on_and_gets_no_privileged_flag() {
        let mut registers = Registers::new(0, 0);
        registers.set_rflags(u64::MAX);
        let flags = RFlags::from_bits_retain(registers.rflags());
        assert!(flags.contains(RFlags::INTERRUPT_FLAG | FREE));
        assert!(!flags.intersects(
            RFlags::IOPL_LOW | RFlags::IOPL_HIGH | RFlags::NESTED_TASK | RFlags::VIRTUAL_8086_MODE
        ));
        registers.set_rflags(0);
        assert_eq!(registers.rflags(), 0x202);
    }

    #[test]
    fn only_what_user_mode_changed_counts_as_progress() {
        let mut registers = Registers::new(0x1000, 0x2000);
        registers.orig_rax = 39;
        let resume_flag = RFlags::RESUME_FLAG.bits();
        let still =
            KernelFrame { rip: 0x1000, rsp: 0x2000, rflags: 0x202 | resume_flag, ..KernelFrame::default() };
        assert!(!registers.take(&still));
        assert_eq!(registers.rflags(), 0x202);
        let changes: [fn(&mut KernelFrame); 4] =
            [|f| f.rip += 1, |f| f.rflags |= 1, |f| f.r15 = 7, |f| f.rsp -= 8];
        for change in changes {
            let mut frame = still;
            change(&mut frame);
            assert!(registers.take(&frame));
            assert!(!registers.take(&frame));
            registers.take(&still);
        }
    }
}
