//! What is counted on each CPU.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use formats::{CpuId, Histogram, record::CpuStats};

/// Why a thread went to another CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The balancer placed a new thread elsewhere than where it was made.
    Fork,
    /// The balancer placed a woken thread elsewhere than where it had slept.
    Wake,
    /// An idle CPU took it.
    Steal,
    /// It may not run any more where it was.
    Affinity,
    /// Its CPU went offline.
    Offline,
}

/// How many threads came to a CPU, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Migrations {
    pub fork: u64,
    pub wake: u64,
    pub steal: u64,
    pub affinity: u64,
    pub offline: u64,
}

/// One event counter. Relaxed: counts are read for reports, never to decide anything.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub fn bump(&self) {
        self.add(1);
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
    /// Proposals of a policy that could not be carried out as they were.
    pub repairs: Counter,
    migrations_in: [Counter; 5],
}

impl Counters {
    pub fn migration_in(&self, cause: Cause) {
        self.migrations_in[cause as usize].bump();
    }

    pub fn migrations(&self) -> Migrations {
        let count = |cause: Cause| self.migrations_in[cause as usize].get();
        Migrations {
            fork: count(Cause::Fork),
            wake: count(Cause::Wake),
            steal: count(Cause::Steal),
            affinity: count(Cause::Affinity),
            offline: count(Cause::Offline),
        }
    }

    pub fn record(&self, cpu: CpuId, first_run_latency_ns: Histogram) -> CpuStats {
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
            steals: migrations.steal,
            steal_attempts: self.steal_attempts.get(),
            kicks: self.kicks.get(),
            first_runs: self.first_runs.get(),
            no_progress_ticks: self.no_progress_ticks.get(),
            first_run_latency_ns,
        }
    }
}

impl Migrations {
    pub fn total(&self) -> u64 {
        self.fork + self.wake + self.steal + self.affinity + self.offline
    }
}
