//! What is counted on each CPU.

use crate::measure::{Delays, MEASURED};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use formats::CpuId;
use formats::record::{CpuStats, Migrations};

/// Why a thread went to another CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The balancer placed a new thread elsewhere than where it was made.
    Fork,
    /// The balancer moved it when it began another program.
    Exec,
    /// The balancer placed a woken thread elsewhere than where it had slept.
    Wake,
    /// An idle CPU took it.
    Steal,
    /// Periodic balancing: the CPU where it went asked for it.
    Pull,
    /// Periodic balancing: another CPU than where it went decided it.
    Push,
    /// It may not run any more where it was.
    Affinity,
    /// Its CPU went offline.
    Offline,
}

/// One event counter. Relaxed: counts are read for reports, never to decide anything.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub fn add(&self, count: u64) {
        if MEASURED {
            self.0.fetch_add(count, Relaxed);
        }
    }

    /// As [`bump`](Self::bump), for a count that something depends on, and that is kept whatever is measured.
    #[inline]
    pub fn keep_count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    #[inline]
    pub fn bump(&self) {
        self.add(1);
    }

    /// As [`add`](Self::add), for a figure that is only ever written under the lock of the CPU's queue: without a locked
    /// instruction.
    #[inline]
    pub fn add_locked(&self, count: u64) {
        if MEASURED {
            self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
        }
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Default)]
pub(crate) struct Counters {
    pub busy_ns: Counter,
    pub idle_ns: Counter,
    pub ticks: Counter,
    pub switches: Counter,
    pub preemptions: Counter,
    pub migrations_out: Counter,
    pub steal_attempts: Counter,
    pub kicks: Counter,
    pub first_runs: Counter,
    pub no_progress_ticks: Counter,
    /// Steals that brought a thread.
    pub steals_won: Counter,
    /// Calls of the balancer, and the time they took.
    pub balancer_calls: Counter,
    pub balancer_ns: Counter,
    /// How long threads waited here while work conservation was violated.
    pub violation_ns: Counter,
    /// First runs that kept another thread waiting.
    pub first_runs_delaying: Counter,
    /// Proposals of a policy that could not be carried out as they were.
    pub repairs: Counter,
    migrations_in: [Counter; 8],
}

impl Counters {
    #[inline]
    pub fn migration_in(&self, cause: Cause) {
        self.migrations_in[cause as usize].bump();
    }

    pub fn migrations(&self) -> Migrations {
        let count = |cause: Cause| self.migrations_in[cause as usize].get();
        Migrations {
            fork: count(Cause::Fork),
            exec: count(Cause::Exec),
            wake: count(Cause::Wake),
            steal: count(Cause::Steal),
            pull: count(Cause::Pull),
            push: count(Cause::Push),
            affinity: count(Cause::Affinity),
            offline: count(Cause::Offline),
        }
    }

    pub fn record(&self, cpu: CpuId, delays: Delays) -> CpuStats {
        let migrations = self.migrations();
        CpuStats {
            cpu: cpu.0,
            busy_ns: self.busy_ns.get(),
            idle_ns: self.idle_ns.get(),
            ticks: self.ticks.get(),
            switches: self.switches.get(),
            preemptions: self.preemptions.get(),
            migrations_in: migrations.total(),
            migrations_out: self.migrations_out.get(),
            migrations,
            steals: self.steals_won.get(),
            steal_attempts: self.steal_attempts.get(),
            kicks: self.kicks.get(),
            balancer_calls: self.balancer_calls.get(),
            balancer_ns: self.balancer_ns.get(),
            violation_ns: self.violation_ns.get(),
            first_runs: self.first_runs.get(),
            first_runs_delaying: self.first_runs_delaying.get(),
            no_progress_ticks: self.no_progress_ticks.get(),
            repairs: self.repairs.get(),
            first_run_latency_ns: delays.first_run,
            run_delay_ns: delays.run_delay,
            wake_latency_ns: delays.wake_latency,
            slice_ns: delays.slices,
        }
    }
}
