//! Where threads run on the whole machine: the second plug-in point, and the one to experiment with.

mod idle_steal;
mod none;
mod two_choices;

use crate::{Config, Distance, MachineView};
use alloc::boxed::Box;
use arrayvec::ArrayVec;
use core::cmp::Reverse;
use formats::{CpuId, CpuSet, Duration, ThreadId};

pub use idle_steal::IDLE_STEAL;
pub use none::NONE;
pub use two_choices::TWO_CHOICES;

/// Why a thread needs a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// It is new.
    Fork,
    /// It is about to run another program, and has little in the caches of its CPU.
    Exec,
    /// It slept.
    Wake,
    /// It cannot stay where it is: its affinity changed, or its CPU goes offline.
    Move,
}

/// What a balancer sees of a thread.
#[derive(Clone, Copy, Debug)]
pub struct ThreadView {
    pub id: ThreadId,
    /// The online CPUs where it may run: never empty.
    pub allowed: CpuSet,
    /// Where it last ran; for a new thread, where it was made.
    pub last: CpuId,
    /// The CPU that decides: where the fork or the wake-up happens.
    pub here: CpuId,
    pub weight: u32,
}

/// CPUs to take threads from, best first. At most [`Victims::CAPACITY`]: an idle CPU's search is bounded.
#[derive(Clone, Debug)]
pub struct Victims {
    cpus: ArrayVec<CpuId, { Victims::CAPACITY }>,
    amount: Amount,
}

/// How many threads a CPU takes from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Amount {
    #[default]
    One,
    /// Half of those that wait there, rounded up.
    Half,
    AtMost(usize),
}

impl Amount {
    /// How many of `waiting`.
    pub fn of(self, waiting: usize) -> usize {
        match self {
            Self::One => 1,
            Self::Half => waiting.div_ceil(2),
            Self::AtMost(most) => most,
        }
        .min(waiting)
    }
}

/// Threads that should move from one CPU to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub from: CpuId,
    pub to: CpuId,
    pub amount: Amount,
}

impl Victims {
    pub const CAPACITY: usize = 16;

    pub const NONE: Self = Self { cpus: ArrayVec::new_const(), amount: Amount::One };

    /// How many threads to take from the first victim that has any.
    #[must_use]
    pub fn taking(mut self, amount: Amount) -> Self {
        self.amount = amount;
        self
    }

    pub fn amount(&self) -> Amount {
        self.amount
    }

    /// Adds `cpu` at the end, unless there are [`Self::CAPACITY`] already.
    pub fn push(&mut self, cpu: CpuId) {
        // Full: the rest of the machine is for the next search.
        let _ = self.cpus.try_push(cpu);
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = CpuId> + '_ {
        self.cpus.iter().copied()
    }

    /// Makes the victim at `index` the first choice, in exchange with the one that was.
    pub fn prefer(&mut self, index: usize) {
        self.cpus.swap(0, index);
    }
}

impl FromIterator<CpuId> for Victims {
    fn from_iter<I: IntoIterator<Item = CpuId>>(cpus: I) -> Self {
        Self { cpus: cpus.into_iter().take(Self::CAPACITY).collect(), amount: Amount::One }
    }
}

/// A load-balancing policy. It is called without any lock held, on several CPUs at once, and only proposes: the core
/// checks affinity and carries out what is possible.
pub trait Balancer: Send + Sync {
    /// The CPU where `thread` should wait for its turn: one of [`ThreadView::allowed`].
    fn place(&self, thread: &ThreadView, why: Placement, machine: &MachineView) -> CpuId;

    /// `cpu` has nothing to run: where it should look for threads to take.
    fn on_idle(&self, cpu: CpuId, machine: &MachineView) -> Victims {
        let _ = (cpu, machine);
        Victims::NONE
    }

    /// Whether idle CPUs take threads from others, so that it is worth calling one when a thread must wait.
    fn pulls(&self) -> bool {
        false
    }

    /// Called on `cpu` each [`next_balance`](Self::next_balance), busy or idle: threads that should move.
    fn on_balance(&self, cpu: CpuId, machine: &MachineView) -> Option<Move> {
        let _ = (cpu, machine);
        None
    }

    /// In how long [`on_balance`](Self::on_balance) should be called on `cpu`; `None`: never. Asked when the balancer
    /// begins its work, and after each call.
    fn next_balance(&self, cpu: CpuId, machine: &MachineView) -> Option<Duration> {
        let _ = (cpu, machine);
        None
    }

    /// Whether the queues of all CPUs are one: a CPU that needs a thread takes the one that has waited longest anywhere,
    /// and one whose thread's slice is over looks whether any waits anywhere.
    fn shares_queue(&self) -> bool {
        false
    }
}

/// A balancer that can be chosen by its name.
#[derive(Debug)]
pub struct Entry {
    pub name: &'static str,
    pub summary: &'static str,
    /// Whether no CPU stays idle while a thread that may run there waits on another.
    pub conserves_work: bool,
    pub new: fn(&Config) -> Box<dyn Balancer>,
}

/// All balancers.
pub fn balancers() -> &'static [&'static Entry] {
    static ALL: [&Entry; 3] = [&NONE, &IDLE_STEAL, &TWO_CHOICES];
    &ALL
}

/// The balancer called `name`.
pub fn by_name(name: &str) -> Option<&'static Entry> {
    balancers().iter().copied().find(|entry| entry.name == name)
}

/// `preferred` if the thread may run there, else the least loaded CPU where it may.
fn near(preferred: CpuId, thread: &ThreadView, machine: &MachineView) -> CpuId {
    if thread.allowed.contains(preferred) { preferred } else { least_loaded(thread, machine) }
}

/// The least loaded CPU where the thread may run, the nearest to where it last ran among equals.
fn least_loaded(thread: &ThreadView, machine: &MachineView) -> CpuId {
    let key = |cpu: &CpuId| (machine.load(*cpu), machine.topology().distance(thread.last, *cpu));
    thread.allowed.iter().min_by_key(key).unwrap_or(thread.last)
}

/// The CPUs on which threads wait, nearest to `cpu` first, the longest queue first among equally near ones.
fn loaded_by_distance(cpu: CpuId, machine: &MachineView) -> Victims {
    let mut best: ArrayVec<(Distance, Reverse<u32>, CpuId), { Victims::CAPACITY }> = ArrayVec::new();
    for victim in machine.loaded().iter() {
        let waiting = machine.waiting(victim);
        if waiting == 0 || victim == cpu {
            continue;
        }
        let key = (machine.topology().distance(cpu, victim), Reverse(waiting), victim);
        let rank = best.partition_point(|better| *better < key);
        if best.is_full() {
            best.truncate(Victims::CAPACITY - usize::from(rank < Victims::CAPACITY));
        }
        // Full still: it is worse than all that are kept.
        let _ = best.try_insert(rank.min(best.len()), key);
    }
    best.into_iter().map(|(_, _, victim)| victim).collect()
}
