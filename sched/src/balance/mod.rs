//! Where threads run on the whole machine: the second plug-in point, and the one to experiment with.

mod chaos;
mod domain;
mod global_fifo;
mod idle_sibling;
mod idle_steal;
mod none;
mod periodic_pull;
mod random_steal;
mod round_robin_place;
mod steal_half;
mod two_choices;
mod ule;

use crate::{Config, Distance, MachineView};
use alloc::boxed::Box;
use arrayvec::ArrayVec;
use core::cmp::Reverse;
use formats::{CpuId, CpuSet, Duration, ThreadId};

pub use chaos::CHAOS;
pub use domain::DOMAIN;
pub use global_fifo::GLOBAL_FIFO;
pub use idle_sibling::IDLE_SIBLING;
pub use idle_steal::IDLE_STEAL;
pub use none::NONE;
pub use periodic_pull::PERIODIC_PULL;
pub use random_steal::RANDOM_STEAL;
pub use round_robin_place::ROUND_ROBIN_PLACE;
pub use steal_half::STEAL_HALF;
pub use two_choices::TWO_CHOICES;
pub use ule::ULE;

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
    /// Its slice is over, and it goes back to the queue that all CPUs [share](Balancer::shares_queue).
    Turn,
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

    /// Whether all CPUs share a queue, which this balancer keeps with a CPU of its choice. Then a CPU whose thread's slice is
    /// over asks [`on_idle`](Self::on_idle) for another, and the thread that was preempted is [placed](Placement::Turn) anew.
    fn shares_queue(&self) -> bool {
        false
    }

    /// For balancers that do not conserve work at all times, but see to it now and then: how long a CPU may stay idle at
    /// most while a thread that may run everywhere waits on another. `None`: for ever.
    fn idle_bound(&self) -> Option<Duration> {
        None
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
    static ALL: &[&Entry] = &[
        &NONE,
        &GLOBAL_FIFO,
        &ROUND_ROBIN_PLACE,
        &RANDOM_STEAL,
        &STEAL_HALF,
        &TWO_CHOICES,
        &IDLE_STEAL,
        &PERIODIC_PULL,
        &ULE,
        &IDLE_SIBLING,
        &DOMAIN,
        &CHAOS,
    ];
    ALL
}

/// The balancer called `name`.
pub fn by_name(name: &str) -> Option<&'static Entry> {
    balancers().iter().copied().find(|entry| entry.name == name)
}

/// `preferred` if the thread may run there, else the least loaded CPU where it may.
fn near(preferred: CpuId, thread: &ThreadView, machine: &MachineView) -> CpuId {
    if thread.allowed.contains(preferred) {
        return preferred;
    }
    machine.least_loaded(&thread.allowed, thread.last).unwrap_or(thread.last)
}

/// CPUs on which threads wait, in random order.
fn loaded_at_random(cpu: CpuId, machine: &MachineView) -> Victims {
    let mut left = machine.loaded();
    left.remove(cpu);
    let draw = || {
        let drawn = machine.draw(&left, cpu)?;
        left.remove(drawn);
        Some(drawn)
    };
    core::iter::from_fn(draw).collect()
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
