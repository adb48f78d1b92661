//! `/proc/tine/sched`, `swaps` and `threads`: all that the scheduler measures, for people, and as JSON.
//!
//! The JSON has the fields of [`formats::record`], which say what each means. Times are nanoseconds.

use crate::cpus::{self, policies};
use crate::errno::Errno;
use crate::task;
use alloc::{format, string::String, sync::Arc, vec::Vec};
use formats::Histogram;
use formats::record::{CpuStats, Scheduler};

type Answer = Result<Vec<u8>, Errno>;

/// What the scheduler has counted since the start of the machine.
fn counted() -> Scheduler {
    let now = arch::time::now();
    let violations = cpus::violations();
    Scheduler {
        elapsed_ns: now.as_ticks(),
        violation_ns: violations.total(now).as_ticks(),
        longest_violation_ns: violations.longest().as_ticks(),
        violations: violations.count(),
        cpus: cpus::stats(),
        swaps: policies::swap_counts(),
    }
}

/// How evenly threads and CPUs are served.
struct Fairness {
    /// Jain's index over the parts of the time that living threads wanted to run and did: 1 when all are served alike,
    /// 1/n when one of n has everything.
    jain: f64,
    /// The fewest and the most threads that wait or run on a CPU now.
    load: (u32, u32),
    /// The busiest CPU's time in threads, over the mean of all.
    imbalance: f64,
}

impl Fairness {
    fn of(cpus: &[CpuStats]) -> Self {
        let served = all_threads().into_iter().filter_map(|thread| {
            let (ran, waited) = (thread.ran().as_ticks(), thread.stats().run_delay().as_ticks());
            (ran + waited > 0).then(|| ran as f64 / (ran + waited) as f64)
        });
        let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
        for part in served {
            count += 1.0;
            sum += part;
            squares += part * part;
        }
        let busy: u64 = cpus.iter().map(|cpu| cpu.busy_ns).sum();
        let most = cpus.iter().map(|cpu| cpu.busy_ns).max().unwrap_or(0);
        Self {
            jain: if squares > 0.0 { sum * sum / (count * squares) } else { 1.0 },
            load: policies::load_range(),
            imbalance: if busy > 0 { (most * cpus.len() as u64) as f64 / busy as f64 } else { 1.0 },
        }
    }
}

fn all_threads() -> Vec<Arc<sched::Thread>> {
    let processes = task::all_processes();
    let tasks = processes.iter().flat_map(|process| process.threads.lock().clone());
    tasks.filter_map(|task| task.thread()).collect()
}

/// One line per CPU and measure in four tables, each under a line of names; then the machine's measures, one a line.
pub fn text() -> Answer {
    let counted = counted();
    let fairness = Fairness::of(&counted.cpus);
    let mut text = String::from(
        "cpu busy_ns idle_ns ticks switches preemptions migrations_in migrations_out steals steal_attempts kicks \
         first_runs first_runs_delaying no_progress_ticks balancer_calls balancer_ns violation_ns repairs\n",
    );
    text.extend(counted.cpus.iter().map(|cpu| {
        row(
            cpu.cpu,
            &[
                cpu.busy_ns,
                cpu.idle_ns,
                cpu.ticks,
                cpu.switches,
                cpu.preemptions,
                cpu.migrations_in,
                cpu.migrations_out,
                cpu.steals,
                cpu.steal_attempts,
                cpu.kicks,
                cpu.first_runs,
                cpu.first_runs_delaying,
                cpu.no_progress_ticks,
                cpu.balancer_calls,
                cpu.balancer_ns,
                cpu.violation_ns,
                cpu.repairs,
            ],
        )
    }));
    text += "\ncpu migrations_by fork exec wake steal pull push affinity offline\n";
    text.extend(counted.cpus.iter().map(|cpu| {
        let by = &cpu.migrations;
        let counts = [by.fork, by.exec, by.wake, by.steal, by.pull, by.push, by.affinity, by.offline];
        row(format!("{} -", cpu.cpu), &counts)
    }));
    text += "\ncpu measure count mean_ns p50_ns p99_ns max_ns\n";
    for cpu in &counted.cpus {
        let histograms = [
            ("run_delay", &cpu.run_delay_ns),
            ("wake_latency", &cpu.wake_latency_ns),
            ("first_run_latency", &cpu.first_run_latency_ns),
            ("slice", &cpu.slice_ns),
        ];
        text.extend(
            histograms.map(|(name, histogram)| row(format!("{} {name}", cpu.cpu), &summary(histogram))),
        );
    }
    text += &format!(
        "\norder {}\nbalancer {}\nviolations {}\nviolation_ns {}\nlongest_violation_ns {}\njain {:.4}\nload_min {}\n\
         load_max {}\nimbalance {:.4}\n",
        policies::order().name,
        policies::balancer().name,
        counted.violations,
        counted.violation_ns,
        counted.longest_violation_ns,
        fairness.jain,
        fairness.load.0,
        fairness.load.1,
        fairness.imbalance,
    );
    Ok(text.into_bytes())
}

