//! What a policy sees of a thread, and the token that stands for the right to run it.

use crate::measure::Wait;
use crate::{Kind, Policy, Thread, first_run::FirstRun};
use alloc::{boxed::Box, sync::Arc};
use core::cell::Cell;
use core::fmt;
use core::ops::Deref;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use formats::{CpuId, Duration, Instant, ThreadId};

/// The scheduler's own record of a thread. It moves with the thread and is never shared, so that nothing in it needs a
/// lock or an atomic.
///
/// The fields are in the order of cache lines: what others read of a thread that waits, what is written when it runs, the
/// rest.
#[repr(C, align(64))]
pub struct Entity {
    pub(crate) node: Node,
    pub(crate) link: Option<Runnable>,
    weight: u32,
    /// Which [`Thread::policy`] `policy` is a copy of.
    policy_version: u32,

    pub(crate) fair: Fair,
    thread: Arc<Thread>,
    ran: Duration,
    /// Which order its [`Fair`] figures are of.
    pub(crate) order_version: u32,
    /// It waits, and any CPU may take it.
    pub(crate) free: Cell<bool>,
    /// The order of the CPU where it waits or runs counts it among those that compete.
    pub(crate) competes: Cell<bool>,

    pub(crate) slice: Slice,
    pub(crate) wait: Wait,
    pub(crate) first_run: FirstRun,
    policy: Policy,
    pub(crate) budget: Budget,
}

/// What an order keeps about each thread, under the lock of the queue that the thread belongs to. All 0 for a thread that
/// is new to the order; otherwise no one else writes it. The names are those of fair queueing.
#[derive(Default)]
pub struct Fair {
    /// Weighted time: it grows more slowly for threads of more weight.
    pub vruntime: Cell<i64>,
    /// The virtual time by which the present request should be served.
    pub deadline: Cell<i64>,
    /// How much less than its share it has had (positive: it is owed), in virtual time.
    pub lag: Cell<i64>,
    /// What rounding has kept back of [`vruntime`](Self::vruntime), in parts of its weight.
    pub(crate) rest: Cell<u64>,
    /// The CPU where it last stopped competing.
    pub(crate) left_at: Cell<Option<CpuId>>,
}

/// What is left of a reservation (class deadline).
#[derive(Default)]
pub(crate) struct Budget {
    /// In nanoseconds; negative after an overrun.
    pub left: Cell<i64>,
    /// The absolute deadline, in nanoseconds; 0 before the first since it came into the class.
    pub deadline: Cell<u64>,
}

/// Its place in a [`Tree`](crate::Tree), where [`Entity::link`] is the left child.
#[repr(C)]
pub(crate) struct Node {
    pub key: i64,
    pub rank: i64,
    /// The least ranks of the left and of the right subtree; `i64::MAX` of an empty one.
    pub least_left: i64,
    pub least_right: i64,
    pub right: Option<Runnable>,
    /// The thread's.
    pub id: ThreadId,
    pub priority: u32,
}

impl Node {
    /// In no tree yet.
    const NOWHERE: Self = Self {
        key: 0,
        rank: 0,
        least_left: i64::MAX,
        least_right: i64::MAX,
        right: None,
        id: ThreadId(0),
        priority: 0,
    };
}

/// How much of its time slice a thread has used.
#[derive(Clone, Copy)]
pub(crate) struct Slice {
    pub ran: Duration,
    pub ticks: u32,
    pub expired: bool,
}

impl Slice {
    /// Nothing of it used yet.
    pub const FRESH: Self = Self { ran: Duration::from_ticks(0), ticks: 0, expired: false };
}

impl Entity {
    #[inline]
    pub fn thread(&self) -> &Arc<Thread> {
        &self.thread
    }

    #[inline]
    pub fn id(&self) -> ThreadId {
        self.thread.id()
    }

