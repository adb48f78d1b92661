//! A simulated run as tables.

use super::Run;
use super::options::{Program, Setup};
use crate::figures::{Cpu, Delay, SPIN_PROGRAM, merged};
use crate::report::{self, align_right, count, percent, table, time};
use anyhow::Result;
use formats::record::{CpuStats, Migrations};
use serde_json::json;
use sim::workload::{MessageStorm, SpinStress};
use sim::{Outcome, ThreadSummary};

/// With more CPUs than this, the table has no row for each.
const MOST_ROWS: usize = 32;

/// The whole report, as that of a machine's run.
pub fn report(setup: &Setup, run: &Run) -> String {
    let cpus = &run.figures.cpus;
    let mut text = format!(
        "{}: simulated time, {} CPUs, {} Hz, {}, {}, seed {}\n",
        setup.name,
        cpus.len(),
        setup.tick,
        setup.scheduler.order.name,
        setup.scheduler.balancer.name,
        setup.scheduler.seed
    );
    let cpus = if cpus.len() <= MOST_ROWS {
        report::cpu_table(cpus, run.figures.spin.is_some())
    } else {
        spread_table(cpus)
    };
    text += &format!("{}\n\n", cpus.trim_fmt());
    if let Some(spin) = &run.figures.spin {
        let lines = report::spin_lines(spin, "simulated", "all CPUs run at once");
        text += &format!("{}\n\n", lines.trim_fmt());
    }
    text += &format!("{}\n\n", delay_table(&run.outcome).trim_fmt());
    text += &format!("{}\n", totals(setup, run).trim_fmt());
    text
}

/// The least, the median and the greatest of each column of the table that has a row per CPU.
fn spread_table(cpus: &[Cpu]) -> comfy_table::Table {
    let mut table = table();
    table.set_header(["of all CPUs", "busy", "switches", "migr. in", "out", "steals"]);
    let sorted = |figure: fn(&Cpu) -> u64| {
        let mut values: Vec<u64> = cpus.iter().map(figure).collect();
        values.sort_unstable();
        values
    };
    // Parts of a million, to be sorted as numbers.
    let busy = sorted(|cpu| (1e6 * cpu.utilisation) as u64);
    let counts = [
        sorted(|cpu| cpu.switches),
        sorted(|cpu| cpu.migrations_in),
        sorted(|cpu| cpu.migrations_out),
        sorted(|cpu| cpu.steals),
    ];
    for (name, at) in [("least", 0), ("median", cpus.len() / 2), ("most", cpus.len() - 1)] {
        let mut row = vec![name.to_owned(), percent(busy[at] as f64 / 1e6)];
        row.extend(counts.iter().map(|values| values[at].to_string()));
        table.add_row(row);
    }
    align_right(&mut table);
    table
}

/// What is measured about waiting and running.
pub const DELAYS: [(&str, Delay); 4] = [
    ("run delay", |cpu| &cpu.run_delay_ns),
    ("wake-up latency", |cpu| &cpu.wake_latency_ns),
    ("first run", |cpu| &cpu.first_run_latency_ns),
    ("slice", |cpu| &cpu.slice_ns),
];

fn delay_table(outcome: &Outcome) -> comfy_table::Table {
    let mut table = table();
    table.set_header(["all CPUs", "p50", "p90", "p99", "max", "count"]);
    for (name, delay) in DELAYS {
        let all = merged(&outcome.scheduler.cpus, delay);
        let at = |percent| all.percentile(percent).filter(|_| all.count() > 0).map_or("-".into(), time);
        let max = if all.count() > 0 { time(all.max()) } else { "-".into() };
        table.add_row([name.into(), at(50.0), at(90.0), at(99.0), max, all.count().to_string()]);
    }
    align_right(&mut table);
    table
}

