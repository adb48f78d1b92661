//! All that a user thread has in the processor.

use super::registers::Registers;
use super::{Exit, enter};
use crate::descriptors::Selectors;
use crate::fpu;
use crate::interrupts;
use crate::traps::{Fault, KernelFrame};
use crate::vectors::{FIRST_INTERRUPT, exception};
use x86_64::VirtAddr;

/// A user thread's registers, the floating-point and vector state included.
///
/// Between [`Self::load`] and [`Self::save`] the thread has the CPU, and the vector state and the segment
/// bases are in the processor rather than here.
#[repr(C, align(16))]
pub struct UserContext {
    /// Where traps from user mode save to. First, and of a size that keeps its end aligned.
    pub(super) frame: KernelFrame,
    pub regs: Registers,
    fs_base: VirtAddr,
    gs_base: VirtAddr,
    retired: bool,
    fpu: fpu::State,
}

impl UserContext {
    /// A thread that starts at `entry` with the stack pointer `stack`, all else zero or as after a reset.
    /// `None`: out of memory.
    pub fn new(entry: VirtAddr, stack: VirtAddr) -> Option<Self> {
        Some(Self {
            frame: KernelFrame {
                cs: u64::from(Selectors::USER_CODE.0),
                ss: u64::from(Selectors::USER_DATA.0),
                ..KernelFrame::default()
            },
            regs: Registers::new(entry.as_u64(), stack.as_u64()),
            fs_base: VirtAddr::zero(),
            gs_base: VirtAddr::zero(),
            retired: false,
            fpu: fpu::State::new()?,
        })
    }

    /// A copy of the thread that has this CPU, for a fork. `None`: out of memory.
    pub fn duplicate(&mut self) -> Option<Self> {
        self.save();
        Some(Self { fpu: self.fpu.duplicate()?, ..*self })
    }

    /// Enters user mode where `regs` says and returns when it is left. Turns interrupts off and returns with
    /// them off.
    ///
    /// The thread has this CPU (see [`Self::load`]) and its address space is active. If `regs.rip` is no user
    /// address, user mode is not entered and the exit is a general protection fault.
    #[inline(always)]
    pub fn run(&mut self) -> Exit {
        interrupts::disable();
        // SAFETY: interrupts are off, the frame's selectors are those of user mode since `new`, and `regs`
        // keeps its flags to what user mode may have. The context stays borrowed, so it is in place until
        // user mode is left.
        match unsafe { enter::enter(self) } {
            enter::SYSCALL => {
                self.retired = true;
                Exit::Syscall
            }
            enter::REFUSED => self.refused(),
            vector => self.trapped(vector as u8),
        }
    }

    fn trapped(&mut self, vector: u8) -> Exit {
        self.retired = self.regs.take(&self.frame);
        if vector >= FIRST_INTERRUPT { Exit::Interrupt(vector) } else { Exit::Fault(Fault::of(&self.frame)) }
    }

    #[cold]
    fn refused(&mut self) -> Exit {
        self.retired = false;
        Exit::Fault(Fault { vector: exception::GENERAL_PROTECTION, error: 0, address: VirtAddr::zero() })
    }

    /// Whether the last [`Self::run`] retired at least one user instruction. A jump to itself leaves no trace
    /// and counts as none.
    pub fn retired_since_entry(&self) -> bool {
        self.retired
    }

    /// Puts vector state and segment bases into the processor: the thread gets this CPU. Interrupts are off.
    pub fn load(&mut self) {
        self.fpu.load();
        enter::set_bases(self.fs_base, self.gs_base);
    }

    /// Takes vector state and segment bases from the processor: the thread gives up this CPU. Interrupts are
    /// off.
    pub fn save(&mut self) {
        self.fpu.save();
        (self.fs_base, self.gs_base) = enter::bases();
    }

    /// Where FS points to, as of the last [`Self::save`] or [`Self::set_fs_base`].
    pub fn fs_base(&self) -> VirtAddr {
        self.fs_base
    }

    /// Where GS points to, as of the last [`Self::save`] or [`Self::set_gs_base`].
    pub fn gs_base(&self) -> VirtAddr {
        self.gs_base
    }

    /// Sets where FS points to, from the next [`Self::load`] on.
    pub fn set_fs_base(&mut self, base: VirtAddr) {
        self.fs_base = base;
    }

    /// Sets where GS points to, from the next [`Self::load`] on.
    pub fn set_gs_base(&mut self, base: VirtAddr) {
        self.gs_base = base;
    }

    /// The vector state, as of the last [`Self::save`].
    pub fn fpu(&self) -> &fpu::State {
        &self.fpu
    }

    /// The vector state to change, from the next [`Self::load`] on.
    pub fn fpu_mut(&mut self) -> &mut fpu::State {
        &mut self.fpu
    }
}
