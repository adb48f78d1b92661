//! A thread as everybody outside the run queues sees it.

use crate::measure::ThreadStats;
use crate::policy::SharedPolicy;
use crate::{Class, Policy, cpu_mask::CpuMask, wait::WaitState};
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use formats::{CpuId, CpuSet, Duration, Instant, ThreadId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs a program. It has a first run, and is preempted by ticks.
    User,
    /// Runs when nothing else does. One per CPU, never queued, always preemptible.
    Idle,
}

/// What a new thread is made of.
pub struct NewThread {
    pub id: ThreadId,
    pub kind: Kind,
    /// Where it may run. CPUs that the machine does not have are ignored.
    pub affinity: CpuSet,
    pub policy: Policy,
    /// What the owner of the scheduler attaches to it: [`Thread::task`].
    pub task: Arc<dyn Any + Send + Sync>,
}

/// Bandwidth of a CPU, booked by a thread of the deadline class, which is to run there and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Booking {
    pub cpu: CpuId,
    /// In units of 1 / [`Reservation::WHOLE`](crate::Reservation::WHOLE); not 0.
    pub bandwidth: u32,
}

impl Booking {
    /// In one word, so that it is replaced as a whole.
    fn pack(self) -> u64 {
        u64::from(self.cpu.0) << 32 | u64::from(self.bandwidth)
    }

    #[inline]
    fn unpack(word: u64) -> Option<Self> {
        (word != 0).then_some(Self { cpu: CpuId((word >> 32) as u32), bandwidth: word as u32 })
    }
}

/// A thread: shared by everybody who may wake, move or ask about it.
///
/// It cannot be run through this handle: that right is a single [`Runnable`](crate::Runnable), which the core owns.
///
/// What each switch and each wake-up looks at comes first, so that it is on few cache lines.
#[repr(C)]
pub struct Thread {
    id: ThreadId,
    kind: Kind,
    /// There are CPUs where it may not run.
    restricted: AtomicBool,
    pub(crate) entered: AtomicBool,
    pub(crate) first_run: AtomicBool,
    /// Where its token is or is going: written by whoever holds the token in hand, before it locks that CPU's queue.
    cpu: AtomicU32,
    pub(crate) policy_version: AtomicU32,
    pub(crate) wait: WaitState,
    /// What it has booked as a thread of the deadline class: see [`Booking`].
    booking: AtomicU64,
    policy: SharedPolicy,
    pub(crate) ran: AtomicU64,
    pub(crate) stats: ThreadStats,
    pub(crate) started: AtomicU64,
    pub(crate) migrations: AtomicU32,
    task: Arc<dyn Any + Send + Sync>,
    affinity: CpuMask,
}

impl Thread {
    pub(crate) fn new(new: NewThread, here: CpuId, machine: CpuSet) -> Self {
        let affinity = new.affinity.and(&machine);
        Self {
            id: new.id,
            kind: new.kind,
            task: new.task,
            affinity: CpuMask::new(affinity),
            policy: SharedPolicy::new(new.policy),
            policy_version: AtomicU32::new(0),
            booking: AtomicU64::new(0),
            restricted: AtomicBool::new(affinity != machine),
            cpu: AtomicU32::new(here.0),
            wait: match new.kind {
                Kind::User => WaitState::new(),
                Kind::Idle => WaitState::awake(),
            },
            started: AtomicU64::new(0),
            entered: AtomicBool::new(false),
            first_run: AtomicBool::new(false),
            ran: AtomicU64::new(0),
            migrations: AtomicU32::new(0),
            stats: ThreadStats::default(),
        }
    }

    #[inline]
    pub fn id(&self) -> ThreadId {
        self.id
    }

    #[inline]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What [`NewThread::task`] was, if it is a `T`.
    pub fn task<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.task.downcast_ref()
    }

    #[inline]
    pub fn affinity(&self) -> CpuSet {
        self.affinity.load()
    }

    /// `machine`: all CPUs.
    pub(crate) fn store_affinity(&self, set: CpuSet, machine: CpuSet) {
        let set = set.and(&machine);
        self.affinity.store(set);
        self.restricted.store(set != machine, SeqCst);
    }

    /// Whether any CPU may take it from where it waits. One that has booked
    /// bandwidth stays where that is.
    #[inline]
    pub(crate) fn is_free(&self) -> bool {
        !self.restricted.load(SeqCst) && self.booking().is_none()
    }

    /// Whether a CPU of `set` may take it from where it waits.
    #[inline]
    pub(crate) fn may_be_taken_to(&self, set: &CpuSet) -> bool {
        self.affinity.intersects(set) && self.booking().is_none()
    }

    /// Those of `online` where it may run.
    pub(crate) fn allowed(&self, online: &CpuSet) -> CpuSet {
        if self.restricted.load(SeqCst) { self.affinity().and(online) } else { *online }
    }

    /// How it competes.
    pub fn policy(&self) -> Policy {
        self.policy.load()
    }

    pub(crate) fn store_policy(&self, policy: Policy) {
        self.policy.store(policy);
        self.policy_version.fetch_add(1, SeqCst);
    }

    #[inline]
    pub(crate) fn policy_class(&self) -> Class {
        self.policy.class()
    }

    /// What it has booked.
    #[inline]
    pub(crate) fn booking(&self) -> Option<Booking> {
        Booking::unpack(self.booking.load(SeqCst))
    }

    /// Puts another booking in the place of what it has, and returns that: to be given back by the caller.
    pub(crate) fn replace_booking(&self, booking: Option<Booking>) -> Option<Booking> {
        Booking::unpack(self.booking.swap(booking.map_or(0, Booking::pack), SeqCst))
    }

    /// What was measured about it.
    pub fn stats(&self) -> &ThreadStats {
        &self.stats
    }

    #[inline]
    pub fn may_run_on(&self, cpu: CpuId) -> bool {
        !self.restricted.load(SeqCst) || self.affinity.contains(cpu)
    }

    /// The CPU where it runs or waits for its turn; asleep, where it last ran.
    #[inline]
    pub fn cpu(&self) -> CpuId {
        CpuId(self.cpu.load(SeqCst))
    }

    #[inline]
    pub(crate) fn set_cpu(&self, cpu: CpuId) {
        self.cpu.store(cpu.0, SeqCst);
    }

    /// Whether it sleeps. Outdated as soon as it is read, except to the thread that would wake it.
    pub fn is_asleep(&self) -> bool {
        self.wait.is_parked()
    }

    /// Whether it has exited and left its CPU.
    pub fn is_dead(&self) -> bool {
        self.wait.is_dead()
    }

    /// Whether it has had its first tick (`first_run` of the guarantee); with the guarantee off, whether a tick has
    /// found it to have retired an instruction.
    pub fn has_had_first_run(&self) -> bool {
        self.first_run.load(Relaxed)
    }

    /// When [`Core::start`](crate::Core::start) was called for it.
    pub fn started_at(&self) -> Instant {
        Instant::from_ticks(self.started.load(Relaxed))
    }

    /// How long it has run, up to its last tick or switch.
    pub fn ran(&self) -> Duration {
        Duration::from_ticks(self.ran.load(Relaxed))
    }

    /// How often it went to another CPU.
    pub fn migrations(&self) -> u32 {
        self.migrations.load(Relaxed)
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?}) on {}", self.id, self.kind, self.cpu())
    }
}
