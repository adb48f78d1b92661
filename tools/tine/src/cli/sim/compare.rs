//! A machine's run and the simulation of the same, side by side.

use super::options::{Program, Setup, SimOptions, scheduler};
use super::report::{DELAYS, messages};
use super::{Run, run};
use crate::cli::run::shown;
use crate::figures::merged;
use crate::machine::{DEFAULT_CONFIG, Machine};
use crate::names;
use crate::record::Record;
use crate::report::{align_right, count, percent, table, time};
use anyhow::{Context, Result};
use formats::record::{CpuStats, Scheduler};
use sched::Topology;
use std::fs;

/// How a record is made.
const HOW: &str = "`cargo run -- run --json NAME.json -- PROGRAM` writes one";

/// Prints the differences.
pub fn compare(options: &SimOptions) -> Result<()> {
    let record = match &options.against {
        Some(path) => {
            let text =
                fs::read_to_string(path).with_context(|| format!("cannot read {}; {HOW}", path.display()))?;
            serde_json::from_str(&text)
                .with_context(|| format!("{} is no record of a run; {HOW}", path.display()))?
        }
        None => boot(options)?,
    };
    let setup = same(&record, options)?;
    let run = run(&setup, None)?;
    println!("\n{}", difference(&record, &setup, &run)?.trim_end());
    Ok(())
}

/// Runs the machine.
fn boot(options: &SimOptions) -> Result<Record> {
    let program = options.compare.as_deref().unwrap_or(crate::figures::SPIN_PROGRAM);
    // What the simulator does not know need not be booted.
    known(program, &options.arguments)?;
    let mut machine = options.choose(Machine::named(DEFAULT_CONFIG).live());
    if options.virtual_time {
        machine = machine.virtual_time();
    }
    let outcome = machine.program(program).args(&options.arguments).run().map_err(shown)?;
    outcome.check().map_err(shown)?;
    Ok(outcome.record)
}

fn known(program: &str, arguments: &[String]) -> Result<Program> {
    Program::parse(program, arguments)?
        .with_context(|| names::unknown("simulated program", program, ["fork_spin_stress", "message_storm"]))
}

/// The simulation of what the record is of. Where fewer of the machine's CPUs could run at once than it has, each is as
/// much slower.
pub fn same(record: &Record, options: &SimOptions) -> Result<Setup> {
    let machine = &record.machine;
    let program = known(&record.program, &record.arguments)?;
    let topology = match machine.topology {
        Some(it) => Topology::regular(it.sockets, it.cores, it.threads),
        None => Topology::flat(machine.cpus as usize),
    };
    let cpus = f64::from(machine.cpus);
    let at_once = match (record.time, record.host.parallelism) {
        (crate::record::Time::Virtual, _) => 1.0,
        (_, Some(measured)) => measured,
        (_, None) => record.host.processors as f64,
    };
    let workload = program.workload().unwrap_or_default();
    Ok(Setup {
        topology,
        scheduler: scheduler(Some(&machine.order), Some(&machine.balancer), machine.hz, record.seed)?,
        tick: machine.hz,
        costs: options.costs()?,
        slowdown: (cpus / at_once.min(cpus)).max(1.0),
        name: record.program.clone(),
        program,
        workload,
        remarks: Vec::new(),
    })
}

/// What is counted on each CPU.
type Count = fn(&CpuStats) -> u64;

const COUNTS: [(&str, Count); 4] = [
    ("switches", |cpu| cpu.switches),
    ("preemptions", |cpu| cpu.preemptions),
    ("migrations", |cpu| cpu.migrations_in),
    ("calls to other CPUs", |cpu| cpu.kicks),
];

/// A figure of both.
pub struct Row {
    pub name: String,
    pub machine: f64,
    pub simulator: f64,
    show: fn(f64) -> String,
}

impl Row {
    /// Of the machine, of the simulator, and how much more that is.
    pub fn cells(&self) -> [String; 3] {
        let pair = (self.machine, self.simulator);
        [(self.show)(pair.0), (self.show)(pair.1), relative(pair)]
    }
}

/// Throughput, delays and counts of a machine's run and of the simulation of the same.
pub fn rows(record: &Record, setup: &Setup, run: &Run) -> Result<Vec<Row>> {
    let machine = record.scheduler().context("the record has no figures of the scheduler")?;
    let simulated = &run.outcome.scheduler;
    let mut rows = Vec::new();
    let mut row = |name: String, (machine, simulator): (f64, f64), show: fn(f64) -> String| {
        rows.push(Row { name, machine, simulator, show });
    };
    if let Some((real, sim)) = record.figures.spin.as_ref().zip(run.figures.spin.as_ref()) {
        // An operation is something else in each, and so is what a child alone can do.
        let parts = (real.percent_of_bound / 100.0, sim.percent_of_bound / 100.0);
        row("throughput per core, of what a child alone can do".into(), parts, percent);
        row("Jain's index, children".into(), (real.jain, sim.jain), |index| format!("{index:.3}"));
    }
    if let Program::Storm(storm) = &setup.program {
        let cpus = f64::from(record.machine.cpus);
        let rate = |it: &Scheduler| messages(storm) as f64 * 1e9 / it.elapsed_ns.max(1) as f64 / cpus;
        row("messages per second and core".into(), (rate(machine), rate(simulated)), count);
    }
    row("elapsed".into(), (machine.elapsed_ns as f64, simulated.elapsed_ns as f64), |ns| time(ns as u64));
    for (name, delay) in DELAYS {
        let (real, sim) = (merged(&machine.cpus, delay), merged(&simulated.cpus, delay));
        for part in [50.0, 90.0, 99.0] {
            if real.count() > 0 && sim.count() > 0 {
                let at = |it: &formats::Histogram| it.percentile(part).unwrap_or(0) as f64;
                row(format!("{name}, p{part}"), (at(&real), at(&sim)), |ns| time(ns as u64));
            }
        }
    }
    for (name, figure) in COUNTS {
        let sum = |it: &Scheduler| it.cpus.iter().map(figure).sum::<u64>() as f64;
        row(name.into(), (sum(machine), sum(simulated)), |count| format!("{count:.0}"));
    }
    Ok(rows)
}

fn difference(record: &Record, setup: &Setup, run: &Run) -> Result<String> {
    let mut table = table();
    table.set_header(["", "machine", "simulator", "difference"]);
    for row in rows(record, setup, run)? {
        let [machine, simulator, difference] = row.cells();
        table.add_row([row.name, machine, simulator, difference]);
    }
    align_right(&mut table);
    Ok(format!(
        "{}: {} CPUs, {} Hz, {}, {}, seed {}\nmachine: {} time, {}; simulated CPUs run at 1/{:.2} of full speed\n{}\n",
        setup.name,
        record.machine.cpus,
        setup.tick,
        setup.scheduler.order.name,
        setup.scheduler.balancer.name,
        record.seed,
        record.time.word(),
        record.accelerator.accelerator,
        setup.slowdown,
        table.trim_fmt()
    ))
}

/// How much more the second is than the first.
pub fn relative((machine, simulator): (f64, f64)) -> String {
    if machine == 0.0 {
        return "-".into();
    }
    format!("{:+.1} %", 100.0 * (simulator / machine - 1.0))
}