fn totals(setup: &Setup, run: &Run) -> comfy_table::Table {
    let outcome = &run.outcome;
    let scheduler = &outcome.scheduler;
    let sum = |figure: fn(&CpuStats) -> u64| scheduler.cpus.iter().map(figure).sum::<u64>();
    let finished = outcome.threads.iter().filter(|thread| thread.finished.is_some()).count();
    let mut table = table();
    table.add_row(["simulated time".to_owned(), time(scheduler.elapsed_ns)]);
    table.add_row([
        "threads".to_owned(),
        format!("{finished} of {} finished, {} at once", outcome.threads.len(), outcome.most_threads),
    ]);
    if let Some((name, rate)) = rate(&setup.program, scheduler.elapsed_ns) {
        table.add_row([name.to_owned(), format!("{} per second", count(rate))]);
    }
    table.add_row(["migrations".to_owned(), causes(scheduler.cpus.iter().map(|cpu| cpu.migrations))]);
    table.add_row([
        "steals".to_owned(),
        format!("{} of {} tried", sum(|cpu| cpu.steals), sum(|cpu| cpu.steal_attempts)),
    ]);
    table.add_row(["calls to other CPUs".to_owned(), sum(|cpu| cpu.kicks).to_string()]);
    table.add_row([
        "work not conserved".to_owned(),
        format!("{}, longest {}", time(scheduler.violation_ns), time(scheduler.longest_violation_ns)),
    ]);
    let [took, computed] = [run.took, run.computed].map(|it| it.as_secs_f64());
    let rate = count(outcome.events as f64 / computed.max(1e-9));
    table.add_row(["events".to_owned(), format!("{} in {took:.2} s of real time", outcome.events)]);
    table.add_row(["events per second".to_owned(), format!("{rate} ({computed:.2} s of one processor)")]);
    table
}

/// What the program does, per second.
fn rate(program: &Program, elapsed_ns: u64) -> Option<(&'static str, f64)> {
    match program {
        Program::Storm(storm) => Some(("messages", messages(storm) as f64 * 1e9 / elapsed_ns.max(1) as f64)),
        Program::Spin(_) | Program::Other => None,
    }
}

/// How many messages are sent in all.
pub fn messages(storm: &MessageStorm) -> u64 {
    storm.groups * storm.pairs * storm.pairs * storm.loops
}

fn causes(cpus: impl Iterator<Item = Migrations>) -> String {
    let mut all = Migrations::default();
    for it in cpus {
        all.fork += it.fork;
        all.exec += it.exec;
        all.wake += it.wake;
        all.steal += it.steal;
        all.pull += it.pull;
        all.push += it.push;
        all.affinity += it.affinity;
        all.offline += it.offline;
    }
    let causes = [
        ("fork", all.fork),
        ("exec", all.exec),
        ("wake", all.wake),
        ("steal", all.steal),
        ("pull", all.pull),
        ("push", all.push),
        ("affinity", all.affinity),
        ("offline", all.offline),
    ];
    let words = causes.into_iter().filter(|(_, count)| *count > 0);
    let words: Vec<String> = words.map(|(cause, count)| format!("{count} by {cause}")).collect();
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

/// The line that the real `fork_spin_stress` would have written. One operation is a nanosecond of an undisturbed CPU of
/// full speed.
pub fn spin_line(stress: &SpinStress, outcome: &Outcome, slowdown: f64) -> Result<String> {
    let of = |program: &'static str| outcome.threads.iter().filter(move |thread| thread.program == program);
    let operations = |thread: &ThreadSummary| (thread.work_ns as f64 / slowdown).round() as u64;
    let lasted = |thread: &ThreadSummary| thread.finished.unwrap_or(thread.started) - thread.started;
    let solo = of(SpinStress::SOLO).next();
    let solo_ops_per_s = solo
        .map_or(0.0, |solo| operations(solo) as f64 * 1e9 / (solo.work_ns + solo.overhead_ns).max(1) as f64);
    let children = stress.children as usize;
    let mut ops_per_child = vec![0; children];
    let mut child_wall_ns = vec![0; children];
    for (index, child) in of(SpinStress::CHILD).enumerate() {
        ops_per_child[index % children] += operations(child);
        child_wall_ns[index % children] += lasted(child);
    }
    let begun = of(SpinStress::CHILD).next().map_or(0, |child| child.started);
    let ended = of(SpinStress::PARENT).next().and_then(|parent| parent.finished).unwrap_or(begun);
    Ok(serde_json::to_string(&json!({
        "program": SPIN_PROGRAM,
        "children": children,
        "rounds": stress.rounds,
        "ok": outcome.problems.is_empty(),
        "solo_ops_per_s": solo_ops_per_s,
        "elapsed_ns": ended - begun,
        "total_ops": outcome.work_ns.iter().sum::<u64>(),
        "ops_per_cpu": outcome.work_ns,
        "ops_per_child": ops_per_child,
        "child_wall_ns": child_wall_ns,
    }))?)
}
