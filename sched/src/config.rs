//! What can be chosen when the scheduler starts.

use crate::{balance, order};
use formats::{CpuId, Duration};

/// Where time slices end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// A tick on each CPU each [`Config::tick`].
    Periodic,
    /// The timer is armed for [`Core::slice_end`](crate::Core::slice_end), and off while nobody waits.
    OneShot,
}

#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The period of the tick; in one-shot mode, the nominal tick that a first slice lasts at least.
    pub tick: Duration,
    pub timer: Timer,
    /// How long a thread may run while others wait, where the order has such a thing. At least one tick.
    pub quantum: Duration,
    /// Whether rules R2 and R3 of the first-run guarantee hold. Off, each tick may preempt: for showing the live-lock.
    pub first_run: bool,
    /// Seeds the generators that balancers draw from.
    pub seed: u64,
    pub order: &'static order::Entry,
    pub balancer: &'static balance::Entry,
}

impl Config {
    /// The same, for the order on one CPU: with a seed of its own.
    pub(crate) fn of_cpu(&self, cpu: CpuId) -> Self {
        Self { seed: fastrand::Rng::with_seed(self.seed ^ u64::from(cpu.0) << 32).u64(..), ..*self }
    }
}

impl Default for Config {
    /// A tick of 10 ms, a quantum of one tick, round robin, two choices, the guarantee on.
    fn default() -> Self {
        let tick = Duration::from_ticks(10_000_000);
        Self {
            tick,
            timer: Timer::Periodic,
            quantum: tick,
            first_run: true,
            seed: 1,
            order: &order::ROUND_ROBIN,
            balancer: &balance::TWO_CHOICES,
        }
    }
}