fn row(first: impl core::fmt::Display, values: &[u64]) -> String {
    let values: String = values.iter().map(|value| format!(" {value}")).collect();
    format!("{first}{values}\n")
}

/// Count, mean, median, 99th percentile, maximum.
fn summary(histogram: &Histogram) -> [u64; 5] {
    let percentile = |percent| histogram.percentile(percent).unwrap_or(0);
    [histogram.count(), histogram.mean(), percentile(50.0), percentile(99.0), histogram.max()]
}

/// The same as one JSON object.
pub fn json() -> Answer {
    let counted = counted();
    let fairness = Fairness::of(&counted.cpus);
    let value = serde_json::json!({
        "order": policies::order().name,
        "balancer": policies::balancer().name,
        "jain": fairness.jain,
        "load_min": fairness.load.0,
        "load_max": fairness.load.1,
        "imbalance": fairness.imbalance,
        "scheduler": counted,
    });
    written(&value)
}

fn written(value: &serde_json::Value) -> Answer {
    let mut text = serde_json::to_vec(value).map_err(|_| Errno::EIO)?;
    text.push(b'\n');
    Ok(text)
}

/// How often policies were changed, and for how long a queue was locked when the order was: `NAME VALUE` on each line.
pub fn swaps() -> Answer {
    let swaps = policies::swap_counts();
    let [_, mean, median, high, max] = summary(&swaps.pause_ns);
    let text = format!(
        "balancers {}\norders {}\npause_mean_ns {mean}\npause_p50_ns {median}\npause_p99_ns {high}\npause_max_ns {max}\n",
        swaps.balancers, swaps.orders,
    );
    Ok(text.into_bytes())
}

/// The same with all of the histogram, as one JSON object.
pub fn swaps_json() -> Answer {
    written(&serde_json::to_value(policies::swap_counts()).map_err(|_| Errno::EIO)?)
}

/// A line for each thread, under a line of names. `delays` has a count for each power of two, the first for less than 1,024
/// nanoseconds, up to the last that is not 0.
pub fn threads() -> Answer {
    let mut text = String::from(
        "thread process cpu state ran_ns run_delay_ns longest_delay_ns dispatches voluntary involuntary migrations \
         violation_ns name delays\n",
    );
    for process in task::all_processes() {
        let name = process.identity.lock().name.replace(char::is_whitespace, "_");
        let tasks = process.threads.lock().clone();
        for thread in tasks.iter().filter_map(|task| task.thread()) {
            let stats = thread.stats();
            let state = if thread.is_asleep() { 'S' } else { 'R' };
            let counts = [
                cpus::cpu_time(&thread).as_ticks(),
                stats.run_delay().as_ticks(),
                stats.longest_delay().as_ticks(),
                stats.dispatches(),
                stats.voluntary_switches(),
                stats.involuntary_switches(),
                thread.migrations().into(),
                stats.violation().as_ticks(),
            ];
            let mut delays: Vec<u32> = stats.delays().map(|(_, count)| count).collect();
            while delays.pop_if(|count| *count == 0).is_some() {}
            let delays: Vec<String> = delays.iter().map(|count| format!("{count}")).collect();
            let first = format!("{} {} {} {state}", thread.id().0, process.id, thread.cpu().0);
            let line = row(first, &counts);
            text += &format!("{} {name} {}\n", line.trim_end(), delays.join(","));
        }
    }
    Ok(text.into_bytes())
}
