//! What the scheduler needs from the machine that it runs on.

use crate::Fault;
use formats::trace::Event;
use formats::{CpuId, Instant};

/// A machine: the kernel's, a simulated one, or a model checker's.
pub trait Platform: Send + Sync + 'static {
    /// Guards a run queue. Taken in interrupt handlers, so it must keep interrupts off while it is held.
    type Lock: lock_api::RawMutex + Send + Sync;

    /// The time. Two CPUs may disagree slightly; differences that would be negative count as zero.
    fn now(&self) -> Instant;

    /// Makes `cpu` call [`Core::reschedule`](crate::Core::reschedule) soon, out of `hlt` if need be. It is called
    /// without locks held, and never with the caller's own CPU.
    fn kick(&self, cpu: CpuId);

    /// Called between two steps that other CPUs may see apart. A model checker changes CPUs here.
    #[inline]
    fn interleave(&self) {}

    /// Something has happened on `here` that a trace would show. `event` is called only if somebody looks.
    #[inline]
    fn trace(&self, here: CpuId, event: impl FnOnce() -> Event) {
        let _ = (here, event);
    }

    /// Runs a policy's code; false if it panicked and the machine can go on all the same.
    #[inline]
    fn protect(&self, policy: &mut dyn FnMut()) -> bool {
        policy();
        true
    }

    /// Whether the core is to make this mistake: for tests of those who must notice. On other machines it makes none.
    #[inline]
    fn has_fault(&self, fault: Fault) -> bool {
        let _ = fault;
        false
    }
}
