//! Figures derived from what a guest reported: rates, shares, the bound, fairness.

use formats::Histogram;
use formats::record::{CpuStats, Event};
use serde::{Deserialize, Serialize};

/// The program whose results have figures of their own.
pub const SPIN_PROGRAM: &str = "fork_spin_stress";

/// What a table shows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    pub cpus: Vec<Cpu>,
    /// Of `fork_spin_stress`.
    pub spin: Option<Spin>,
}

/// One CPU.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cpu {
    pub cpu: u32,
    /// Of `fork_spin_stress`.
    pub ops_per_s: Option<f64>,
    /// Of all operations, 0 to 1.
    pub share: Option<f64>,
    /// Busy time over all time, 0 to 1.
    pub utilisation: f64,
    pub switches: u64,
    pub migrations_in: u64,
    pub migrations_out: u64,
    pub steals: u64,
    /// From fork to the first user instruction; `None` when no thread first ran here.
    pub first_run: Option<Latency>,
    /// From being made runnable to running; `None` when no thread waited here.
    pub run_delay: Option<Latency>,
    /// The same for threads that were woken.
    pub wake_latency: Option<Latency>,
}

/// Nanoseconds of the guest's clock.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Latency {
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub max_ns: u64,
}

/// How fast and how fairly `fork_spin_stress` ran.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spin {
    pub ok: bool,
    pub children: usize,
    /// Operations per second of one child that has the machine to itself.
    pub solo_ops_per_s: f64,
    pub total_ops_per_s: f64,
    /// Total over solo.
    pub speed_up: f64,
    /// CPUs that the host can really run at once, at most those of the guest.
    pub parallelism: f64,
    /// Solo times `parallelism`: the total that no scheduler can exceed.
    pub bound_ops_per_s: f64,
    /// Total over bound, in percent.
    pub percent_of_bound: f64,
    /// Jain's index over the children's rates: 1 when all are equal, 1/n when one has everything.
    pub jain: f64,
}

/// The line that `fork_spin_stress` writes to `/dev/results`.
#[derive(Debug, Deserialize)]
struct SpinResult {
    program: String,
    ok: bool,
    children: usize,
    solo_ops_per_s: f64,
    elapsed_ns: u64,
    total_ops: u64,
    ops_per_cpu: Vec<u64>,
    ops_per_child: Vec<u64>,
    child_wall_ns: Vec<u64>,
}

/// Derives the figures. `parallelism` is what the host can run at once of the guest's CPUs.
pub fn derive(events: &[Event], parallelism: f64) -> Figures {
    let result = events.iter().find_map(|event| match event {
        Event::User { line, .. } => {
            serde_json::from_str::<SpinResult>(line).ok().filter(|result| result.program == SPIN_PROGRAM)
        }
        _ => None,
    });
    let stats = events.iter().find_map(|event| match event {
        Event::Scheduler(scheduler) => Some(scheduler.cpus.as_slice()),
        _ => None,
    });
    Figures {
        cpus: stats.unwrap_or_default().iter().map(|stats| cpu(stats, result.as_ref())).collect(),
        spin: result.map(|result| spin(&result, parallelism)),
    }
}

fn cpu(stats: &CpuStats, result: Option<&SpinResult>) -> Cpu {
    let operations = result.map(|result| result.ops_per_cpu.get(stats.cpu as usize).copied().unwrap_or(0));
    Cpu {
        cpu: stats.cpu,
        ops_per_s: operations.zip(result).map(|(operations, it)| per_second(operations, it.elapsed_ns)),
        share: operations.zip(result).map(|(operations, it)| ratio(operations as f64, it.total_ops as f64)),
        utilisation: ratio(stats.busy_ns as f64, (stats.busy_ns + stats.idle_ns) as f64),
        switches: stats.switches,
        migrations_in: stats.migrations_in,
        migrations_out: stats.migrations_out,
        steals: stats.steals,
        first_run: latency(&stats.first_run_latency_ns),
        run_delay: latency(&stats.run_delay_ns),
        wake_latency: latency(&stats.wake_latency_ns),
    }
}

/// One of a CPU's histograms.
pub type Delay = fn(&CpuStats) -> &Histogram;

/// Of all CPUs.
pub fn merged(cpus: &[CpuStats], delay: Delay) -> Histogram {
    let mut all = Histogram::default();
    cpus.iter().for_each(|cpu| all.merge(delay(cpu)));
    all
}

