//! Registers at the moment of a trap.

use crate::vectors::exception;
use core::fmt;
use x86_64::VirtAddr;

/// What a trap stub and the processor push, lowest address first. For a trap in user mode it lies in the
/// `UserContext`, for one in the kernel on the interrupted stack.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct KernelFrame {
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
    /// The trap's number, 0 to 255.
    pub vector: u64,
    /// The processor's error code, 0 where it has none.
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// Its size is a multiple of 16: the processor aligns the stack before it pushes, so frames end at such an
/// address.
pub(crate) const FRAME_SIZE: usize = size_of::<KernelFrame>();
const _: () = assert!(FRAME_SIZE.is_multiple_of(16));

impl KernelFrame {
    /// Whether the trap came from user mode.
    pub fn is_user(&self) -> bool {
        self.cs & 3 != 0
    }

    /// Whether interrupts were on.
    pub fn interrupts_enabled(&self) -> bool {
        self.rflags & 1 << 9 != 0
    }
}

/// An exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which one: see [`exception`].
    pub vector: u8,
    /// The processor's error code, 0 where it has none (Intel SDM vol. 3, 7.13 and 5.12 for page faults).
    pub error: u64,
    /// Of a page fault: the address that was accessed. 0 for others.
    pub address: VirtAddr,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (vector {}, error {:#x}", exception::name(self.vector), self.vector, self.error)?;
        if self.vector == exception::PAGE_FAULT {
            write!(f, ", address {:#x}", self.address)?;
        }
        f.write_str(")")
    }
}

#[cfg(target_os = "none")]
impl Fault {
    /// The exception that `frame` is about. To be called before another page fault can happen on this CPU.
    pub(crate) fn of(frame: &KernelFrame) -> Self {
        let vector = frame.vector as u8;
        let address = if vector == exception::PAGE_FAULT {
            VirtAddr::new_truncate(x86_64::registers::control::Cr2::read_raw())
        } else {
            VirtAddr::zero()
        };
        Self { vector, error: frame.error, address }
    }
}
