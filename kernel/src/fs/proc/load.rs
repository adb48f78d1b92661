//! `/proc/loadavg`: how many threads ran or waited for a CPU, on average over 1, 5 and 15 minutes (man 5 proc_loadavg).
//!
//! Nothing is sampled. The scheduler counts the time that threads ran and waited; the sum grows by the load times the time.
//! So the load between two readings is known exactly, and counts as constant there.

use super::system::Answer;
use crate::cpus;
use crate::lock::{Lock, rank};
use crate::task;
use alloc::format;
use formats::record::CpuStats;

/// How often Linux brings the averages up to date: 5 s.
const STEP_NS: u64 = 5_000_000_000;
/// The averages are fixed-point numbers with 11 bits of fraction.
const ONE: u64 = 1 << 11;
/// `ONE / exp(5 s / T)` for T of 1, 5 and 15 minutes.
const DECAY: [u64; 3] = [1884, 2014, 2037];
/// After so many steps the past counts for nothing.
const MOST_STEPS: u64 = 2000;

struct Averages {
    values: [u64; 3],
    /// When they were brought up to date, and the sum of times then.
    at_ns: u64,
    sum_ns: u64,
}

static AVERAGES: Lock<Averages, { rank::FILE }> = Lock::new(Averages { values: [0; 3], at_ns: 0, sum_ns: 0 });

fn bring_up_to_date(averages: &mut Averages, now: u64, sum: u64) {
    let steps = now.saturating_sub(averages.at_ns) / STEP_NS;
    if steps == 0 {
        return;
    }
    let elapsed = now - averages.at_ns;
    let load = u128::from(sum.saturating_sub(averages.sum_ns)) * u128::from(ONE) / u128::from(elapsed);
    for (value, decay) in averages.values.iter_mut().zip(DECAY) {
        for _ in 0..steps.min(MOST_STEPS) {
            *value = (*value * decay + load as u64 * (ONE - decay)).div_ceil(ONE);
        }
    }
    averages.at_ns = now;
    averages.sum_ns = sum;
}

/// Three averages, threads that want to run of all threads, the number of the last one made.
pub fn loadavg() -> Answer {
    let stats = cpus::stats();
    let time = |cpu: &CpuStats| cpu.busy_ns + cpu.run_delay_ns.sum();
    let sum = stats.iter().map(time).sum();
    let values = {
        let mut averages = AVERAGES.lock();
        bring_up_to_date(&mut averages, arch::time::now().as_ticks(), sum);
        averages.values
    };
    let [one, five, fifteen] = values.map(|value| format!("{}.{:02}", value / ONE, value % ONE * 100 / ONE));
    let text =
        format!("{one} {five} {fifteen} {}/{} {}\n", running(), task::live_threads(), task::last_id(),);
    Ok(text.into_bytes())
}

/// Threads that run or wait for a CPU.
pub fn running() -> usize {
    let processes = task::all_processes();
    let tasks = processes.iter().flat_map(|process| process.threads.lock().clone());
    tasks.filter_map(|task| task.thread()).filter(|thread| !thread.is_asleep()).count()
}
