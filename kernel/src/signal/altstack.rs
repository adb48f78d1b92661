//! The stack on which handlers with SA_ONSTACK run (man 2 sigaltstack).

use super::state::Own;
use crate::errno::Errno;
use linux_raw_sys::general as linux;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `stack_t`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct AltStack {
    base: u64,
    flags: u32,
    pad: u32,
    size: u64,
}

impl Default for AltStack {
    /// None.
    fn default() -> Self {
        Self { base: 0, flags: linux::SS_DISABLE, pad: 0, size: 0 }
    }
}

impl AltStack {
    /// The least size: room for a frame with x87 and SSE state. Larger vector state needs more; a frame that does not fit
    /// is found out when it is built.
    const LEAST: u64 = linux::MINSIGSTKSZ as u64;

    fn is_enabled(&self) -> bool {
        self.size != 0
    }

    /// Whether a thread with the stack pointer `rsp` counts as running on it. With SS_AUTODISARM it never does: it stops
    /// being the alternate stack when a handler starts.
    pub fn is_in_use(&self, rsp: u64) -> bool {
        self.flags & linux::SS_AUTODISARM == 0 && rsp > self.base && rsp - self.base <= self.size
    }

    /// Whether a frame at `address` would run over its end.
    pub fn is_overrun_by(&self, address: u64) -> bool {
        address < self.base
    }

    /// One past its highest byte, where a handler starts; `None` if there is no such stack.
    pub fn top(&self) -> Option<u64> {
        self.is_enabled().then(|| self.base.wrapping_add(self.size))
    }

    /// As `sigaltstack` reports it to a thread whose stack pointer is `rsp`.
    pub fn as_seen_from(&self, rsp: u64) -> Self {
        let state = match self {
            _ if !self.is_enabled() => linux::SS_DISABLE,
            _ if self.is_in_use(rsp) => linux::SS_ONSTACK,
            _ => 0,
        };
        Self { flags: state | self.flags & linux::SS_AUTODISARM, ..*self }
    }
}

impl Own {
    /// Takes another alternate stack into use.
    ///
    /// # Errors
    /// `EPERM` while the thread runs on the present one, `EINVAL` for unknown flags, `ENOMEM` if it is too small.
    pub fn set_altstack(&mut self, new: AltStack, rsp: u64) -> Result<(), Errno> {
        if self.altstack.is_in_use(rsp) {
            return Err(Errno::EPERM);
        }
        let auto_disarm = new.flags & linux::SS_AUTODISARM;
        self.altstack = match new.flags & !linux::SS_AUTODISARM {
            linux::SS_DISABLE => AltStack { flags: linux::SS_DISABLE | auto_disarm, ..AltStack::default() },
            // SS_ONSTACK is what programs hand back that they were told; Linux takes it for 0.
            0 | linux::SS_ONSTACK if new.size < AltStack::LEAST => return Err(Errno::ENOMEM),
            0 | linux::SS_ONSTACK => AltStack { flags: auto_disarm, pad: 0, ..new },
            _ => return Err(Errno::EINVAL),
        };
        Ok(())
    }

    /// SS_AUTODISARM: while a handler runs, there is no alternate stack.
    pub fn disarm_altstack(&mut self) {
        if self.altstack.flags & linux::SS_AUTODISARM != 0 {
            self.altstack = AltStack::default();
        }
    }
}
