//! What the scheduler needs from the machine that it runs on.

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
}
