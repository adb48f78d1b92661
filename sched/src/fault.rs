//! Mistakes in the hand-over between CPUs that the core makes on request: each breaks one of its rules.
//!
//! Only a machine of tests asks for one ([`Platform::has_fault`](crate::Platform::has_fault)); for all others the compiler
//! leaves them out. `docs/verification.md` says what catches which.

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A CPU lowers its flag after it has looked at its queue.
    FlagLoweredLate,
    /// A CPU enters the idle mask after it has looked at the queues of others for the last time.
    IdleAfterLastLook,
    /// A preempted thread is in the queue before its context is saved.
    QueuedBeforeSaved,
    /// Whoever begins or ends a violation does not look once more.
    WasteSeenOnce,
    /// Time is accounted up to what the clock said before the lock was taken.
    ClockBeforeLock,
    /// The affinity is not read again where a thread arrives.
    AffinityNotRead,
    /// A call that came while a thread was about to sleep, and did not, is forgotten.
    CallForgotten,
    /// A CPU is called before its flag goes up.
    CalledBeforeFlag,
    /// A CPU that goes offline sends away those that wait before its queue refuses others.
    RefusesLate,
    /// A sleep is committed whatever came since it was announced.
    SleptThroughWake,
    /// A thief does not pass the call on.
    CallNotPassedOn,
    /// A CPU that has turned to something less urgent does not look for real-time threads that wait elsewhere.
    TurnsWithoutLook,
    /// The CPUs are not called after a change of balancer.
    SwapNotCalled,
}
