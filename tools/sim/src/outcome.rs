//! What came of a run.

use formats::record::Scheduler;
use serde::Serialize;

/// The same, to the last bit, whenever the same is run.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// As the kernel writes it.
    pub scheduler: Scheduler,
    /// Discrete events that the machine went through.
    pub events: u64,
    /// The most threads that there were at a time.
    pub most_threads: u64,
    /// Computing done on each CPU, in nanoseconds of an undisturbed CPU of full speed.
    pub work_ns: Vec<u64>,
    /// Promises that were found broken. None should be.
    pub problems: Vec<String>,
    /// The threads in the order in which they were made.
    #[serde(skip)]
    pub threads: Vec<ThreadSummary>,
}

/// One thread. Times are nanoseconds since the machine started.
#[derive(Clone, Debug)]
pub struct ThreadSummary {
    pub program: String,
    pub started: u64,
    /// `None`: the run ended first.
    pub finished: Option<u64>,
    /// Computing that its program asked for, on this machine's CPUs.
    pub work_ns: u64,
    /// What the kernel did for it meanwhile.
    pub overhead_ns: u64,
}