    #[inline]
    pub fn kind(&self) -> Kind {
        self.thread.kind()
    }

    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.kind() == Kind::Idle
    }

    /// How it competes.
    #[inline]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// [`Policy::weight`].
    #[inline]
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// For how long it has waited for its turn; `None`: it does not wait.
    pub fn waited(&self, now: Instant) -> Option<Duration> {
        let zero = Duration::from_ticks(0);
        self.wait.since.map(|since| now.checked_duration_since(since).unwrap_or(zero))
    }

    /// Whether it may ask to run at once when it wakes (man 7 sched).
    pub fn may_preempt(&self) -> bool {
        matches!(self.policy, Policy::Normal(_))
    }

    /// What the order keeps about it.
    #[inline]
    pub fn fair(&self) -> &Fair {
        &self.fair
    }

    /// Whether a policy was set that it does not compete by yet.
    #[inline]
    pub(crate) fn has_new_policy(&self) -> bool {
        self.thread.policy_version.load(SeqCst) != self.policy_version
    }

    /// Takes over a policy that was set meanwhile.
    pub(crate) fn refresh_policy(&mut self) {
        let version = self.thread.policy_version.load(SeqCst);
        if version != self.policy_version {
            self.policy_version = version;
            self.policy = self.thread.policy();
            self.weight = self.policy.weight();
            self.budget = Budget::default();
        }
    }

    /// Forgets what an order kept about it that is not the present one, `version`.
    pub(crate) fn refresh_order(&mut self, version: u32) {
        if self.order_version != version {
            self.order_version = version;
            self.fair = Fair::default();
            self.competes.set(false);
        }
    }

    /// How long it has run in all.
    pub fn ran(&self) -> Duration {
        self.ran
    }

    /// How long it has run in its present time slice.
    pub fn slice_used(&self) -> Duration {
        self.slice.ran
    }

    /// Whether a tick has found its time slice used up.
    pub fn slice_expired(&self) -> bool {
        self.slice.expired
    }

    /// Whether it has had its first tick.
    pub fn has_had_first_run(&self) -> bool {
        self.first_run.is_complete()
    }

    /// How many timer ticks it has been charged with.
    pub fn ticks_run(&self) -> u32 {
        self.first_run.ticks_run()
    }

    pub fn may_run_on(&self, cpu: CpuId) -> bool {
        self.thread.may_run_on(cpu)
    }

    #[inline]
    pub(crate) fn charge(&mut self, ran: Duration) {
        self.ran += ran;
        self.slice.ran += ran;
        self.thread.ran.store(self.ran.as_ticks(), Relaxed);
    }
}

/// The right to run a thread. There is one for each thread, it cannot be copied, and whoever holds it decides what
/// happens to the thread: it is in one queue, on one CPU, asleep, or in somebody's hands, never in two places.
///
/// It is one pointer wide, and can be linked into a [`List`](crate::List) without allocation.
pub struct Runnable(Box<Entity>);

impl Runnable {
    pub(crate) fn new(thread: Arc<Thread>) -> Self {
        let policy = thread.policy();
        Self(Box::new(Entity {
            node: Node::NOWHERE,
            link: None,
            weight: policy.weight(),
            policy_version: thread.policy_version.load(SeqCst),
            fair: Fair::default(),
            thread,
            ran: Duration::from_ticks(0),
            order_version: 0,
            free: Cell::new(false),
            competes: Cell::new(false),
            slice: Slice::FRESH,
            wait: Wait::NONE,
            first_run: FirstRun::default(),
            policy,
            budget: Budget::default(),
        }))
    }

    /// Only for the core: a policy that could swap two records would make a CPU run one thread in another's name.
    #[inline]
    pub(crate) fn entity(&mut self) -> &mut Entity {
        &mut self.0
    }
}

impl Deref for Runnable {
    type Target = Entity;

    #[inline]
    fn deref(&self) -> &Entity {
        &self.0
    }
}

impl fmt::Debug for Runnable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token of {:?}", self.thread)
    }
}
