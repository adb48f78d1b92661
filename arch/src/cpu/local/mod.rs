//! What each CPU has to itself and reaches without knowing its number.
//!
//! On the machine this is the area that GS points to in the kernel. On the host it belongs to the thread, so
//! that tests in parallel threads do not disturb each other. Other crates keep their per-CPU data in
//! [`PerCpu`](super::PerCpu).

use crate::sync::rank::Held;
#[cfg(target_os = "none")]
use core::sync::atomic::AtomicU64;
use core::sync::atomic::{AtomicBool, AtomicU32};

/// What locks and interrupts count. Written by its CPU only; an interrupt handler leaves it as it found it,
/// so plain loads and stores are enough.
#[derive(Debug)]
pub(crate) struct Counters {
    /// How many interrupt handlers are running that hit the kernel.
    pub interrupt_depth: AtomicU32,
    /// How many interrupt-safe locks are held.
    pub irq_locks: AtomicU32,
    /// Whether interrupts were on before the first of them.
    pub irqs_were_enabled: AtomicBool,
    pub held: Held,
    /// Where the innermost guarded call on this CPU goes on when it is abandoned; 0: there is none.
    #[cfg(target_os = "none")]
    pub guard: AtomicU64,
}

impl Counters {
    const fn new() -> Self {
        Self {
            interrupt_depth: AtomicU32::new(0),
            irq_locks: AtomicU32::new(0),
            irqs_were_enabled: AtomicBool::new(false),
            held: Held::new(),
            #[cfg(target_os = "none")]
            guard: AtomicU64::new(0),
        }
    }
}

#[cfg(not(target_os = "none"))]
pub use host::pretend_to_be;
#[cfg(not(target_os = "none"))]
pub(crate) use host::{id, with};
#[cfg(target_os = "none")]
pub(crate) use machine::{CpuLocal, Field, id, init, with};
#[cfg(target_os = "none")]
pub use machine::{ExceptionStacks, prepare, set_exception_stacks};

#[cfg(not(target_os = "none"))]
mod host {
    use super::Counters;
    use core::cell::Cell;
    use formats::CpuId;

    std::thread_local! {
        static ID: Cell<CpuId> = const { Cell::new(CpuId::BOOT) };
        static COUNTERS: Counters = const { Counters::new() };
    }

    pub(crate) fn id() -> CpuId {
        ID.get()
    }

    /// Makes the calling thread CPU `id`.
    pub fn pretend_to_be(id: CpuId) {
        ID.set(id);
    }

    pub(crate) fn with<R>(look: impl FnOnce(&Counters) -> R) -> R {
        COUNTERS.with(look)
    }
}

#[cfg(target_os = "none")]
mod machine;
