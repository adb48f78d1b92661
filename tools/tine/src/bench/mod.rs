//! The fixed set of measurements: what single operations cost, how large the kernel is, what ticks cost.
//!
//! Boots the machines one after the other; [`figure`] has the limits and judges. Figures of virtual and of wall time are
//! kept apart from the first boot to the last table. It is no test: a figure beyond its limit is shown as such.
//!
//! Start at [`measure`].

mod figure;
mod storm;

use crate::machine::{DEFAULT_CONFIG, Failure, Machine, Outcome, machine};
use crate::record::{Record, SCHEMA, Time, Versions};
use crate::report;
use crate::ui::Ui;
use figure::{Estimate, Figure, OF_BOUND, SWAP_PAUSE};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const MICRO_PROGRAM: &str = "micro_bench";
const CPUS: u32 = 4;
const SLOW_HZ: u32 = 10;
const FAST_HZ: u32 = 1000;
/// What each child computes when ticks are compared: the same work at both rates, and enough that starting the children
/// is small against it.
const TICK_WORK: [&str; 2] = ["--work", "40000000"];
/// In virtual time a seed decides how a run goes: as many are tried.
const VIRTUAL_SEEDS: u32 = 3;
/// Of one run that counts instructions, which the host does one CPU after the other.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Figures of one kind of time.
#[derive(Debug, Serialize)]
struct Group {
    time: Time,
    accelerator: String,
    cpus: u32,
    /// CPUs that the host could run at once, before and after each run; `None` in virtual time, where it does not matter.
    host_parallelism: Option<Estimate>,
    figures: Vec<Figure>,
    /// The commands that boot the machines again.
    reproduce: Vec<String>,
}

impl Group {
    fn of(first: &Record) -> Self {
        Self {
            time: first.time,
            accelerator: first.accelerator.accelerator.to_string(),
            cpus: first.machine.cpus,
            host_parallelism: None,
            figures: Vec::new(),
            reproduce: Vec::new(),
        }
    }

    fn shown(&self) -> String {
        let mut table = report::table();
        table.set_header([
            "figure",
            "median",
            "lowest to highest",
            "limit",
            "Linux 6.12",
            "Linux/Tine",
            "boots",
        ]);
        table.add_rows(self.figures.iter().map(Figure::row));
        report::align_right(&mut table);
        let time = self.time.word();
        let mut text = format!("In {time} time: {}, {} CPUs\n", self.accelerator, self.cpus);
        if let Some(it) = self.host_parallelism {
            text += &format!(
                "The host ran {:.2} CPUs at once ({:.2} to {:.2})\n",
                it.median, it.lowest, it.highest
            );
        }
        if self.figures.iter().any(Figure::is_impossible) {
            text +=
                "More than the bound: the host was busy with something else, and these figures say little\n";
        }
        text + &format!("{}\n", table.trim_fmt())
    }
}

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Bench {
    schema: u32,
    versions: Versions,
    groups: Vec<Group>,
}

impl Bench {
    /// A table per kind of time.
    pub fn tables(&self) -> String {
        self.groups.iter().map(Group::shown).collect::<Vec<_>>().join("\n")
    }
}

/// Boots everything there is to measure: in virtual time once, in wall time `boots` times. Fails with the first run that
/// does not pass.
pub fn measure(boots: u32) -> Result<Bench, Failure> {
    let basis = machine().smp(CPUS).timeout(TIMEOUT);
    basis.clone().program(MICRO_PROGRAM).live().prepare().map_err(Failure::before_start)?;
    let counted = basis.virtual_time().seed(1);
    let micro = boot(&counted.clone().program(MICRO_PROGRAM), "micro_bench in virtual time")?;
    let mut in_virtual = Group::of(&micro.record);
    in_virtual.reproduce.push(micro.record.reproduce.clone());
    in_virtual.figures = operations(&micro)?;
    swap_pause(&mut in_virtual, &counted)?;
    spin(&mut in_virtual, &counted, 1)?;
    storm::costs(&mut in_virtual, &counted, VIRTUAL_SEEDS)?;

    let default = Machine::named(DEFAULT_CONFIG).measure_host();
    let first = boot(&default.clone().seed(1), "fork_spin_stress in wall time, to warm up")?;
    let mut in_wall = Group::of(&first.record);
    spin(&mut in_wall, &default, boots)?;
    storm::costs(&mut in_wall, &default, boots)?;
    let versions = micro.record.versions;
    Ok(Bench { schema: SCHEMA, versions, groups: vec![in_virtual, in_wall] })
}

fn boot(machine: &Machine, what: &str) -> Result<Outcome, Failure> {
    let _busy = Ui::Talkative.long(what);
    let outcome = machine.run()?;
    outcome.check()?;
    Ok(outcome)
}

/// The line that `micro_bench` writes to `/dev/results`.
#[derive(Deserialize)]
struct MicroResult {
    program: String,
    figures: Vec<MicroFigure>,
}