/// `None` when nothing was recorded.
pub fn latency(of: &Histogram) -> Option<Latency> {
    let (p50_ns, p99_ns) = of.percentile(50.0).zip(of.percentile(99.0))?;
    Some(Latency { p50_ns, p99_ns, max_ns: of.max() })
}

fn spin(result: &SpinResult, parallelism: f64) -> Spin {
    let total = per_second(result.total_ops, result.elapsed_ns);
    let bound = result.solo_ops_per_s * parallelism;
    let rates: Vec<f64> = result
        .ops_per_child
        .iter()
        .zip(&result.child_wall_ns)
        .map(|(operations, wall)| per_second(*operations, *wall))
        .collect();
    Spin {
        ok: result.ok,
        children: result.children,
        solo_ops_per_s: result.solo_ops_per_s,
        total_ops_per_s: total,
        speed_up: ratio(total, result.solo_ops_per_s),
        parallelism,
        bound_ops_per_s: bound,
        percent_of_bound: 100.0 * ratio(total, bound),
        jain: jain(&rates),
    }
}

/// Jain's fairness index: (sum x)^2 / (n sum x^2). 1 for no values at all.
pub fn jain(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    match squares > 0.0 {
        true => sum * sum / (values.len() as f64 * squares),
        false => 1.0,
    }
}

fn per_second(count: u64, ns: u64) -> f64 {
    ratio(count as f64 * 1e9, ns as f64)
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use formats::ThreadId;
    use formats::record::Scheduler;

    #[test]
    fn jains_index_is_one_for_equals_and_one_nth_for_a_monopoly() {
        assert!((jain(&[3.0; 7]) - 1.0).abs() < 1e-12);
        assert!((jain(&[0.0, 0.0, 5.0, 0.0]) - 0.25).abs() < 1e-12);
        // Jain, Chiu, Hawe 1984: a share of k among n gives k/n.
        assert!((jain(&[1.0, 1.0, 0.0, 0.0, 0.0]) - 0.4).abs() < 1e-12);
        assert_eq!(jain(&[]), 1.0);
    }

    pub(crate) fn events() -> Vec<Event> {
        let mut latency = Histogram::default();
        (1..=100).for_each(|i| latency.record(i * 1_000));
        let busy = CpuStats {
            busy_ns: 3_000,
            idle_ns: 1_000,
            switches: 12,
            migrations_in: 2,
            steals: 1,
            first_run_latency_ns: latency,
            ..CpuStats::default()
        };
        let idle = CpuStats { cpu: 1, ..CpuStats::default() };
        let line = r#"{"program":"fork_spin_stress","children":2,"rounds":1,"ok":true,"solo_ops_per_s":1e6,
            "elapsed_ns":2000000000,"total_ops":3000000,"ops_per_cpu":[2000000,1000000],
            "ops_per_child":[1500000,1500000],"child_wall_ns":[2000000000,2000000000]}"#;
        vec![
            Event::User { thread: ThreadId(1), line: r#"{"program":"another"}"#.into() },
            Event::User { thread: ThreadId(1), line: line.into() },
            Event::Scheduler(Scheduler { elapsed_ns: 4_000, cpus: vec![busy, idle], ..Scheduler::default() }),
        ]
    }

    #[test]
    fn figures_follow_from_what_the_guest_counted() {
        let figures = derive(&events(), 2.0);
        let spin = figures.spin.expect("the program's result");
        assert_eq!((spin.total_ops_per_s, spin.speed_up, spin.percent_of_bound), (1.5e6, 1.5, 75.0));
        assert!((spin.jain - 1.0).abs() < 1e-12);
        let [busy, idle] = &figures.cpus[..] else { panic!("two CPUs") };
        assert_eq!((busy.utilisation, busy.ops_per_s), (0.75, Some(1e6)));
        assert_eq!(busy.first_run.map(|latency| latency.max_ns), Some(100_000));
        assert_eq!((idle.utilisation, idle.ops_per_s, idle.first_run.is_none()), (0.0, Some(5e5), true));
        assert!((busy.share.unwrap_or_default() - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn another_program_has_no_operations() {
        let figures = derive(&events()[2..], 2.0);
        assert!(figures.spin.is_none() && figures.cpus[0].ops_per_s.is_none());
    }
}