#[derive(Deserialize)]
struct MicroFigure {
    name: String,
    median_ns: f64,
    min_ns: f64,
    max_ns: f64,
}

/// What one boot of `micro_bench` says.
fn operations(outcome: &Outcome) -> Result<Vec<Figure>, Failure> {
    let mut results =
        outcome.record.results().filter_map(|line| serde_json::from_value::<MicroResult>(line).ok());
    let (Some(result), Some(boot)) =
        (results.find(|result| result.program == MICRO_PROGRAM), outcome.record.boot())
    else {
        return Err(outcome.failure(vec!["its figures are missing".into()]));
    };
    let mut figures: Vec<Figure> = result.figures.iter().filter_map(micro_figure).collect();
    figures.extend(Figure::new("boot", Estimate::exactly(boot.boot_ns as f64), 1));
    figures.extend(Figure::new("kernel_memory", Estimate::exactly(boot.kernel_bytes as f64), 1));
    Ok(figures)
}

fn micro_figure(of: &MicroFigure) -> Option<Figure> {
    let estimate = Estimate { median: of.median_ns, lowest: of.min_ns, highest: of.max_ns };
    Figure::new(&of.name, estimate, 1)
}

/// Adds how long queues are locked while the order is changed under 200 threads.
fn swap_pause(group: &mut Group, machine: &Machine) -> Result<(), Failure> {
    let mut pauses = Vec::new();
    for seed in 1..=VIRTUAL_SEEDS {
        let machine = machine.clone().program("hot_swap").seed(seed.into());
        let outcome = boot(&machine, &format!("hot_swap in virtual time, {seed} of {VIRTUAL_SEEDS}"))?;
        group.reproduce.push(outcome.record.reproduce.clone());
        let swaps = outcome.record.scheduler().map(|scheduler| &scheduler.swaps);
        let pause = swaps.and_then(|swaps| swaps.pause_ns.percentile(99.0));
        let pause = pause.ok_or_else(|| outcome.failure(vec!["its figures are missing".into()]))?;
        pauses.push(pause as f64);
    }
    let figure = |estimate| Figure::new(SWAP_PAUSE, estimate, VIRTUAL_SEEDS);
    group.figures.extend(Estimate::of(pauses).and_then(figure));
    Ok(())
}

/// Adds the figures of `fork_spin_stress`. Each pair of slow and fast ticks has one seed and is booted in a row, every
/// other one in reverse order, so that neither profits from a host that gets quicker or slower.
fn spin(group: &mut Group, machine: &Machine, boots: u32) -> Result<(), Failure> {
    let (mut of_bound, mut costs, mut at_once) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=boots {
        let machine = machine.clone().seed(round.into());
        let mut run = |machine: Machine, rate: &str| {
            let time = group.time.word();
            let outcome =
                boot(&machine, &format!("fork_spin_stress in {time} time, {rate}, {round} of {boots}"))?;
            group.reproduce.push(outcome.record.reproduce.clone());
            at_once.extend(outcome.record.host.parallelism);
            let spin = outcome.record.figures.spin.clone();
            spin.ok_or_else(|| outcome.failure(vec!["its figures are missing".into()]))
        };
        of_bound.push(run(machine.clone(), "usual ticks")?.percent_of_bound);
        let mut at = |hz| {
            let spin = run(machine.clone().hz(hz).args(TICK_WORK), &format!("{hz} Hz"))?;
            Ok(spin.total_ops_per_s)
        };
        let (slow, fast) = if round % 2 == 1 {
            let slow = at(SLOW_HZ)?;
            (slow, at(FAST_HZ)?)
        } else {
            let fast = at(FAST_HZ)?;
            (at(SLOW_HZ)?, fast)
        };
        costs.push(cost_percent(slow, fast));
    }
    group.host_parallelism = Estimate::of(at_once);
    for (name, values) in [(OF_BOUND, of_bound), ("tick_cost", costs)] {
        group.figures.extend(Estimate::of(values).and_then(|estimate| Figure::new(name, estimate, boots)));
    }
    Ok(())
}

/// By how much `fast` ticks lower the throughput of `slow` ones; negative if they raise it.
fn cost_percent(slow: f64, fast: f64) -> f64 {
    100.0 * (1.0 - fast / slow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_that_lowers_throughput_has_a_cost() {
        assert!((cost_percent(200.0, 196.0) - 2.0).abs() < 1e-9);
        assert!(cost_percent(100.0, 101.0) < 0.0);
    }

    #[test]
    fn a_line_of_the_program_becomes_a_figure() {
        let line = r#"{"program":"micro_bench","figures":[{"name":"getppid","median_ns":280.0,"min_ns":279.5,
            "max_ns":281.0,"samples":11,"operations_per_sample":20000}]}"#;
        let result: MicroResult = serde_json::from_str(line).expect("the program's line");
        let figure = micro_figure(&result.figures[0]).expect("a known figure");
        assert_eq!(figure.row()[..3], ["getppid", "280 ns", "280 ns to 281 ns"]);
    }
}
